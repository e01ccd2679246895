"""What only a model can say of an album's songs, and what lies in their folders: checked before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError, SongError
from jukebox_kit.jobs.album.fields import Fields, Given, asked
from jukebox_kit.jobs.album.yaml_lines import Faults
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

_LAST_BLAMED = ("strict", "model")

"""Without these much would be right; what they are at odds with is named rather."""


class Checks:
    """Checks the songs of one file. Each model, and each prompt, is looked at once."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._models: dict[str, Model | None] = {}
        self._prompts: dict[tuple[Any, ...], JukeboxKitError | None] = {}

    def song(self, fields: Fields, line: int, folder: Path | None) -> tuple[Request, Resolved] | None:
        """Return a song's request and what its model makes of it; None where it has faults, which are taken down.

        A fault is put to the line of the field without which it is not there, else to `line`, the song's. Then that
        field is left out and the rest checked again. folder: the song's, None where its name has a fault.
        """
        model, left = self._model(fields, line), fields
        for name in [name for name, given in fields.items() if given.faulty]:
            left = _without(left, name)
        made, whole = None, left == fields
        while made is None:
            try:
                made = self._made(left, model)
            except JukeboxKitError as error:
                blamed = self._blamed(left, model, str(error))
                self.faults.add(left[blamed].line if blamed else line, error)
                whole = False
                if blamed is None:
                    return None
                left = _without(left, blamed)
        request, resolved = made
        if resolved is None or not whole:
            return None
        try:
            _check_folder(folder, request)
        except JukeboxKitError as error:
            self.faults.add(line, error)
        return request, resolved

    def _model(self, fields: Fields, line: int) -> Model | None:
        """Return a song's model; None where it cannot be used, which is taken down where it is first asked for."""
        if "model" in fields and fields["model"].faulty:
            return None
        name = str(fields["model"].value) if "model" in fields else Request.model
        if name not in self._models:
            where = fields["model"].line if "model" in fields else line
            self._models[name] = self._looked_at(name, where)
        return self._models[name]

    def _looked_at(self, name: str, line: int) -> Model | None:
        """Return a model whose tables and files are there; None where it has faults, which are taken down."""
        try:
            model = Model.load(name, "cpu")  # nothing runs here, and a GPU is not to be woken for it
        except (JukeboxKitError, OSError) as error:  # OSError: a name that no file can have
            self.faults.add(line, error)
            return None
        whole = True
        for look in (lambda: model.tables, model.check_files):
            try:
                look()
            except (JukeboxKitError, OSError, UnicodeError) as error:
                self.faults.add(line, error)
                whole = False
        return model if whole else None

    def _made(self, fields: Fields, model: Model | None) -> tuple[Request, Resolved | None]:
        """Return what a request becomes, as far as its model is known; raises where it cannot be made."""
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
                read_prompt(request, resolved, model)
            except JukeboxKitError as error:
                self._prompts[key] = error
        fault = self._prompts.get(key)
        if fault is not None:
            raise fault

    def _blamed(self, fields: Fields, model: Model | None, sentence: str) -> str | None:
        """Return the field without which a fault is not there, or is another one."""
        for name in sorted(fields, key=lambda name: name in _LAST_BLAMED):
            try:
                self._made(_without(fields, name), model)
            except JukeboxKitError as error:
                if str(error) == sentence:
                    continue
            return name
        return None


def _without(fields: Fields, name: str) -> dict[str, Given]:
    """Return the fields without one; a prompt's seconds mean nothing without the prompt."""
    out = {name, "prompt_seconds"} if name == "prompt" else {name}
    return {other: given for other, given in fields.items() if other not in out}


def _check_folder(folder: Path | None, request: Request) -> None:
    """Raise SongError where a folder holds anything but this very song, as far as it is made."""
    if folder is None or not folder.exists():
        return
    if not folder.is_dir():
        raise SongError(f"{folder} is a file; give the song another name.")
    if is_song(folder):
        song = Song.open(folder)
        check_same(song.root, song.request, request)
        return
    check_free(open_store(folder))
