"""Names of an album's songs, which are also the names of their folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unidecode import unidecode

from jukebox_kit.jobs.album.fields import Fields
from jukebox_kit.song import PAGE

OWN_NAMES = (PAGE, "album.json", "logs")

"""The album's own files beside its songs."""

LONGEST = 120  # bytes; file systems allow 255, and temporary files have longer names

_PART = 24  # characters of a value in a name

_PLAIN = ("artist", "genre", "model", "lyrics", "lyrics_file", "prompt", "temperature")

_PATHS = ("model", "lyrics_file", "prompt")


def name_fault(name: str) -> str | None:
    """Return a sentence on what is wrong with a song's name, or None."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        return f"{name!r} cannot be a song's name; use letters, digits, _, . and -, and begin with a letter or digit."
    if len(name.encode()) > LONGEST:
        return f"the name {name[:_PART]}… is longer than {LONGEST} bytes; give a shorter one."
    if name.casefold() in OWN_NAMES:
        return f"the album itself keeps {name.casefold()} beside its songs; give the song another name."
    return None


def default_name(number: int, count: int, fields: Fields, swept: Sequence[str]) -> str:
    """Return the name of song `number` of `count`, from 1: 01-artist-genre, without swept fields."""
    known = [fields[name].written for name in ("artist", "genre") if name in fields and name not in swept]
    width = max(2, len(str(count)))
    return "-".join([f"{number:0{width}}", *(part for value in known if (part := _slug(value)))])


def swept_names(base: str, songs: Sequence[Fields]) -> list[str]:
    """Return a name for each song of a sweep: the base and the values, also a number if names would be the same.

    songs: the swept fields of each. If names would be too long, they are the base and the number.
    """
    names = ["-".join([base, *_suffixes(fields)]) for fields in songs]
    numbers = [f"{base}-{number:0{len(str(len(songs)))}}" for number in range(1, len(songs) + 1)]
    if any(len(name.encode()) > LONGEST for name in names):
        return numbers
    if len({name.casefold() for name in names}) < len(names):
        return ["-".join([number, *_suffixes(fields)]) for number, fields in zip(numbers, songs, strict=True)]
    return names


def _suffixes(fields: Fields) -> list[str]:
    # The fields are named as in the file, so that the songs of older albums keep their folders.
    texts = ((given.written_name or name, _short(name, given.written)) for name, given in fields.items())
    return [_prefix(name) + text for name, text in texts if text]


def _prefix(name: str) -> str:
    return "" if name in _PLAIN else _PREFIXES.get(name, f"{name}-")


_PREFIXES: Mapping[str, str] = {"seed": "s"}


def _short(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(_short(name, part) for part in value)
    if isinstance(value, float):
        return re.sub(r"[^\w.-]", "", f"{value:g}")
    return _slug(Path(value).stem if name in _PATHS and value is not None else value)


def _slug(value: Any) -> str:
    return re.sub("[^a-z0-9]+", "-", unidecode(str(value)).lower()).strip("-")[:_PART].strip("-")
