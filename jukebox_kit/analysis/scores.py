"""The bits of a recording's tokens, and what they are in all and over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jukebox_kit.errors import RequestError

Bits = NDArray[np.float32]

STEP_SECONDS = 0.5  # of the curve over time


@dataclass(frozen=True)
class LevelScore:
    """A level's bits.

    bits: of each token, (tokens,). rate: tokens a second.
    windows: the first token of each, and its mean bits over the tokens that were scored in it.
    """

    level: int
    bits: Bits
    rate: float
    windows: tuple[tuple[int, float], ...]

    @property
    def mean(self) -> float:
        """Bits per token."""
        return float(self.bits.mean(dtype=np.float64))

    @property
    def total(self) -> float:
        """Bits of all tokens together."""
        return float(self.bits.sum(dtype=np.float64))

    @property
    def seconds(self) -> float:
        """How long the audio of the tokens is."""
        return len(self.bits) / self.rate

    def over_time(self, step: float = STEP_SECONDS) -> list[tuple[float, float]]:
        """Return the mean bits per token of each `step` seconds, with the second at which they begin."""
        each = max(1, round(step * self.rate))
        starts = range(0, len(self.bits), each)
        return [(start / self.rate, float(self.bits[start : start + each].mean())) for start in starts]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "level": self.level,
            "tokens": len(self.bits),
            "seconds": self.seconds,
            "bits": self.total,
            "bits_per_token": self.mean,
            "bits_per_second": self.mean * self.rate,
            "windows": [[start / self.rate, bits] for start, bits in self.windows],
            "over_time": [list(point) for point in self.over_time()],
        }


@dataclass(frozen=True)
class Score:
    """The bits of a recording or of a song's item.

    source: what was scored. model: its name; weights: the fingerprints of the components that were used.
    artist, genre: names as they were asked for. lyrics: whether there were any. overlap: of windows.
    levels: those that were scored, level 2 first. notes: sentences for the user.
    """

    source: str
    model: str
    weights: Mapping[str, str]
    artist: str
    genre: str
    lyrics: bool
    overlap: float
    levels: tuple[LevelScore, ...]
    notes: tuple[str, ...] = ()

    def level(self, number: int) -> LevelScore:
        """Return a level's bits; RequestError if it was not scored."""
        for one in self.levels:
            if one.level == number:
                return one
        raise RequestError(f"level {number} of {self.source} was not scored.", field="level")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        names = ("source", "model", "artist", "genre", "lyrics", "overlap")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        levels = [one.as_json() for one in self.levels]
        return {**values, "weights": dict(self.weights), "levels": levels, "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """Return it in a line for each level."""
        found: list[str] = []
        for one in self.levels:
            curve = one.over_time()
            low, high = (choose(curve, key=lambda point: point[1]) for choose in (min, max))
            found.append(
                f"level {one.level}: {one.mean:.4f} bits per token, {one.mean * one.rate:.1f} a second; from "
                f"{low[1]:.2f} at {low[0]:.1f} s to {high[1]:.2f} at {high[0]:.1f} s"
            )
        return found


def score_png(score: Score) -> bytes:
    """Return a PNG with the bits per token of each level over time."""
    import io

    from matplotlib.figure import Figure  # slow to import, and needed here only

    figure = Figure(figsize=(10, 1.9 * len(score.levels) + 0.6), layout="constrained")
    axes = figure.subplots(len(score.levels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, one in zip(axes, score.levels, strict=True):
        curve = one.over_time()
        seconds = [second for second, _ in curve] + [one.seconds]
        axis.stairs([bits for _, bits in curve], seconds, baseline=None)
        axis.axhline(one.mean, linewidth=0.8, linestyle=":")
        axis.set_ylabel(f"level {one.level}\nbits per token")
        axis.set_title(f"{one.mean:.3f} on average", fontsize=9, loc="right")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(f"{score.source} to {score.model}".replace("$", r"\$"), fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
