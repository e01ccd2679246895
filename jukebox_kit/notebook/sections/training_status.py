"""How far training is: steps, speed, time left, Stop, Resume, and how it ended."""

from __future__ import annotations

import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.notebook.background import State
from jukebox_kit.notebook.markup import ENDS, styled_text
from jukebox_kit.notebook.tuning_session import TuningSession
from jukebox_kit.notebook.widgets import button, show


class TrainingStatus:
    """The section that stays visible while work is running."""

    def __init__(self, session: TuningSession) -> None:
        self.session = session
        self.summary, self.ended = widgets.HTML(), widgets.HTML()
        self.summary.add_class("jk-words")
        self.ended.add_class("jk-ended")
        self.bar = widgets.IntProgress(max=1, layout=widgets.Layout(width="98%"))
        self.bar.add_class("jk-bar")
        self.stop = button("Stop", "stop", session.worker.stop, "stop")
        self.stop.button_style = "warning"
        self.resume = button("Resume", "resume", self._resume, "play")
        self.resume.button_style = "primary"
        buttons = widgets.HBox([self.stop, self.resume, self.summary])
        self.box = widgets.VBox([buttons, self.bar, self.ended])
        session.watch(self.refresh)
        session.worker.watch(self._show)

    def refresh(self) -> None:
        """Show how far the run is as saved, or the work in progress."""
        run, state = self.session.training, self.session.worker.state
        if run is not None and not state.busy:
            self.bar.max, self.bar.value = run.progress.steps, run.progress.step
        self.bar.layout.display = "" if run is not None or (state.training is not None and state.busy) else "none"
        resumable = run is not None and not run.finished and not state.busy
        self.resume.layout.display = "" if resumable else "none"
        self._show(state)

    def _show(self, state: State) -> None:
        self.stop.disabled = state.phase != "running"
        self.stop.layout.display = "" if state.busy else "none"
        training = state.training if state.busy else None
        if training is not None:
            self.bar.max, self.bar.value = training.steps, training.step
            self.bar.layout.display = ""
        texts = {"running": _line(state), "stopping": "saving and stopping …"}
        show(self.summary, styled_text(texts.get(state.phase, "")))
        if self.session.error:
            show(self.ended, styled_text(self.session.error, "error"))
        else:
            show(self.ended, styled_text("" if state.busy else state.message, ENDS.get(state.phase, "plain")))

    def _resume(self) -> None:
        run = self.session.training
        if run is None:
            return
        try:
            job = run.job()
        except JukeboxKitError as error:
            self.session.error = str(error)
            self.refresh()
            return
        self.session.train(job)


def _line(state: State) -> str:
    """Return what the worker does, with the speed of training and the bits of its last step."""
    training = state.training
    if training is None:
        return f"{state.what} …"
    bits = [] if training.bits is None else [f"{training.bits:.3f} bits per token"]
    speed = [state.speed] if state.speed else []
    return ", ".join([f"step {training.step} of {training.steps}", *bits, *speed])
