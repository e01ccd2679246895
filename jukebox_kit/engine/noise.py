"""The sampling noise: a pure function of (seed, level, item, position, code), so that sampling can resume anywhere.

Philox4x32-10 with the constants of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), in torch's
64-bit integer arithmetic, which gives the same bits on every device. Also the tables and the kernel that supply the
noise to the token loop, position by position.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

MASK = 0xFFFFFFFF

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)

KEY_STEPS = (0x9E3779B9, 0xBB67AE85)

ROUNDS = 10


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> Tensor:
    """Return four 32-bit words for each counter: four broadcastable int64 tensors (...) → (..., 4) int64."""
    shape = (counter[0] + counter[1] + counter[2] + counter[3]).shape  # the shape that they broadcast to
    a, b, c, d = (word.expand(shape) for word in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(MULTIPLIERS[0], a)
        high1, low1 = _multiply(MULTIPLIERS[1], c)
        a, b, c, d = high1.bitwise_xor_(b).bitwise_xor_(k0), low1, high0.bitwise_xor_(d).bitwise_xor_(k1), low0
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return torch.stack([a, b, c, d], -1)


def uniforms(seed: int, level: int, items: Tensor, positions: Tensor, bins: int) -> Tensor:
    """Return the uniforms in (0, 1) of every code: items (N,), positions (P,) or (N, P) int64 → (N, P, bins) float64.

    items: numbers of items in the song, not rows of a batch.
    positions: music tokens counted from the start of the level, the same for all items or one row per item.
    seed: a whole number from 0 to 2^64 - 1.
    """
    blocks = torch.arange((bins + 3) // 4, device=items.device)
    counter = (
        positions.reshape(-1, positions.shape[-1], 1),
        blocks[None, None],
        items[:, None, None],
        torch.full_like(blocks, level),
    )
    words = philox(counter, (seed & MASK, seed >> 32)).flatten(2)[..., :bins]
    return (words >> 9).double().add_(0.5).mul_(2.0**-23)


def gumbel(seed: int, level: int, items: Tensor, positions: Tensor, bins: int) -> Tensor:
    """Return -log(-log(uniforms)) as float32, in the same shapes."""
    return uniforms(seed, level, items, positions, bins).log_().neg_().log_().neg_().float()


def _multiply(constant: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the high and the low 32 bits of constant · x, both below 2^32.

    The product may exceed 2^63; its 64 bits are still correct, and the mask clears the sign bits that the shift copies.
    """
    product = x * constant
    return (product >> 32).bitwise_and_(MASK), product.bitwise_and_(MASK)


NOISE_VALUES = {"cpu": 2**18, "cuda": 2**21}


def noise_values(device: torch.device) -> int:
    """Return how many noise values are computed in one call: on a CPU few enough for its caches, elsewhere many."""
    return NOISE_VALUES.get(device.type, NOISE_VALUES["cuda"])


class Noise(Protocol):
    """The Gumbel noise of some rows of a level, one position after another.

    items: (N,), each row's item. Positions count from the position in the level at which each row begins. The next
    position is stored on the device, so that reading noise can be part of a captured step.
    """

    items: Tensor
    index: Tensor

    def begin(self, position: int) -> int:
        """Begin at a position; returns the number of positions available from there."""
        ...

    def next(self) -> Tensor:
        """Return the next position's noise, (N, bins)."""
        ...


class NoiseTable:
    """Noise computed for many positions per call; begins: (N,), where in the level each row begins, 0 by default."""

    def __init__(self, seed: int, level: int, items: Tensor, bins: int, begins: Tensor | None = None) -> None:
        self.seed, self.level, self.items, self.bins = seed, level, items, bins
        self.begins = torch.zeros_like(items) if begins is None else begins
        self.made = max(1, noise_values(items.device) // (len(items) * bins))  # positions per call
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
    """Noise computed inside the step by a kernel; begins: (N,), where in the level each row begins, 0 by default."""

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
        from jukebox_kit.engine.cuda.noise_kernel import gumbel_at  # needs triton, which is not always installed

        values = gumbel_at(self.facts, self.items, self.begins + self.index, self.bins)
        self.index += 1
        return values
