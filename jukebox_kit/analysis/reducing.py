"""States at the token rate as frames of a lower rate, or pooled over time, without keeping a whole recording's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jukebox_kit.errors import RequestError

Rows = NDArray[np.float32]

POOLS = ("none", "mean", "max")


@dataclass(frozen=True)
class Reduction:
    """What becomes of a layer's states.

    rate: frames a second; None for one frame a token. pool: over time, one of POOLS.
    token_rate: tokens a second. fft: resample by FFT over the whole recording, instead of means over each frame.
    """

    token_rate: float
    rate: float | None = None
    pool: str = "none"
    fft: bool = False

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise RequestError(f"pool must be one of {', '.join(POOLS)}, not {self.pool}.", field="pool")
        if self.rate is not None and not 0 < self.rate <= self.token_rate:
            raise RequestError(
                f"rate must be above 0 and at most {self.token_rate:g} frames a second, not {self.rate:g}; frames is "
                f"one for each token.",
                field="rate",
            )

    def frames(self, tokens: int) -> int:
        """Return how many rows the states of a recording of some tokens become."""
        if self.pool != "none":
            return 1
        return tokens if self.rate is None else math.ceil(tokens * self.rate / self.token_rate)

    def edge(self, frame: int) -> int:
        """Return the first token of a frame."""
        return frame if self.rate is None else int(frame * self.token_rate / self.rate)


class Reducer:
    """Reduces one layer's states of one recording, which come some rows at a time."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = reduction
        self.waiting: list[Rows] = []
        self.tokens = self.made = self.pooled = 0
        self.pool: NDArray[np.float64] | None = None

    def add(self, rows: Rows) -> Rows:
        """Take rows (n, W); return the rows of the result that are finished, (m, W)."""
        how = self.reduction
        self.tokens += len(rows)
        if how.rate is None:
            return self._pooled(rows)
        self.waiting.append(rows)
        if how.fft:
            return rows[:0]
        finished: list[Rows] = []
        held, first = np.concatenate(self.waiting), how.edge(self.made)
        while how.edge(self.made + 1) <= self.tokens:
            begin, end = how.edge(self.made) - first, how.edge(self.made + 1) - first
            finished.append(held[begin:end].mean(0, keepdims=True))
            self.made += 1
        self.waiting = [held[how.edge(self.made) - first :]]
        return self._pooled(np.concatenate([held[:0], *finished]))

    def end(self) -> Rows:
        """Return the rows that are left, after the last were added."""
        held = np.concatenate(self.waiting) if self.waiting else None
        rest: Rows | None = None
        if self.reduction.fft and held is not None:
            rest = resampled(held, self.reduction)
        elif held is not None and len(held):
            rest = held.mean(0, keepdims=True)
        left = None if rest is None else self._pooled(rest)
        if self.pool is None:
            return np.zeros((0, 0), np.float32) if left is None else left
        whole = self.pool / self.pooled if self.reduction.pool == "mean" else self.pool
        return whole[None].astype(np.float32)

    def _pooled(self, rows: Rows) -> Rows:
        """Return rows unless they are to be pooled: then none, and they are kept as their sum or maximum."""
        if self.reduction.pool == "none" or not len(rows):
            return rows
        self.pooled += len(rows)
        if self.reduction.pool == "mean":
            new = rows.sum(0, dtype=np.float64)
            self.pool = new if self.pool is None else self.pool + new
        else:
            highest = rows.max(0).astype(np.float64)
            self.pool = highest if self.pool is None else np.maximum(self.pool, highest)
        return rows[:0]


def resampled(rows: Rows, reduction: Reduction) -> Rows:
    """Return states (tokens, W) at a lower rate by FFT, which takes them as periodic: (frames, W)."""
    import librosa  # slow to import, and needed for this only

    turned = cast(Any, librosa).resample(
        np.ascontiguousarray(rows.T), orig_sr=reduction.token_rate, target_sr=reduction.rate, res_type="fft"
    )
    return np.ascontiguousarray(turned.T)
