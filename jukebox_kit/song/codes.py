"""A level's codes as a file: readable anywhere, with a checksum, and with how many codes were given, not sampled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.engine import UNMADE
from jukebox_kit.errors import SongError
from jukebox_kit.model.weights import read_metadata

Codes = NDArray[np.int16]


@dataclass(frozen=True)
class Join:
    """Where two chunks of a level meet: both have the tokens from `begin` to `end`; from `cut` on, the second is used.

    The audio is cross-faded from `heard` to `end`, as long before the cut as after it.
    """

    begin: int
    cut: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.heard < self.cut:
            raise ValueError(f"a join must have its cut inside, not before its middle, got {self}")

    @property
    def heard(self) -> int:
        """The first token at which the second chunk is heard."""
        return 2 * self.cut - self.end


@dataclass(frozen=True, eq=False)
class LevelCodes:
    """A level's codes, (items, tokens) int16, UNMADE where none is sampled yet.

    given: for each item, the number of tokens that the level's present plan did not sample (those of a prompt, of an
    import, or from before an edit): they are the model's context and are never sampled again.
    joins: where chunks meet, in order. While chunks grow, codes between them are UNMADE.
    others: at the joins, the tokens of the other chunk, (items, tokens), UNMADE elsewhere.
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
            raise ValueError(f"joins must lie within {tokens} tokens and have others of their own, got {self.joins}")

    @classmethod
    def blank(cls, items: int, tokens: int) -> LevelCodes:
        """Return a level without any tokens yet."""
        return cls(np.full((items, tokens), UNMADE, np.int16), (0,) * items)

    @classmethod
    def whole(cls, codes: Codes) -> LevelCodes:
        """Return a level whose tokens are all given."""
        return cls(codes, (codes.shape[1],) * len(codes))

    @property
    def made(self) -> tuple[int, ...]:
        """For each item, the number of tokens from its start up to the first UNMADE one."""
        unmade = self.codes == UNMADE
        return tuple(int(row.argmax()) if row.any() else row.size for row in unmade)

    @property
    def done(self) -> tuple[int, ...]:
        """For each item, the number of tokens that are sampled or given, in all chunks."""
        return tuple(int(count) for count in (self.codes != UNMADE).sum(1))

    @property
    def complete(self) -> bool:
        """Whether every token of every item is sampled or given."""
        return not (self.codes == UNMADE).any()

    @property
    def sampled(self) -> bool:
        """Whether the level's present plan sampled any of its tokens."""
        return self.done != self.given or any(join.end > min(self.given) for join in self.joins)

    def repeated(self, item: int, items: int) -> LevelCodes:
        """Return `items` copies of one item up to its first UNMADE token, all of them now given."""
        others = None if self.others is None else self.others[[item] * items]
        copies = LevelCodes(self.codes[[item] * items], (self.given[item],) * items, self.joins, others)
        return copies.resized(self.codes.shape[1])

    def resized(self, tokens: int, keep: tuple[int, ...] | None = None) -> LevelCodes:
        """Return the level with another number of tokens. Each item keeps the first `keep`, or all that fit, as given.

        A join stays if all tokens that it joins are kept in every item.
        """
        kept = tuple(min(made, tokens, limit) for made, limit in zip(self.made, keep or self.made, strict=True))
        joins = tuple(join for join in self.joins if join.end <= min(kept))
        fresh, others = (np.full((len(self.codes), tokens), UNMADE, np.int16) for _ in range(2))
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
    return save(tensors, metadata | {"sha256": _digest(tensors)})


def unpack_codes(content: bytes, name: str) -> LevelCodes:
    """Return the level in a file's content; SongError if it is damaged."""
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
    digest = hashlib.sha256(np.ascontiguousarray(tensors["codes"]).tobytes())
    if "others" in tensors:
        digest.update(np.ascontiguousarray(tensors["others"]).tobytes())
    return digest.hexdigest()
