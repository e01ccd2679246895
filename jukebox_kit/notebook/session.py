"""What the sections of the panel share: the folder of songs, the open song, the worker and the model."""

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
from jukebox_kit.song import SONG, Song, find_songs, load_model, normalise_request
from jukebox_kit.steps import RunSettings, load_for, load_planned

PREVIEW_EVERY = 60.0  # seconds; more often than in the shell, since the user is listening


class Session:
    """What one open panel works on. Sections `watch` it for changes of the song or of the task in progress."""

    def __init__(self, songs: Path) -> None:
        self.songs = kept_path(songs)
        self.song: Song | None = None
        self.run = RunSettings(preview_every=PREVIEW_EVERY)
        self.worker: Worker = worker()
        self.error = ""  # why the last action failed
        self._watchers: list[Callable[[], None]] = []
        self._model: Model | None = None
        self._loading = threading.Lock()
        self._was_busy = False
        self.worker.watch(self._worked)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the song or the task has changed."""
        self._watchers.append(changed)

    def changed(self) -> None:
        """Notify all sections."""
        for changed in self._watchers:
            changed()

    def folders(self) -> list[Path]:
        """Return the song folders, the most recently changed first."""
        found = find_songs([self.songs]) if self.songs.is_dir() else []
        return sorted(found, key=_changed_at, reverse=True)

    def place(self, name: str) -> Path | None:
        """Return the folder for a song of this name, None if no folder can have it."""
        valid = bool(name) and name == Path(name).name and not name.startswith(".")
        return self.songs / name if valid else None

    def open(self, folder: Path | None) -> None:
        """Open a song, or none; `error` then says why it cannot be opened."""
        self.song, self.error = None, ""
        try:
            self.song = None if folder is None else Song.open(folder)
        except JukeboxKitError as error:
            self.error = str(error)
        self.changed()

    def again(self) -> None:
        """Read the song again, since another process may have changed it."""
        if self.song is not None:
            self.open(self.song.root)

    def loaded(self, song: Song) -> Model:
        """Return a song's model; the loaded one if it is the same."""
        wanted = song.request.model, song.request.lora_scale
        with self._loading:  # players and the task may both ask first
            if self._model is None or (self._model.source, self._model.lora_scale) != wanted:
                self._model = None  # release the old one first: two may not fit
                self._model = load_model(song.request)
            return self._model

    def loaded_for(self, song: Song) -> Model:
        """Return the model for a song by the memory plan; the loaded one if it can be used again."""
        with self._loading:
            self._model = load_planned(song, self.options(), self._model)
            return self._model

    def loaded_to_begin(self, request: dict[str, Any]) -> Model:
        """Return the model for a new song with these fields of a request, likewise."""
        with self._loading:
            asked, run = normalise_request(request), self.options()
            self._model = load_for(asked.model, asked.seconds, asked.items, run, self._model, asked.lora_scale)
            return self._model

    def options(self) -> RunSettings:
        """Return the settings of the next step, with progress reported to the worker."""
        return self.worker.options(self.run)

    def do(self, what: str, piece: Callable[[], str], subject: Path | None = None) -> None:
        """Start a task in the worker's thread; `piece` runs it and returns a message about its end."""
        self.error = ""
        at = subject or (None if self.song is None else self.song.root)
        if not self.worker.start(what, lambda _: piece(), self.songs, at):
            self.error = f"{self.worker.state.what} is still running; stop it first or wait for it."
        self.changed()

    def _worked(self, state: State) -> None:
        """Read the song again when a task has started or ended."""
        if state.busy != self._was_busy:
            self._was_busy = state.busy
            if state.busy or self.song is None:
                self.changed()
            else:
                self.again()


def begun_below(song: Song) -> bool:
    """Return whether a level below the top has been started, so that resuming continues there."""
    return any(status.done for status in song.status() if status.level != TOP)


def _changed_at(folder: Path) -> float:
    try:
        return (folder / SONG).stat().st_mtime
    except OSError:
        return 0.0
