"""The names of the files and folders in a song's folder, relative to it; they are written in no other file."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from jukebox_kit._files import is_litter

SONG = "song.json"
PAGE = "index.html"
SPECTROGRAM = "spectrogram.png"
PROMPT = "prompt.wav"
VERSIONS = "versions"
EXPORTS = "exports"  # audio in other formats
SEGMENTS = "segments"
SHARDS = "shares"
LOCK = ".lock"
LEASE_PREFIX = ".lease-"

OWN_NAMES = {SONG, PAGE, SPECTROGRAM, PROMPT, VERSIONS, EXPORTS, SEGMENTS, SHARDS, "level_0", "level_1", "level_2"}

OWN_PREFIXES = (LOCK, LEASE_PREFIX)

ALIGNMENT = "level_2/alignment.safetensors"

# A shard is a folder of its own, with a store and a lease of its own.
SHARD_CODES = "codes.safetensors"
SHARD_FACTS = "share.json"
SHARD_NAME = re.compile(r"level_(?P<level>\d)_rows_(?P<first>\d+)-(?P<last>\d+)_(?P<mark>[0-9a-f]+)")


def codes_name(level: int) -> str:
    """Return the name of a level's file of codes."""
    return f"level_{level}/codes.safetensors"


def audio_name(level: int, item: int) -> str:
    """Return the name of an item's audio file of a level."""
    return f"level_{level}/item_{item}.wav"


def stem_name(item: int, level: int) -> str:
    """Return the name of an exported stem."""
    return f"item_{item}_level_{level}.wav"


def picture_name(level: int, item: int) -> str:
    """Return the name of the picture of an item's audio file."""
    return f"level_{level}/item_{item}.png"


def words_name(item: int) -> str:
    """Return the name of the picture of the words that an item's music attends to."""
    return f"level_2/item_{item}.words.png"


def version_name(version: str, name: str) -> str:
    """Return the name of a version's copy of a file."""
    return f"{VERSIONS}/{version}/{name}"


def shard_name(level: int, rows: range, mark: str) -> str:
    """Return the name of the folder that holds some rows of a level; mark: hex digits."""
    return f"{SHARDS}/level_{level}_rows_{rows.start}-{rows.stop - 1}_{mark}"


def shard_pattern(level: int) -> str:
    """Return the glob pattern of the folders of a level's shards."""
    return f"{SHARDS}/level_{level}_*"


def lease_name(owner: str) -> str:
    """Return the name of an owner's lease, or with * for the owner the glob pattern of all leases."""
    return f"{LEASE_PREFIX}{owner}.json"


def is_kept(name: str) -> bool:
    """Return whether a file of a song or a shard cannot be recomputed from the others."""
    if any(map(is_litter, PurePosixPath(name).parts)):
        return False
    recomputable = name.startswith((".", f"{SEGMENTS}/")) or name.endswith("/alignment.safetensors")
    return not recomputable and name.endswith((".json", ".safetensors", PROMPT))
