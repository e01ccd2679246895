"""The codes of a level, and their file: it has a checksum, and records which tokens were given, not sampled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.engine import UNSAMPLED
from jukebox_kit.errors import SongError
from jukebox_kit.model.weights import read_metadata, with_sorted_metadata

Codes = NDArray[np.int16]


@dataclass(frozen=True)
class Join:
    """Where two chunks of a level meet: both have the tokens from `begin` to `end`; the level switches at `cut`.

    The audio crossfades from `fade_begin` to `end`, as long before the cut as after it.
    """

    begin: int
    cut: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.fade_begin < self.cut:
            raise ValueError(f"a join must have its cut inside and not before its middle, got {self}")

    @property
    def fade_begin(self) -> int:
        """The first token at which the second chunk can be heard."""
        return 2 * self.cut - self.end


@dataclass(frozen=True, eq=False)
class LevelCodes:
    """A level's codes, (items, tokens) int16, UNSAMPLED where not yet sampled.

    given: for each item how many tokens are not sampled by the present plan but come from a prompt, an import or the
    song before an edit; they are context and are never sampled again.
    joins: where chunks meet, in order.
    others: at the joins the tokens of the chunk that is not played, shaped as the codes, UNSAMPLED elsewhere.

    While chunks grow, tokens between them are unmade; `made` counts those before the first gap.
    """

    codes: Codes
    given: tuple[int, ...]
    joins: tuple[Join, ...] = ()
    others: Codes | None = None

    def __post_init__(self) -> None:
        items, tokens = self.codes.shape
        if len(self.given) != items or not all(0 <= given <= tokens for given in self.given):
            raise ValueError(f"given must be {items} counts of at most {tokens} tokens, got {self.given}")
        fits = (
            self.others is None if not self.joins else self.others is not None and self.others.shape == (items, tokens)
        )
        if not fits or any(join.end > tokens for join in self.joins):
            raise ValueError(f"joins must lie within {tokens} tokens and need others, got {self.joins}")

    @classmethod
    def blank(cls, items: int, tokens: int) -> LevelCodes:
        """Return a level of which nothing is sampled."""
        return cls(np.full((items, tokens), UNSAMPLED, np.int16), (0,) * items)

    @classmethod
    def whole(cls, codes: Codes) -> LevelCodes:
        """Return a level of which all (items, tokens) are given."""
        return cls(codes, (codes.shape[1],) * len(codes))

    @property
    def made(self) -> tuple[int, ...]:
        """For each item how many tokens before the first missing one are sampled or given."""
        unmade = self.codes == UNSAMPLED
        return tuple(int(row.argmax()) if row.any() else row.size for row in unmade)

    @property
    def done(self) -> tuple[int, ...]:
        """For each item how many tokens are sampled or given, wherever they are."""
        return tuple(int(count) for count in (self.codes != UNSAMPLED).sum(1))

    @property
    def complete(self) -> bool:
        """Whether every token of every item is sampled or given."""
        return not (self.codes == UNSAMPLED).any()

    @property
    def sampled(self) -> bool:
        """Whether anything was sampled by the level's present plan."""
        return self.done != self.given or any(join.end > min(self.given) for join in self.joins)

    def repeated(self, item: int, items: int) -> LevelCodes:
        """Return `items` copies of one item, up to its first missing token, as given tokens."""
        others = None if self.others is None else self.others[[item] * items]
        copies = LevelCodes(self.codes[[item] * items], (self.given[item],) * items, self.joins, others)
        return copies.resized(self.codes.shape[1])

    def resized(self, tokens: int, keep: tuple[int, ...] | None = None) -> LevelCodes:
        """Return the level at another length with each item's first `keep` tokens, by default all, as given tokens.

        A join is kept if both its chunks are kept for every item.
        """
        kept = tuple(min(made, tokens, limit) for made, limit in zip(self.made, keep or self.made, strict=True))
        joins = tuple(join for join in self.joins if join.end <= min(kept))
        fresh, others = (np.full((len(self.codes), tokens), UNSAMPLED, np.int16) for _ in range(2))
        for row, count in enumerate(kept):
            fresh[row, :count] = self.codes[row, :count]
        if not joins or self.others is None:
            return LevelCodes(fresh, kept)
        others[:, : joins[-1].end] = self.others[:, : joins[-1].end]
        return LevelCodes(fresh, kept, joins, others)


def pack_codes(level: LevelCodes) -> bytes:
    """Return a level as a safetensors file."""
    tensors = {"codes": np.ascontiguousarray(level.codes)}
    metadata = {"tokens_done": json.dumps(level.made), "given": json.dumps(level.given)}
    if level.others is not None:
        tensors["others"] = np.ascontiguousarray(level.others)
        metadata["joins"] = json.dumps([[join.begin, join.cut, join.end] for join in level.joins])
    return with_sorted_metadata(save(tensors, metadata | {"sha256": _digest(tensors)}))


def unpack_codes(content: bytes, name: str) -> LevelCodes:
    """Return the level that such a file contains; SongError if it is damaged. name: the file, for the message."""
    try:
        tensors: dict[str, Codes] = load(content)
        metadata = read_metadata(content)
        if metadata["sha256"] == _digest(tensors):
            joins = tuple(Join(*places) for places in json.loads(metadata.get("joins", "[]")))
            return LevelCodes(tensors["codes"], tuple(json.loads(metadata["given"])), joins, tensors.get("others"))
    except (SafetensorError, KeyError, ValueError, TypeError):
        pass
    raise SongError(f"{name} is damaged; put back a copy of it, or delete it to sample that level again.")


def _digest(tensors: dict[str, Codes]) -> str:
    found = hashlib.sha256(np.ascontiguousarray(tensors["codes"]).tobytes())
    if "others" in tensors:
        found.update(np.ascontiguousarray(tensors["others"]).tobytes())
    return found.hexdigest()
