"""The names of the files and folders in a song's folder, relative to it."""

from __future__ import annotations

SONG = "song.json"
PAGE = "index.html"
SPECTROGRAM = "spectrogram.png"
PROMPT = "prompt.wav"
VERSIONS = "versions"
EXPORTS = "exports"  # audio in other formats
SEGMENTS = "segments"
SHARDS = "shares"

OWN_NAMES = {SONG, PAGE, SPECTROGRAM, PROMPT, VERSIONS, EXPORTS, SEGMENTS, SHARDS, "level_0", "level_1", "level_2"}

OWN_PREFIXES = (".lock", ".lease-")


def codes_name(level: int) -> str:
    """Return the name of a level's file of codes."""
    return f"level_{level}/codes.safetensors"


def version_name(version: str, name: str) -> str:
    """Return the name under which a version keeps a file."""
    return f"{VERSIONS}/{version}/{name}"
