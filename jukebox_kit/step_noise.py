"""The noise that steps take, one position after another: out of a table made ahead, or made by a kernel in the step."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from jukebox_kit.noise import gumbel

NOISE_VALUES = {"cpu": 2**18, "cuda": 2**21}


def noise_values(device: torch.device) -> int:
    """Return for how many codes noise is made at a time: on a CPU so few as its caches hold, elsewhere many."""
    return NOISE_VALUES.get(device.type, NOISE_VALUES["cuda"])


class Noise(Protocol):
    """The Gumbel noise of some rows of a level, given out one position after another.

    items: (N,), each row's item. Positions count from where each row begins in the level. Which is next is kept on the
    device, so that giving out noise can be part of a captured step.
    """

    items: Tensor
    index: Tensor

    def begin(self, position: int) -> int:
        """Begin at a position; returns how many can be given out from there."""
        ...

    def next(self) -> Tensor:
        """Return the next position's noise, (N, bins)."""
        ...


class NoiseTable:
    """Noise made for many positions at once; begins: (N,), where in the level each row begins, 0 if left out."""

    def __init__(self, seed: int, level: int, items: Tensor, bins: int, begins: Tensor | None = None) -> None:
        self.seed, self.level, self.items, self.bins = seed, level, items, bins
        self.begins = torch.zeros_like(items) if begins is None else begins
        self.made = max(1, noise_values(items.device) // (len(items) * bins))  # positions at once
        self.values = torch.zeros(len(items), self.made, bins, device=items.device)
        self.index = torch.zeros(1, dtype=torch.long, device=items.device)

    def begin(self, position: int) -> int:
        """See Noise."""
        positions = self.begins[:, None] + torch.arange(position, position + self.made, device=self.items.device)
        self.values.copy_(gumbel(self.seed, self.level, self.items, positions, self.bins))
        self.index.zero_()
        return self.made

    def next(self) -> Tensor:
        """See Noise."""
        values = self.values.index_select(1, self.index)[:, 0]
        self.index += 1
        return values


class NoiseKernel:
    """Noise made inside the step, by a kernel; begins: (N,), where in the level each row begins, 0 if left out."""

    def __init__(self, seed: int, level: int, items: Tensor, bins: int, begins: Tensor | None = None) -> None:
        self.items, self.bins = items, bins
        self.begins = torch.zeros_like(items) if begins is None else begins
        signed = seed - 2**64 if seed >= 2**63 else seed
        self.facts = torch.tensor([signed, level], device=items.device)
        self.index = torch.zeros(1, dtype=torch.long, device=items.device)

    def begin(self, position: int) -> int:
        """See Noise."""
        self.index.fill_(position)
        return 2**31 - position

    def next(self) -> Tensor:
        """See Noise."""
        from jukebox_kit.noise_kernel import gumbel_at  # needs triton, which is not everywhere

        values = gumbel_at(self.facts, self.items, self.begins + self.index, self.bins)
        self.index += 1
        return values
