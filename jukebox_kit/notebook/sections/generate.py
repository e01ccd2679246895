"""A recording from a text: what MusicGen should play, for how long, and the button that generates it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import TOP
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import LABEL, WIDE, Field, button, text_field
from jukebox_kit.sources import SourceRequest, SourceRun, generate_recordings, missing_packages
from jukebox_kit.sources.musicgen import RELEASED
from jukebox_kit.steps import Progress, Speed

_Number = TypeVar("_Number", int, float)

SHOW_EVERY = 0.5  # seconds between two updates of the speed


class Generating:
    """The fields of a `SourceRequest` that the panel offers; `generated` gets the file, in the worker's thread."""

    def __init__(self, folder: Path, session: Session, generated: Callable[[Path], None]) -> None:
        self.folder, self.session, self.generated = folder, session, generated
        self.text = text_field("source_text", "text", hint="what to play; empty: what the model likes")
        self.seconds = text_field("source_seconds", "seconds", "12")
        self.seed = text_field("source_seed", "seed", "0", "another number plays something else")
        self.model = Field(
            "source_model",
            widgets.Combobox(
                options=RELEASED, value=RELEASED[0], description="from", ensure_option=False, style=LABEL, layout=WIDE
            ),
        )
        self.start = button("Generate", "generate", self._generate, "magic")
        fields = (self.text, self.seconds, self.seed, self.model)
        self.fields = {field.name.removeprefix("source_"): field for field in fields}
        self.box = widgets.VBox([*(field.box for field in fields), self.start])

    def _generate(self) -> None:
        request = self._request()
        if request is None:
            return
        place = self._free_place()

        def piece() -> str:
            run = SourceRun(
                device=self.session.run.device,
                progress=self._shows_speed(),
                stop=self.session.options().stop,
                note=lambda sentence: self.model.say(sentence, "note"),
                saved=self.generated,
            )
            generate_recordings(place, request, "musicgen", run)
            return "The recording is ready: listen to it and choose the seconds to use."

        self.session.do("recording by MusicGen", piece)

    def _request(self) -> SourceRequest | None:
        """Return what is asked; None if a field is wrong or the extra is missing, which is then shown."""
        for field in self.fields.values():
            field.say()
        missing = missing_packages("musicgen")
        if missing:
            self.model.say(missing)
            return None
        try:
            text = self.text.value.strip()
            return SourceRequest(
                text=text or (),
                seconds=_number(self.seconds, float),
                seed=_number(self.seed, int),
                model=self.model.value.strip() or None,
            )
        except ValueError:
            return None
        except JukeboxKitError as error:
            self.fields.get(error.field or "", self.text).say(str(error))
            return None

    def _free_place(self) -> Path:
        number = 1
        while (place := self.folder / f"musicgen-{number}.wav").exists():
            number += 1
        return place

    def _shows_speed(self) -> Callable[[int, int], None]:
        """Return a function that shows the speed and the time left in the status, a few times a second."""
        speed, shown = Speed(), 0.0

        def show(done: int, total: int) -> None:
            nonlocal shown
            speed.note(Progress(TOP, done, total))
            if time.monotonic() - shown >= SHOW_EVERY:
                shown = time.monotonic()
                self.session.worker.say_speed(speed.summary())

        return show


def _number(field: Field, kind: type[_Number]) -> _Number:
    """Return the number typed; ValueError, with a message at the field, if it is not one."""
    try:
        return kind(field.value)
    except ValueError:
        whole = "a whole number" if kind is int else "a number"
        field.say(f"{field.value!r} is not {whole}; enter digits, such as 12.")
        raise
