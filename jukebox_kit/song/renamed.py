"""Files of a song that were renamed, as browsers, sync programs and file managers do: song (1).json, Copy of song.json.

They are known by what they hold, whichever name they were given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from jukebox_kit._files import contents, explained, shown_path
from jukebox_kit.errors import SongError
from jukebox_kit.song.files import SEGMENTS, SONG

MOST_BYTES = 2**24  # of a song.json, or of the header of a file of codes


def check_not_renamed(root: Path, name: str, otherwise: str = "") -> None:
    """Raise SongError if a song's file is missing and another one holds what it should; the sentence names that file.

    name: the file's name in the song's folder `root`. otherwise: what the user may do rather than rename it back.
    """
    found = find_renamed(root, name)
    if found is not None:
        raise SongError(
            f"{shown_path(found)} is {PurePosixPath(name).name} under another name; rename it back to "
            f"{shown_path(root / name)}{otherwise}."
        )


def find_renamed(root: Path, name: str) -> Path | None:
    """Return the newest file that holds what the missing file `name` should; None if no file does, or it exists.

    Also None for a song that is kept in segments: files under their own names are copies that it does not read.
    SongError if the disk does not answer.
    """
    wanted = root / name
    with explained(wanted, "read"):
        if wanted.exists() or (root / SEGMENTS).is_dir():
            return None
        holds = _holds_song if wanted.name == SONG else _holds_codes
        found = [path for path in _alike(root, PurePosixPath(name).parts) if holds(path)]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _alike(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files below a folder whose names, folder by folder, share a word with those wanted."""
    try:
        inside = contents(folder) if folder.is_dir() else []
    except SongError:
        return
    for path in inside:
        if parts[1:] and _has(path.name, parts[0]):
            yield from _alike(path, parts[1:])
        elif not parts[1:] and any(_has(path.name, word) for word in parts[0].split(".")) and path.is_file():
            yield path


def _has(name: str, word: str) -> bool:
    """Return whether a name has a word in it, not followed by another digit: level_2 (1) has level_2, level_20 not."""
    _, at, rest = name.lower().partition(word)
    return bool(at) and not rest[:1].isdigit() if word[-1:].isdigit() else bool(at)


def _holds_song(path: Path) -> bool:
    try:
        values: Any = json.loads(path.read_bytes()) if path.stat().st_size <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"format", "request", "resolved"} <= set(values)


def _holds_codes(path: Path) -> bool:
    """Return whether a file's safetensors header lists codes, and how many of them were given."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            values: Any = json.loads(file.read(length)) if length <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "codes" in values and "given" in (values.get("__metadata__") or {})
