"""Runs of the 2020 sampler and co-composer files: their items, gathered into songs.

A song here has one artist, genre and lyrics, while a run's items could differ in them, as they did by the sampler's
default. Items with the same labels and lengths make one song, also if several processes wrote them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.song.interop.code_lists import OldCodes, OldLevel
from jukebox_kit.song.interop.finding import LEVEL_FOLDERS, OldSource, find_data
from jukebox_kit.song.interop.pickles import (
    COMPOSER,
    OldFile,
    OldLabels,
    WeightsError,
    read_old_file,
)


@dataclass(frozen=True, eq=False)
class OldSong:
    """A song of another program.

    codes: levels 0, 1, 2, each (items, tokens) int64. items: the name of each item there. parent: the name of the song
    that it was forked from. notes: for the user, one sentence each.
    """

    name: str
    kind: str
    path: Path
    codes: OldCodes
    labels: OldLabels
    items: tuple[str, ...]
    parent: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The songs of a source, and a sentence for each file that could not be read."""

    songs: tuple[OldSong, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Item:
    """One item of a run: its place there, and its codes (tokens,) of levels 0, 1, 2."""

    where: str
    kind: str
    path: Path
    codes: tuple[OldLevel, OldLevel, OldLevel]
    labels: OldLabels


def read_run(source: OldSource) -> Found:
    """Read a run's folders, or one file, into songs; WeightsError where a file holds a model's weights."""
    failed: list[str] = []
    notes: list[str] = []
    items: list[_Item] = []
    for path in source.paths:
        file = _read_folder(path, failed, notes) if path.is_dir() else _read(path, failed)
        if file is not None:
            notes += file.notes
            items += _items(file, path if len(source.paths) > 1 else None)
    groups: dict[object, list[_Item]] = {}
    for item in items:
        groups.setdefault((item.kind, item.labels, tuple(len(level) for level in item.codes)), []).append(item)
    numbers = {id(item): number for number, item in enumerate(items)}
    songs = []
    for group in groups.values():
        name = source.name if len(groups) == 1 else f"{source.name}-item-{numbers[id(group[0])]}"
        songs.append(_song(name, source.paths[0], group, notes))
    return Found(tuple(songs), tuple(failed))


def _song(name: str, path: Path, group: list[_Item], notes: list[str]) -> OldSong:
    codes = tuple(np.stack([item.codes[level] for item in group]) for level in range(3))
    same = len(group) > 1 and all((level == level[:1]).all() for level in codes)
    copies = [f"the {len(group)} items of {path} are identical, as after choosing one."] if same else []
    first = group[0]
    where = tuple(item.where for item in group)
    kept = [*notes, *(copies if first.kind == COMPOSER else [])]
    return OldSong(name, first.kind, path, (codes[0], codes[1], codes[2]), first.labels, where, notes=tuple(kept))


def _items(file: OldFile, folder: Path | None) -> Iterator[_Item]:
    for number, labels in enumerate(file.labels):
        where = f"item {number}" if folder is None else f"item {number} of {folder.name}"
        codes = (file.codes[0][number], file.codes[1][number], file.codes[2][number])
        yield _Item(where, file.kind, file.path, codes, labels)


def _read(path: Path, failed: list[str]) -> OldFile | None:
    try:
        return read_old_file(path)
    except WeightsError:
        raise
    except JukeboxKitError as error:
        failed.append(str(error))
        return None


def _read_folder(folder: Path, failed: list[str], notes: list[str]) -> OldFile | None:
    """Read the lowest level's file that can be read: it holds the codes of the levels above as well."""
    paths = [path for level in LEVEL_FOLDERS if (path := find_data(folder / level)) is not None]
    files = [file for path in paths if (file := _read(path, failed)) is not None]
    if not files:
        return None
    for other in files[1:]:
        if not _of_one_song(files[0], other):
            notes.append(
                f"{other.path} contains a different song from {files[0].path}, whose codes were imported; import "
                f"that file separately to get its song too."
            )
    return files[0]


def _of_one_song(lower: OldFile, upper: OldFile) -> bool:
    """Return whether the levels that two files share begin alike."""
    if len(lower.labels) != len(upper.labels):
        return False
    shared = [(a, b, min(a.shape[1], b.shape[1])) for a, b in zip(lower.codes, upper.codes, strict=True)]
    return all(np.array_equal(a[:, :length], b[:, :length]) for a, b, length in shared)
