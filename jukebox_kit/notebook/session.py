"""What the sections of the panel share: the folder of songs, the song that is open, the worker, and the model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jukebox_kit._files import kept_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import TOP
from jukebox_kit.notebook.background import State, Worker, worker
from jukebox_kit.song import SONG, Song, find_songs
from jukebox_kit.steps import RunSettings, load_for, load_planned

PREVIEW_EVERY = 60.0  # seconds; somebody sits there and listens


class Session:
    """One open panel. Sections watch it: `changed` is called for them when the song or the work has changed."""

    def __init__(self, songs: Path) -> None:
        self.songs = kept_path(songs)
        self.song: Song | None = None
        self.run = RunSettings(preview_every=PREVIEW_EVERY)
        self.worker: Worker = worker()
        self.error = ""  # what was wrong with the last thing asked for
        self._watchers: list[Callable[[], None]] = []
        self._model: Model | None = None
        self._loading = threading.Lock()
        self._was_busy = False
        self.worker.watch(self._worked)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` when the song or the work has changed."""
        self._watchers.append(changed)

    def changed(self) -> None:
        """Tell all sections."""
        for changed in self._watchers:
            changed()

    def folders(self) -> list[Path]:
        """Return the song folders, the one worked on last first."""
        found = find_songs([self.songs]) if self.songs.is_dir() else []
        return sorted(found, key=_changed_at, reverse=True)

    def place(self, name: str) -> Path | None:
        """Return the folder of a song of that name, None where the name is none for a folder among the songs."""
        good = bool(name) and name == Path(name).name and not name.startswith(".")
        return self.songs / name if good else None

    def open(self, folder: Path | None) -> None:
        """Open a song, or none; what is wrong with it becomes `error`."""
        self.song, self.error = None, ""
        try:
            self.song = None if folder is None else Song.open(folder)
        except JukeboxKitError as error:
            self.error = str(error)
        self.changed()

    def again(self) -> None:
        """Read the song again, as somebody else may have worked on it."""
        if self.song is not None:
            self.open(self.song.root)

    def loaded(self, source: str) -> Model:
        """Return a model, the one held already where it is the same."""
        with self._loading:  # players and work may both be the first to ask
            if self._model is None or self._model.source != source:
                self._model = None  # let go of the old one first: two may not fit
                self._model = Model.load(source)
            return self._model

    def loaded_for(self, song: Song) -> Model:
        """Return the model that a song is sampled with, by the plan of memory; the one held where it serves."""
        with self._loading:
            self._model = load_planned(song, self.options(), self._model)
            return self._model

    def loaded_to_begin(self, request: dict[str, Any]) -> Model:
        """Return the model that a song of a request's fields is begun with, likewise."""
        with self._loading:
            self._model = load_for(request["model"], request["seconds"], request["items"], self.options(), self._model)
            return self._model

    def options(self) -> RunSettings:
        """Return the settings of the next step, which reports to the worker."""
        return self.worker.options(self.run)

    def do(self, what: str, piece: Callable[[], str], subject: Path | None = None) -> None:
        """Begin a piece of work in the worker's thread; it returns what to tell of its end."""
        self.error = ""
        at = subject or (None if self.song is None else self.song.root)
        if not self.worker.start(what, lambda _: piece(), self.songs, at):
            self.error = f"{self.worker.state.what} is still running; stop it first or wait for it."
        self.changed()

    def _worked(self, state: State) -> None:
        """Read the song again when work on it has begun or ended."""
        if state.busy != self._was_busy:
            self._was_busy = state.busy
            if state.busy or self.song is None:
                self.changed()
            else:
                self.again()


def begun_below(song: Song) -> bool:
    """Return whether the levels below the top were begun, so that going on means going on with them."""
    return any(status.done for status in song.status() if status.level != TOP)


def _changed_at(folder: Path) -> float:
    try:
        return (folder / SONG).stat().st_mtime
    except OSError:
        return 0.0
