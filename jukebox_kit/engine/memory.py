"""Peak memory of sampling a level, in bytes, computed without loading anything.

Weights, caches and buffers are counted on the meta device, with the same classes that sampling uses. Temporary memory
is estimated as a number of copies of the tensor that it comes from; `python tests/memory.py` measures that number.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from jukebox_kit.engine.caches import Layouts, cache_shape
from jukebox_kit.engine.model import place
from jukebox_kit.engine.noise import noise_values
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.windows import LevelPlan
from jukebox_kit.model import VQVAE, PlainLinear, Prior, PriorConfig, VQVAEConfig
from jukebox_kit.model.weights import PARTS, ModelDefinition, linears, without_weights

META = torch.device("meta")

SHARED_BY = "JUKEBOX_KIT_MEMORY_SHARED_BY"  # processes

PREFILL = {torch.float32: 3.75, torch.float16: 3.0}  # copies of (1, L, W) float32 while L positions are prefilled

TIMES = 2  # copies of (1, n_ctx, W) float32 while the times of a window are embedded

UPSAMPLED = 3  # copies of (1, n_ctx, W) and of its last convolution's input while upper codes are embedded

NOISE = 30  # bytes per value while noise is computed

DECODED = 3.75  # copies of (piece, emb_width) float32 while a preview is decoded

KEPT = 1.5  # copies of the same that oneDNN keeps afterwards, on the CPU

MAPPED = 16  # bytes per weight of the largest linear layer while its layout is converted


@dataclass(frozen=True)
class LevelBytes:
    """The memory that sampling a level takes, in bytes.

    weights: of the prior and the VQ-VAE.
    caches: keys and values of one item.
    item: everything that one item of the batch adds, caches included.
    song: what exists once, for any batch size.
    passing: the peak of temporary memory.
    loading: the peak while loading, weights included.
    """

    weights: int
    caches: int
    item: int
    song: int
    passing: int
    loading: int

    def peak(self, items: int) -> int:
        """Return the peak number of bytes with a batch of this size."""
        return max(self.loading, self.weights + self.song + items * self.item + self.passing)


def weights_bytes(definition: ModelDefinition, part: str, placement: Placement) -> int:
    """Return the bytes of a part's weights, the transformers' linear layers as the placement keeps them."""
    if part == PARTS[0]:
        return _vqvae_bytes(definition.vqvae)
    return _prior_bytes(definition.priors[PARTS.index(part) - 1], definition.vqvae, placement).weights


def level_bytes(definition: ModelDefinition, placement: Placement, plan: LevelPlan, items: int) -> LevelBytes:
    """Return the memory for sampling a level of a song with `items`; plan: as `windows.plan_level` returns it."""
    level, vqvae = plan.level, definition.vqvae
    config, top = definition.priors[level], vqvae.levels - 1
    counted = _prior_bytes(config, vqvae, placement)
    weights = counted.weights + _vqvae_bytes(vqvae)
    position = 4 * config.prior_width  # bytes of a float32 vector of the width
    tokens = 8 * plan.total + (0 if level == top else 8 * plan.total // plan.rate)
    passing = (
        math.ceil(PREFILL[placement.dtype] * position * read_at_once(plan, config.positions - config.n_ctx)),
        _conditioning_bytes(config, vqvae),
        NOISE * noise_values(placement.device),
        math.ceil(DECODED * _piece_bytes(vqvae, level)),
    )
    pieces = sum(_piece_bytes(vqvae, done) for done in range(level, top + 1))
    kept = math.ceil(KEPT * pieces) if placement.on_cpu else 0
    return LevelBytes(
        weights,
        counted.caches,
        counted.caches + position * (config.positions + 1) + counted.lyrics + tokens,
        items * tokens + 4 * plan.total * vqvae.hops[level] + 4 * noise_values(placement.device) + kept,
        max(passing),
        weights + MAPPED * counted.largest_map,
    )


def read_at_once(plan: LevelPlan, prefix: int) -> int:
    """Return the most positions that a window of a level is prefilled with, lyrics (`prefix`) included."""
    return max(prefix + begin - start for start, begin, _ in plan.windows(0))


def free_memory(device: torch.device) -> int:
    """Return the bytes that torch can still allocate on a device; on the CPU, without swapping.

    If the system does not report free memory, this is the machine's memory. If the environment variable SHARED_BY says
    how many processes share the device, it is at most one process's share.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free, whole = torch.cuda.mem_get_info(device)
        free += unused
    else:
        free = whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with suppress(OSError, StopIteration):
            lines = Path("/proc/meminfo").read_text().splitlines()
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min(free, whole // int(os.environ.get(SHARED_BY, "1")))


@dataclass(frozen=True)
class _PriorBytes:
    """A prior's memory in bytes; caches and lyrics (the encoder's states) for one item; largest_map: its weights."""

    weights: int
    caches: int
    lyrics: int
    largest_map: int


@cache
def _vqvae_bytes(config: VQVAEConfig) -> int:
    with without_weights():
        return _held(VQVAE(config))


@cache
def _piece_bytes(config: VQVAEConfig, level: int) -> int:
    """Return the bytes of the vectors in the longest stretch that a decoder decodes in one call."""
    with without_weights():
        vqvae = VQVAE(config)
    tokens = vqvae.piece_tokens(level) + 2 * vqvae.margin(level)
    return 4 * config.emb_width * config.hops[level] * tokens


def _conditioning_bytes(config: PriorConfig, vqvae: VQVAEConfig) -> int:
    """Return the temporary memory for computing the conditioning of one item's window, in bytes."""
    whole = 4 * config.prior_width * config.n_ctx
    if config.level == vqvae.levels - 1:
        return TIMES * whole
    return UPSAMPLED * (whole + 4 * config.cond_width * config.n_ctx // vqvae.strides_t[config.level + 1])


@cache
def _prior_bytes(config: PriorConfig, vqvae: VQVAEConfig, placement: Placement) -> _PriorBytes:
    with without_weights():
        prior = Prior(config, vqvae)
    place(prior, META, torch.float32 if placement.packed else placement.dtype)
    layers = prior.prior.transformer.layers
    lyrics = config.n_tokens if config.has_encoder else 0
    # The tables are small, and on the meta device torch would spend a second importing what computes them.
    layouts = Layouts(prior.prior.transformer.shape, torch.device("cpu"))
    caches = sum(
        math.prod(cache_shape(layer.attn, layouts, 1, lyrics)) * layer.attn.c_attn.computes.itemsize for layer in layers
    )
    maps = [linear for _, _, _, linear in linears(prior)]
    plain = sum(linear.w.nbytes + linear.b.nbytes for linear in maps)
    return _PriorBytes(
        _held(prior) - plain + sum(_map_bytes(linear, placement) for linear in maps),
        caches,
        placement.dtype.itemsize * config.prior_width * lyrics,
        max(linear.w.numel() for linear in maps),
    )


def _map_bytes(plain: PlainLinear, placement: Placement) -> int:
    """Return the bytes of a linear layer's weights and biases; for int8 also its scales and column sums."""
    weight = {"float32": 4, "float16": 2, "int8": 1}[placement.weights]
    bias = 4 if placement.packed else placement.dtype.itemsize
    scales = 8 if placement.weights == "int8" else 0
    return plain.n_in * plain.n_out * weight + plain.n_out * (bias + scales)


def _held(part: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in [*part.parameters(), *part.buffers()])
