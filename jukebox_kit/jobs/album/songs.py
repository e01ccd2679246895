"""Turns the list of an album's file into songs: merges the defaults, expands sweeps, and names them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import yaml

from jukebox_kit._settings import Faults
from jukebox_kit._yaml import Entry, Reader, is_null, line_of
from jukebox_kit.jobs.album.fields import RENAMED, TYPES, Fields, Sweep, over, read_fields, read_sweep
from jukebox_kit.jobs.album.naming import default_name, name_fault, swept_names

MAX_SONGS = 10000


@dataclass(frozen=True)
class Draft:
    """A song as the file describes it, not yet checked against its model.

    name: None if it is faulty.
    name_line: the line of its name.
    line: its first line.
    """

    name: str | None
    name_line: int
    line: int
    fields: Fields


@dataclass(frozen=True)
class _Entry:
    """One mapping of the list, which is one song or a sweep."""

    line: int
    name: Entry | None
    fields: Fields
    sweep: Sweep

    @property
    def count(self) -> int:
        return math.prod(len(values) for values in self.sweep.values())


def read_drafts(reader: Reader, entries: Mapping[str, Entry], line: int) -> list[Draft]:
    """Return the songs of an album in order. line: where to report that there are none."""
    defaults: Fields = {}
    if "defaults" in entries and not is_null(entries["defaults"].node):
        defaults = read_fields(reader, reader.entries(entries["defaults"].node, "the defaults", tuple(TYPES), RENAMED))
    songs = entries["songs"].node if "songs" in entries else None
    if not isinstance(songs, yaml.SequenceNode) or not songs.value:
        where = line if songs is None else line_of(songs)
        reader.faults.add(where, "an album needs songs, a list of at least one song.")
        return []
    drafts: list[Draft] = []
    total = 0
    for number, node in enumerate(songs.value, 1):
        entry = _entry(reader, node, defaults)
        if total <= MAX_SONGS < total + entry.count:
            what = f"this would make it {total + entry.count}; put the rest into another album."
            reader.faults.add(entry.line, f"an album can have {MAX_SONGS} songs at most; {what}")
        total += entry.count
        if total <= MAX_SONGS:
            drafts += _songs(reader, entry, number, len(songs.value))
    return _named_once(drafts, reader.faults)


def _entry(reader: Reader, node: yaml.Node, defaults: Fields) -> _Entry:
    entries = reader.entries(node, "a song", ("name", "sweep", *TYPES), RENAMED)
    fields = read_fields(reader, entries)
    sweep = read_sweep(reader, entries["sweep"].node) if "sweep" in entries else {}
    words = {"lyrics", "lyrics_file"}
    twice = {other for name in sweep for other in (words if name in words else {name}) if other in fields}
    for name in twice:
        reader.faults.add(fields.pop(name).line, f"{name} is also swept; remove one of the two.")
    return _Entry(line_of(node), entries.get("name"), over(defaults, fields), sweep)


def _songs(reader: Reader, entry: _Entry, number: int, count: int) -> list[Draft]:
    """Return the songs of a mapping, which is number `number` of `count`."""
    line, base = entry.line, None
    if entry.name is None:
        base = default_name(number, count, entry.fields, tuple(entry.sweep))
    else:
        line, base = line_of(entry.name.node), reader.text(entry.name.node, "name")
        wrong = None if base is None else name_fault(base)
        if wrong is not None:
            reader.faults.add(line, wrong)
            base = None
    combinations: list[Fields] = [
        dict(zip(entry.sweep, values, strict=True)) for values in itertools.product(*entry.sweep.values())
    ]
    names: list[str | None] = [base] * len(combinations)
    if base is not None and entry.sweep:
        names = [*swept_names(base, combinations)]
    songs = zip(names, combinations, strict=True)
    return [Draft(name, line, entry.line, over(entry.fields, swept)) for name, swept in songs]


def _named_once(drafts: list[Draft], faults: Faults) -> list[Draft]:
    """Return the songs; names that are too long with their suffix, or used before, are reported and set to None.

    Names that differ only in case count as the same, since some disks treat them so.
    """
    lines: dict[str, int] = {}
    named: list[Draft] = []
    for draft in drafts:
        name = draft.name
        if name is not None:
            key = name.casefold()
            wrong = name_fault(name)
            if key in lines:
                wrong = f"the name {name} is already used in line {lines[key]}; choose another one."
            if wrong is not None:
                faults.add(draft.name_line, wrong)
                name = None
            lines.setdefault(key, draft.name_line)
        named.append(replace(draft, name=name))
    return named
