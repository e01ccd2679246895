"""The sampling noise: a pure function of (seed, level, item, position, code), so that a song can be picked up anywhere.

Philox4x32-10 with the constants of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). In 64-bit
integer arithmetic of torch, which gives the same bits on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> Tensor:
    """Return four 32-bit words for each counter: four broadcastable int64 tensors (...) → (..., 4) int64."""
    shape = (counter[0] + counter[1] + counter[2] + counter[3]).shape  # that they broadcast to
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

    `items` are rows of the song, never of a batch; `positions` count music tokens from the start of the level, the same
    ones for all items or each item's own; a seed is any whole number from 0 to 2^64 - 1.
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
    """Return -log(-log(uniforms)), shapes as there, as float32."""
    return uniforms(seed, level, items, positions, bins).log_().neg_().log_().neg_().float()


def _multiply(constant: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the high and the low 32 bits of constant · x, both below 2^32.

    The product may pass 2^63; its 64 bits are right all the same, and the mask takes off what the shift drew in.
    """
    product = x * constant
    return (product >> 32).bitwise_and_(MASK), product.bitwise_and_(MASK)
