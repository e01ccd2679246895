"""What audio files made from a song say of themselves in their tags."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jukebox_kit.song.audio_files import mark_of
from jukebox_kit.song.reproduce import asked_fields
from jukebox_kit.song.state import SongState
from jukebox_kit.song.tags import Part, Source, Tags

PATHS = ("model", "prompt")  # fields of a request that may be paths on the user's machine


def tags_of(state: SongState, what: str, parts: Iterable[tuple[int, int]]) -> Tags:
    """Return the tags of a file with audio of the song. what: in the title, such as "item 0".

    parts: the items and levels in the file, each as far as it is sampled. The tags also state that the named artist
    does not play in it.
    """
    request, name, manifest = state.request, state.root.absolute().name, state.manifest
    artist = "Jukebox" if request.artist == "unknown" else f"Jukebox in the style of {request.artist}"
    comment = f"made with jukebox_kit, model {state.definition.name}, seed {request.seed}; licence: {manifest.licence}"
    genre = "" if request.genre == "unknown" else request.genre
    date = manifest.history[0].when if manifest.history else ""
    return Tags(f"{name}, {what}", artist, comment, genre, date, _source(state, name, parts))


def _source(state: SongState, name: str, parts: Iterable[tuple[int, int]]) -> Source:
    kept = [Part(item, level, _mark(state, item, level)) for item, level in parts]
    request: dict[str, Any] = {field: _shareable(field, v) for field, v in asked_fields(state.request).items()}
    return Source(state.manifest.song_id, name, state.definition.name, state.request.seed, tuple(kept), request)


def _mark(state: SongState, item: int, level: int) -> str:
    codes = state.level(level)
    return mark_of(codes.codes[item, : codes.made[item]])


def _shareable(field: str, value: Any) -> Any:
    """Return a value of a request as it may leave this machine: of a path only the name."""
    return Path(value).name if field in PATHS else value
