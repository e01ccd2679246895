"""Which codes an audio file was decoded from: recorded in song.json, so that an outdated file is recognised."""

from __future__ import annotations

import hashlib

from jukebox_kit.song.audio import audio_samples
from jukebox_kit.song.codes import Codes
from jukebox_kit.song.files import audio_name
from jukebox_kit.song.state import SongState


def mark_of(codes: Codes) -> str:
    """Return what song.json records of the codes (tokens,) that an audio file was decoded from."""
    return f"{len(codes)} {hashlib.sha256(codes.tobytes()).hexdigest()}"


def tokens_heard(state: SongState, level: int, item: int) -> int:
    """Return how many of an item's codes its audio file of that level plays, from the start.

    0 if there is no such file, it is incomplete, or it plays other codes, such as those from before an edit.
    """
    name, codes = audio_name(level, item), state.level(level)
    mark = state.manifest.sounds.get(name, "")
    tokens = int(mark.split()[0]) if mark else 0
    if not 0 < tokens <= codes.made[item] or mark_of(codes.codes[item, :tokens]) != mark:
        return 0
    return tokens if audio_samples(state.root / name) == tokens * state.definition.vqvae.hops[level] else 0
