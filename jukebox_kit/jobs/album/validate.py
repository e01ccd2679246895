"""Checks of an album's songs against their models and their folders, before anything is sampled."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from jukebox_kit._files import shown_path
from jukebox_kit._settings import Faults
from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError, SongError
from jukebox_kit.jobs.album.fields import Fields, asked
from jukebox_kit.song import (
    Request,
    Resolved,
    Song,
    check_free,
    check_same,
    is_song,
    normalise_request,
    read_prompt,
    resolve,
)
from jukebox_kit.song.store import open_store

log = logging.getLogger(__name__)


class Checks:
    """Checks the songs of one file. Each model and each prompt is read once."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._models: dict[str, Model | None] = {}
        self._prompts: dict[tuple[Any, ...], JukeboxKitError | None] = {}

    def song(self, fields: Fields, line: int, folder: Path | None) -> tuple[Request, Resolved] | None:
        """Return a song's request and what its model makes of it; None if it has faults, which are added to `faults`.

        Each fault is reported at the line of the field that it is about, or at `line`, the song's, if the file does
        not set that field. Then the rest is checked without the field, so that all faults are reported at once.
        folder: the song's, None if its name is faulty.
        """
        model = self._model(fields, line)
        left = _without(fields, *[name for name, given in fields.items() if given.faulty])
        checked = None
        while checked is None:
            try:
                checked = self._checked(left, model)
            except JukeboxKitError as error:
                if error.field not in left:
                    self.faults.add(line, error)
                    return None
                self.faults.add(left[error.field].line, error)
                left = _without(left, error.field)
        request, resolved = checked
        if resolved is None or left != fields:
            return None
        try:
            _check_folder(folder, request)
        except JukeboxKitError as error:
            self.faults.add(line, error)
        return request, resolved

    def _model(self, fields: Fields, line: int) -> Model | None:
        """Return a song's model; None if it cannot be used, which is reported where the model is first named."""
        if "model" in fields and fields["model"].faulty:
            return None
        name = str(fields["model"].value) if "model" in fields else Request.model
        if name not in self._models:
            self._models[name] = self._loaded(name, fields["model"].line if "model" in fields else line)
        return self._models[name]

    def _loaded(self, name: str, line: int) -> Model | None:
        """Return a model whose tables and files exist; None if it has faults, which are reported at `line`."""
        try:
            model = Model.load(name, "cpu")  # nothing runs here, so leave the GPU alone
        except (JukeboxKitError, OSError) as error:  # OSError: not a possible file name
            self.faults.add(line, error)
            return None
        usable = True
        for check in (lambda: model.tables, model.check_files):
            try:
                check()
            except (JukeboxKitError, OSError, UnicodeError) as error:
                self.faults.add(line, error)
                usable = False
        return model if usable else None

    def _checked(self, fields: Fields, model: Model | None) -> tuple[Request, Resolved | None]:
        """Return the request, and what the model makes of it if there is one; JukeboxKitError if something is wrong."""
        values = asked(fields)
        if model is None and isinstance(values.get("temperature"), float):
            values["temperature"] = (values["temperature"],) * 3
        request = normalise_request(values, None if model is None else model.definition)
        if model is None:
            return request, None
        resolved = resolve(request, model.definition, model.tables)
        self._check_prompt(request, resolved, model)
        return request, resolved

    def _check_prompt(self, request: Request, resolved: Resolved, model: Model) -> None:
        key = (request.prompt, request.prompt_seconds, request.seconds, request.model)
        if request.prompt is not None and key not in self._prompts:
            self._prompts[key] = None
            try:
                read_prompt(request, resolved, model, log.info)  # the song itself keeps the note
            except JukeboxKitError as error:
                self._prompts[key] = error
        fault = self._prompts.get(key)
        if fault is not None:
            raise fault


def _without(fields: Fields, *names: str) -> Fields:
    """Return the fields without some of them; a prompt's seconds mean nothing without the prompt."""
    left_out = {*names, "prompt_seconds"} if "prompt" in names else {*names}
    return {name: given for name, given in fields.items() if name not in left_out}


def _check_folder(folder: Path | None, request: Request) -> None:
    """Raise SongError if a folder contains anything but this song, finished or not."""
    if folder is None or not folder.exists():
        return
    if not folder.is_dir():
        raise SongError(f"{shown_path(folder)} is a file; give the song another name.")
    if is_song(folder):
        song = Song.open(folder)
        check_same(song.root, song.request, request)
        return
    check_free(open_store(folder))
