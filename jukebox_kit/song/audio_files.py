"""Which codes an audio file plays: kept in song.json beside it, so that none is taken for what it no longer is."""

from __future__ import annotations

import hashlib

from jukebox_kit.song.audio import audio_samples
from jukebox_kit.song.codes import Codes
from jukebox_kit.song.files import audio_name
from jukebox_kit.song.song import Song


def mark_of(codes: Codes) -> str:
    """Return what song.json keeps of the codes (tokens,) that an audio file was decoded from."""
    return f"{len(codes)} {hashlib.sha256(codes.tobytes()).hexdigest()}"


def tokens_heard(song: Song, level: int, item: int, made: Codes) -> int:
    """Return how many of an item's codes, made (tokens,) so far, its audio file of that level plays, from the start.

    0 where there is no such file, where it is not whole, or where it plays other codes: those from before an edit.
    """
    name = audio_name(level, item)
    mark = song.manifest.sounds.get(name, "")
    tokens = int(mark.split()[0]) if mark else 0
    if not 0 < tokens <= len(made) or mark_of(made[:tokens]) != mark:
        return 0
    return tokens if audio_samples(song.root / name) == tokens * song.definition.vqvae.hops[level] else 0
