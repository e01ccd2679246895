"""The sampling noise of one position per row, computed on the GPU inside a step, bit for bit equal to `noise.py`."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 32  # counters per program, of four codes each: float64 is slow on most GPUs, so many programs share it


@triton.jit
def gumbel_kernel(facts, items, positions, noise, n_bins, BLOCKS: tl.constexpr):
    """Write the noise (N, bins) of each row's position; facts: seed and level, (2,) int64."""
    song = tl.program_id(0)
    blocks = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    nothing = blocks * 0
    words = tl.philox(
        tl.load(facts),
        nothing + tl.load(positions + song).to(tl.int32),
        blocks,
        nothing + tl.load(items + song).to(tl.int32),
        nothing + tl.load(facts + 1).to(tl.int32),
    )
    for word in tl.static_range(4):
        uniform = ((words[word] >> 9).to(tl.float64) + 0.5) * 1.1920928955078125e-07  # 2^-23
        codes = blocks * 4 + word
        tl.store(noise + song * n_bins + codes, -tl.log(-tl.log(uniform)), mask=codes < n_bins)


def gumbel_at(facts: Tensor, items: Tensor, positions: Tensor, bins: int) -> Tensor:
    """Return `noise.gumbel` at one position per row, on the device, (N, bins) float32.

    facts: (2,) int64, the seed (as the signed number with the same bits) and the level.
    items, positions: (N,) int64.
    """
    noise = torch.empty(len(items), bins, device=items.device)
    grid = (len(items), triton.cdiv(bins, 4 * BLOCKS))
    with torch.cuda.device(items.device) if items.is_cuda else nullcontext():
        gumbel_kernel[grid](facts, items, positions, noise, bins, BLOCKS=BLOCKS, num_warps=1, enable_fp_fusion=True)
    return noise
