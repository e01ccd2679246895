"""A level's codes as a file: readable anywhere, with a checksum, and with what was given rather than sampled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.errors import SongError

Codes = NDArray[np.int16]
UNMADE = -1


@dataclass(frozen=True, eq=False)
class LevelCodes:
    """A level's codes, (items, tokens) int16, UNMADE where none is made yet.

    given: for each item how many tokens were not sampled by the level's present plan (a prompt, an import, what stood
    before an edit): they are the model's context and are never sampled again.
    """

    codes: Codes
    given: tuple[int, ...]

    def __post_init__(self) -> None:
        items, tokens = self.codes.shape
        if len(self.given) != items or not all(0 <= given <= tokens for given in self.given):
            raise ValueError(f"given must be {items} counts of at most {tokens} tokens, got {self.given}")

    @classmethod
    def blank(cls, items: int, tokens: int) -> LevelCodes:
        """Return a level of which nothing is made."""
        return cls(np.full((items, tokens), UNMADE, np.int16), (0,) * items)

    @property
    def made(self) -> tuple[int, ...]:
        """For each item how many tokens from its start are made."""
        unmade = self.codes == UNMADE
        return tuple(int(row.argmax()) if row.any() else row.size for row in unmade)

    def resized(self, tokens: int, keep: tuple[int, ...] | None = None) -> LevelCodes:
        """Return the level at another length, of each item the first `keep` tokens, or all that fit, now given."""
        fresh = LevelCodes.blank(len(self.codes), tokens).codes
        kept = tuple(min(made, tokens, limit) for made, limit in zip(self.made, keep or self.made, strict=True))
        for row, count in enumerate(kept):
            fresh[row, :count] = self.codes[row, :count]
        return LevelCodes(fresh, kept)


def pack_codes(level: LevelCodes) -> bytes:
    """Return a level as a safetensors file."""
    metadata = {
        "tokens_done": json.dumps(level.made),
        "given": json.dumps(level.given),
        "sha256": _digest(level.codes),
    }
    return save({"codes": np.ascontiguousarray(level.codes)}, metadata)


def unpack_codes(content: bytes, name: str) -> LevelCodes:
    """Return the level that such a file holds; SongError where it is damaged."""
    try:
        codes: Codes = load(content)["codes"]
        metadata = read_metadata(content)
        if metadata["sha256"] == _digest(codes):
            return LevelCodes(codes, tuple(json.loads(metadata["given"])))
    except (SafetensorError, KeyError, ValueError, TypeError):
        pass
    raise SongError(f"{name} is damaged; put back a copy of it, or delete it to sample that level again.")


def read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file: 8 bytes of header length, then the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found


def _digest(codes: Codes) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest()
