"""Attention over a sequence laid out in rows: every pattern of the released models, in its plain form.

The sequence's positions form rows of `block_ctx`. Shapes: N songs, H heads, L positions, D values per head; all
functions take and return (N, H, L, D), causal, and accept any L up to the whole sequence. Softmax is in float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from jukebox_kit.model.configuration import Pattern


def weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Return softmax(q·kᵀ / √D) in float32, (…, Lq, Lk); `mask` is True for keys that a query attends to."""
    scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    """Return the values mixed by `weights`, (…, Lq, D), in v's dtype, without keeping the weights.

    causal: each position attends to the keys up to its own; used instead of a mask.
    """
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)


def prime_mask(length: int, prime: int, device: torch.device) -> Tensor:
    """Return (length, min(prime, length)): causal inside the first `prime` positions, all of them after."""
    keys = torch.arange(min(prime, length), device=device)
    return keys <= torch.arange(length, device=device)[:, None]


def pattern_attention(
    pattern: Pattern, q: Tensor, k: Tensor, v: Tensor, block_ctx: int, prime_length: int = 0
) -> Tensor:
    """Attend within a sequence by one pattern."""
    length = q.shape[2]
    if pattern is Pattern.DENSE:
        return attend(q, k, v, None, causal=True)  # a mask over all pairs would be the largest of all tensors
    if pattern is Pattern.PRIME:
        return attend(q, k[:, :, :prime_length], v[:, :, :prime_length], prime_mask(length, prime_length, q.device))
    q, k, v = (_to_rows(t, block_ctx) for t in (q, k, v))  # (N, H, rows, block_ctx, D)
    if pattern is Pattern.ROW:
        out = attend(q, k, v, prime_mask(block_ctx, block_ctx, q.device))
    elif pattern is Pattern.COLUMN:
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))
        out = attend(q, k, v, prime_mask(q.shape[3], q.shape[3], q.device)).transpose(2, 3)
    else:  # previous row; for row 0 keys and values are zero, so its output is zero
        k, v = (F.pad(t[:, :, :-1], (0, 0, 0, 0, 1, 0)) for t in (k, v))
        out = attend(q, k, v, None)
    return out.flatten(2, 3)[:, :, :length]


def _to_rows(x: Tensor, block_ctx: int) -> Tensor:
    """(N, H, L, D) → (N, H, rows, block_ctx, D), the last row padded with zeros, to which no real position attends."""
    short = -x.shape[2] % block_ctx
    padded = F.pad(x, (0, 0, 0, short)) if short else x
    return torch.unflatten(padded, 2, (-1, block_ctx))
