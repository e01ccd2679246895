"""Reads the fields of a request from an album's file: checks types, resolves paths, reads lyrics, keeps lines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from jukebox_kit._files import user_path
from jukebox_kit._settings import described, refusal
from jukebox_kit._values import of_type
from jukebox_kit._yaml import Entry, Reader, line_of
from jukebox_kit.errors import RequestError
from jukebox_kit.song import FIELD_TYPES, read_lyrics

TYPES: Mapping[str, Any] = {**FIELD_TYPES, "lyrics_file": str}

"""The fields that an album may set, with their types."""

RENAMED = {"pieces": "chunks"}  # older albums use the names on the left


@dataclass(frozen=True)
class Given:
    """A field as the file sets it.

    value: of the field's type, with absolute paths.
    written: the value as it is in the file.
    line: where it is in the file.
    faulty: whether a fault of it is reported already; then it has no value.
    written_name: the field's name in the file, if that is an older one.
    """

    value: Any
    written: Any
    line: int
    faulty: bool = False
    written_name: str | None = None


Fields = dict[str, Given]

Sweep = dict[str, list[Given]]


def read_fields(reader: Reader, entries: Mapping[str, Entry]) -> Fields:
    """Return the fields of Request among a mapping's settings; lyrics of a file become `lyrics`."""
    fields = {name: read_field(reader, name, entry.node) for name, entry in entries.items() if name in TYPES}
    if {"lyrics", "lyrics_file"} <= set(entries):
        line = max(entries[name].key_line for name in ("lyrics", "lyrics_file"))
        reader.faults.add(line, "lyrics and lyrics_file exclude each other; set only one of them.")
        del fields["lyrics_file"]
    return fields


def read_sweep(reader: Reader, node: yaml.Node) -> Sweep:
    """Return the values of each swept field, in the order of the file."""
    entries, sweep = reader.entries(node, "a sweep", tuple(TYPES), RENAMED), Sweep()
    for name, entry in entries.items():
        values = entry.node
        if not isinstance(values, yaml.SequenceNode) or not values.value:
            kind = "an empty list" if isinstance(values, yaml.SequenceNode) else described(reader.value(values))
            reader.faults.add(line_of(values), f"a sweep of {name} takes a list of values, not {kind}.")
            sweep[name] = [Given(None, None, line_of(values), faulty=True)]
            continue
        older = entry.written_as if entry.written_as != name else None
        sweep[name] = [replace(read_field(reader, name, part), written_name=older) for part in values.value]
        seen: list[Any] = []
        for given, part in zip(sweep[name], values.value, strict=True):
            if given.faulty:
                continue
            if given.written in seen:
                reader.faults.add(
                    given.line, f"the sweep of {name} has {described(reader.value(part))} twice; remove one of them."
                )
            seen.append(given.written)
    if {"lyrics", "lyrics_file"} <= set(entries):
        line = max(entries[name].key_line for name in ("lyrics", "lyrics_file"))
        reader.faults.add(line, "lyrics and lyrics_file exclude each other; sweep only one of them.")
        del sweep["lyrics_file"]
    return sweep


def over(lower: Fields, upper: Fields) -> Fields:
    """Return the fields of both, those of `upper` first; its lyrics also replace a lyrics file, and the reverse."""
    words = {"lyrics", "lyrics_file"}
    kept = {name: given for name, given in lower.items() if not (name in words and words & set(upper))}
    return {**kept, **upper}


def asked(fields: Fields) -> dict[str, Any]:
    """Return the values of the fields under the names of Request."""
    return {"lyrics" if name == "lyrics_file" else name: given.value for name, given in fields.items()}


def read_field(reader: Reader, name: str, node: yaml.Node) -> Given:
    """Return a field; its faults are reported."""
    line = line_of(node)
    try:
        written = of_type(reader.value(node), TYPES[name])
    except TypeError:
        reader.faults.add(line, refusal(name, TYPES[name], reader.value(node)))
        return Given(None, None, line, faulty=True)
    value = written
    if name in ("lyrics_file", "prompt") or (name == "model" and Path(written).suffix in (".yaml", ".yml")):
        value = None if written is None else os.path.abspath(reader.path.parent / user_path(written))  # noqa: PTH100 removes ..
    try:
        if name == "lyrics_file":
            value = read_lyrics(Path(value))
        elif name == "prompt" and value is not None and not os.path.isfile(value):  # noqa: PTH113 raises if the name is too long
            raise RequestError(f"there is no recording {value}.")
    except RequestError as error:
        reader.faults.add(line, error)
        return Given(None, None, line, faulty=True)
    return Given(value, written, line)
