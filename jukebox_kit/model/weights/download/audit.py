"""`models check`: whether the files of a model on this machine are unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.checkpoint import matched, read_shapes
from jukebox_kit.model.weights.definition import PARTS, ModelDefinition, converted_name, load_definition, models_folder
from jukebox_kit.model.weights.download.fetch import blanks, found, table_names
from jukebox_kit.model.weights.download.records import Record, read_record, sha256_of, write_record
from jukebox_kit.model.weights.download.release import Release, load_release
from jukebox_kit.model.weights.tables import find_table


@dataclass(frozen=True)
class Checked:
    """The result of a check: `right`, `recorded` (checked for the first time), `wrong` or `missing`, and the reason."""

    file: str
    path: Path | None
    state: str
    why: str = ""


def check(model: str | Path, release: Release | None = None) -> list[Checked]:
    """Compare each file of a model with its sha256, and check that it opens as the expected component.

    The sha256 is the one recorded before, else the one that a third party published; without either, it is recorded
    now, in the models folder. Reads every file completely, uses no network, and changes no file of weights.
    """
    definition, facts = load_definition(model), release or load_release()
    parts = blanks(definition)
    return [_part(definition, part, parts[part], facts) for part in PARTS] + [
        _table(name, definition, facts) for name in table_names(definition)
    ]


def _part(definition: ModelDefinition, part: str, blank: nn.Module, release: Release) -> Checked:
    file, path = definition.files[part], found(definition, part)
    if path is None:
        return Checked(file, None, "missing")
    try:
        matched(blank, read_shapes(path), str(path))
    except CheckpointError as error:
        return Checked(file, path, "wrong", str(error))
    if file not in release.files:
        return Checked(file, path, "right", "it can be read; no checksum is published for it")
    own = models_folder() / _name(file, path)
    record, published = read_record(own), release.files[file].sha256 if path.name == Path(file).name else None
    known, (sha256, _) = record.sha256 if record else published, sha256_of(path)
    if known is None:
        write_record(own, Record(path.stat().st_size, sha256, "kept"))
        return Checked(file, path, "recorded", f"sha256 {sha256}")
    if sha256 != known:
        return Checked(file, path, "wrong", f"its sha256 is {sha256}, not {known}; delete it and download it again.")
    return Checked(file, path, "right")


def _table(name: str, definition: ModelDefinition, release: Release) -> Checked:
    try:
        path = find_table(name, definition.folder)
    except CheckpointError:
        return Checked(name, None, "missing")
    if release.tables.get(name) not in (None, sha256_of(path)[0]):
        return Checked(name, path, "wrong", "it is not the release's table; delete it and download it again.")
    return Checked(name, path, "right")


def _name(file: str, path: Path) -> str:
    """Return the name of a file in the models folder: as released, or converted."""
    return converted_name(file) if path.suffix == ".safetensors" else file
