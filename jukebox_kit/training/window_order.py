"""Which windows of a dataset each step trains on: a function of the seed and the step, so that a run can resume."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from jukebox_kit.training.pieces import Pieces

Window = tuple[int, int]  # the number of a song, and the window's first sample in it


@dataclass(frozen=True)
class WindowOrder:
    """The order of the windows.

    pieces: of the songs, as the release cuts them: each epoch visits all of them once, in random order, each shifted by
    up to half its length.
    seed: of that order.
    unit: samples that the first sample of a window is a multiple of.
    """

    pieces: Pieces
    seed: int
    unit: int

    def windows(self, first: int, count: int) -> list[Window]:
        """Return `count` windows from number `first` on, counted from the start of the run over all epochs."""
        return [self._window(number) for number in range(first, first + count)]

    def fixed(self, count: int) -> list[Window]:
        """Return up to `count` windows spread evenly over the songs, unshifted, to measure progress on."""
        total = len(self.pieces)
        count = min(count, total)
        return [self._rounded(self.pieces.locate(total * place // count, 0)) for place in range(count)]

    def _window(self, number: int) -> Window:
        epoch, place = divmod(number, len(self.pieces))
        order, shifts = _epoch(self.seed, epoch, len(self.pieces), self.pieces.length)
        return self._rounded(self.pieces.locate(order[place], shifts[place]))

    def _rounded(self, window: Window) -> Window:
        song, start = window
        return song, start // self.unit * self.unit


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, pieces: int, length: int) -> tuple[list[int], list[int]]:
    """Return an epoch's order of the pieces, and their shifts in samples."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order = torch.randperm(pieces, generator=generator).tolist()
    half = length // 2
    return order, torch.randint(-half, half, (pieces,), generator=generator).tolist()
