"""Which stretches of which songs are trained on, drawn as the release draws them.

All songs form one long line, which is cut into pieces of equal length; each piece is then shifted at random. A piece
belongs to the song at its midpoint, and one that would extend beyond that song is moved back into it.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor

from jukebox_kit.errors import ConfigurationError


@dataclass(frozen=True)
class Durations:
    """Which songs are used, in seconds: at least `shortest` and less than `longest`."""

    shortest: float
    longest: float = float("inf")

    def kept(self, seconds: Sequence[float]) -> list[int]:
        """Return the numbers of the songs that are used, of all songs' lengths in seconds."""
        return [
            number for number, length in enumerate(seconds) if self.shortest <= int(length) and length < self.longest
        ]


@dataclass(frozen=True)
class Pieces:
    """The pieces of a set of songs.

    lengths: of the songs, in samples.
    length: of a piece, in samples.
    """

    lengths: tuple[int, ...]
    length: int

    @classmethod
    def of(cls, seconds: Sequence[float], sr: int, length: int, durations: Durations) -> Pieces:
        """Return the pieces of the songs that are long enough; ConfigurationError if a piece can exceed a song."""
        if length / sr >= durations.shortest:
            raise ConfigurationError(
                f"a piece of {length} samples lasts {length / sr:g} s, and songs may be as short as "
                f"{durations.shortest:g} s; use shorter pieces, or only longer songs."
            )
        return cls(tuple(int(seconds[number] * sr) for number in durations.kept(seconds)), length)

    def __len__(self) -> int:
        return sum(self.lengths) // self.length

    def locate(self, piece: int, shift: int) -> tuple[int, int]:
        """Return the song of a piece and its first sample there.

        shift: in samples, from -length // 2 to length // 2 - 1.
        """
        half = self.length // 2
        middle = piece * self.length + shift + half
        ends = list(accumulate(self.lengths))
        song = bisect.bisect_right(ends, middle)
        begin, end = ends[song] - self.lengths[song], ends[song]
        start = middle - half
        if start > end - self.length:
            start = max(begin, start - half)
        elif start < begin:
            start = min(end - self.length, start + half)
        return song, start - begin


def training_pieces(count: int, share: float = 0.9) -> int:
    """Return how many of `count` pieces, the first ones, are trained on; the others measure progress."""
    return int(share * count)


def mono(stereo: Tensor, share_of_left: Tensor | None = None) -> Tensor:
    """Mix (N, T, 2) to (N, T, 1); share_of_left: (N, 1), from 0 to 1, by default one half."""
    left, right = stereo[..., :1], stereo[..., 1:]
    if share_of_left is None:
        return (left + right) / 2
    share = share_of_left[:, None]
    return share * left + (1 - share) * right


def ema_decay(batch_size: int, ranks: int) -> float:
    """Return the decay per step of the moving average of a prior's weights, for the batch size of each rank."""
    return 1 - batch_size * ranks / 8 / 1000
