"""What is trained: level, adapters or all weights, steps; and the plan, made before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit.engine import usable_device
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import LEVELS
from jukebox_kit.notebook.markup import filled, styled_text
from jukebox_kit.notebook.tuning_session import TuningSession
from jukebox_kit.notebook.widgets import BELOW, LABEL, Field, button, heading, text_field
from jukebox_kit.training import FineTuning, FineTuningJob, LoraSettings, plan_job

ADAPTERS, ALL = "adapters", "all weights"


class TrainingForm:
    """The settings of a new run. Training can start once there is a plan for what is entered."""

    def __init__(self, session: TuningSession) -> None:
        self.session = session
        self.planned: tuple[Any, ...] | None = None  # the values that the plan was made for
        usual, auto = FineTuning(), {**LABEL, "button_width": "auto"}
        self.name = text_field("name", "name", "mine")
        levels = [(f"level {level}", level) for level in reversed(LEVELS)]
        self.level = Field("level", widgets.ToggleButtons(options=levels, description="train", style=auto))
        self.what = Field("what", widgets.ToggleButtons(options=[ADAPTERS, ALL], description="of it", style=auto))
        self.rank = text_field("rank", "rank", str(usual.lora.rank))
        self.steps = text_field("steps", "steps", str(usual.steps))
        self.batch = text_field("batch", "batch size", hint="empty: what fits into memory")
        self.fields = {field.name: field for field in vars(self).values() if isinstance(field, Field)}
        self.plan = button("Plan", "plan", self._plan, "calculator")
        self.start = button("Start training", "start", self._start, "play")
        self.start.button_style = "primary"
        self.said, self.facts = widgets.HTML(), widgets.HTML()
        self.said.add_class("jk-said-plan")
        self.facts.add_class("jk-plan-facts")
        rows = [field.box for field in self.fields.values()]
        buttons = widgets.HBox([self.plan, self.start], layout=BELOW)
        self.box = widgets.VBox([heading("Training"), *rows, buttons, self.said, self.facts])
        for field in self.fields.values():
            field.watch(self.refresh)
        session.watch(self.refresh)

    def refresh(self) -> None:
        """Update buttons; a plan for other values than those entered is removed."""
        session, busy = self.session, self.session.worker.state.busy
        self.box.layout.display = "none" if session.data is None or session.opened is not None else ""
        self.rank.box.layout.display = "none" if self.what.value == ALL else ""
        current = self.planned is not None and self.planned == self._values()
        if not current and self.facts.value:
            self.facts.value = ""
        self.plan.disabled, self.start.disabled = busy, busy or not current

    def job(self) -> FineTuningJob | None:
        """Return the job as entered; None if a field is wrong, which is then shown below it."""
        data, name = self.session.data, self.name.value.strip()
        self._clear()
        if data is None:
            return None
        folder = self.session.models / name
        if not name or name != Path(name).name or name.startswith("."):
            self.name.say('Enter a name for the model, without "/" and not starting with ".".')
            return None
        settings = self._settings()
        return None if settings is None else FineTuningJob(data, data.model, folder, self.level.value, settings)

    def _settings(self) -> FineTuning | None:
        """Return the settings as entered; None if one is wrong, which is then shown below it."""
        full = self.what.value == ALL
        steps, rank = self._whole(self.steps), 1 if full else self._whole(self.rank)
        batch = self._whole(self.batch) if self.batch.value.strip() else None
        if steps is None or rank is None or self.batch.said.value:
            return None
        try:
            adapters = LoraSettings() if full else LoraSettings(rank)
            return replace(FineTuning(), full=full, steps=steps, batch=batch, lora=adapters)
        except JukeboxKitError as error:
            self._say(error)
            return None

    @staticmethod
    def _whole(field: Field) -> int | None:
        """Return the whole number entered; None, with a message at the field, if it is not one."""
        typed = field.value.strip()
        try:
            return int(typed)
        except ValueError:
            field.say(f"{typed or 'nothing'!r} is not a whole number; enter digits, such as 8.")
            return None

    def _values(self) -> tuple[Any, ...]:
        data = self.session.data
        return (None if data is None else (data.root, len(data.songs)), *(one.value for one in self.fields.values()))

    def _clear(self) -> None:
        for field in self.fields.values():
            field.say()
        self.said.value = ""

    def _say(self, error: JukeboxKitError) -> None:
        """Show an error below the field that it is about, or below the buttons if there is none."""
        field = self.fields.get(error.field or "")
        if field is None:
            self.said.value = styled_text(str(error), "error")
        else:
            field.say(str(error))

    def _plan(self) -> None:
        job, values = self.job(), self._values()
        self.planned = None
        if job is None:
            self.refresh()
            return

        def piece() -> str:
            try:
                job.check()
                rows = plan_job(job, usable_device(None)).facts
            except JukeboxKitError as error:
                self._say(error)
                raise JukeboxKitError("This cannot be trained; the message above says why.") from None
            self.facts.value, self.planned = filled("facts.html", {"rows": rows, "footer": ""}), values
            return "Nothing is loaded yet; start training if the plan suits you."

        self.session.plan(piece)

    def _start(self) -> None:
        job = self.job()
        if job is not None:
            self.session.train(job)
