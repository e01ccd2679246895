"""How much memory a model's parts take, and how many items fit at once; nothing is loaded for it.

Everything is counted on the meta device, with the very classes that sampling uses. What is estimated rather than
counted is what lives for a moment only: `FORWARD_COPIES` and `SPARE`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from jukebox_kit.definitions import PARTS, ModelDefinition
from jukebox_kit.model.caches import Cache, Layouts
from jukebox_kit.model.configuration import PriorConfig, VQVAEConfig
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.transformer import Linear
from jukebox_kit.model.vqvae import VQVAE
from jukebox_kit.models import linears, place
from jukebox_kit.placement import Placement

META = torch.device("meta")
BUCKETS = (1, 2, 4, 8, 16)  # items at once
FORWARD_COPIES = 9  # (N, positions, W) float32 alive at once in a plain forward: as measured in float32 on the CPU
SPARE = 2**30  # bytes: a preview decoded meanwhile, what the allocator cannot use, kernels


@dataclass(frozen=True)
class ItemBytes:
    """What one more item at once takes at a level: its caches, what it is conditioned on, and passing work."""

    caches: int
    conditioning: int
    work: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.caches + self.conditioning + self.work


def weights_bytes(definition: ModelDefinition, part: str, placement: Placement) -> int:
    """Return the bytes of a part's weights, the transformers' maps as the placement keeps them."""
    if part == PARTS[0]:
        return _vqvae_bytes(definition.vqvae)
    return _prior_bytes(definition.priors[PARTS.index(part) - 1], definition.vqvae, placement)[0]


def item_bytes(definition: ModelDefinition, level: int, placement: Placement) -> ItemBytes:
    """Return what one item takes while a level is sampled."""
    return _prior_bytes(definition.priors[level], definition.vqvae, placement)[1]


def largest_batch(definition: ModelDefinition, level: int, placement: Placement, free: int | None = None) -> int:
    """Return how many items at once fit beside a level's weights, one of BUCKETS, or 0 where not even one does.

    free: bytes, by default what `free_memory` says now; a part that is loaded already has gone from that.
    """
    left = (free_memory(placement.device) if free is None else free) - needed_bytes(definition, level, placement, 0)
    each = item_bytes(definition, level, placement).total
    return max((count for count in BUCKETS if count * each <= left), default=0)


def needed_bytes(definition: ModelDefinition, level: int, placement: Placement, items: int) -> int:
    """Return the bytes that sampling a level takes with so many items at once, weights and spare room included."""
    parts = weights_bytes(definition, PARTS[level + 1], placement) + weights_bytes(definition, PARTS[0], placement)
    return parts + SPARE + items * item_bytes(definition, level, placement).total


def free_memory(device: torch.device) -> int:
    """Return the bytes that torch could still take on a device; on the CPU what the system can give without swapping.

    Where the system does not tell, all of the machine's memory.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@cache
def _vqvae_bytes(config: VQVAEConfig) -> int:
    with META:
        return _held(VQVAE(config))


@cache
def _prior_bytes(config: PriorConfig, vqvae: VQVAEConfig, placement: Placement) -> tuple[int, ItemBytes]:
    """Return the bytes of a prior's weights, and of one item at it."""
    with META:
        prior = Prior(config, vqvae)
    place(prior, META, torch.float32 if placement.packed else placement.dtype)
    shape = prior.prior.transformer.shape
    layouts = Layouts(shape, META)
    lyrics = config.n_tokens if config.has_encoder else 0
    caches = sum(Cache(layer.attn, layouts, 1, lyrics).kv.nbytes for layer in prior.prior.transformer.layers)
    vector = 4 * shape.width  # bytes, float32
    conditioning = vector * (2 * shape.positions + lyrics + 2)  # a window's own and the decoder's
    logits = 4 * prior.prior.x_out.out_features
    item = ItemBytes(caches, conditioning, FORWARD_COPIES * vector * shape.positions + 8 * logits)
    plain = sum(linear.w.nbytes + linear.b.nbytes for _, _, _, linear in linears(prior))
    return _held(prior) - plain + sum(_map_bytes(linear, placement) for _, _, _, linear in linears(prior)), item


def _map_bytes(plain: Linear, placement: Placement) -> int:
    """Return the bytes of a map's weights, biases, and where they are one byte each, scales and sums of columns."""
    weight = {"float32": 4, "float16": 2, "int8": 1}[placement.weights]
    bias = 4 if placement.packed else placement.dtype.itemsize
    scales = 8 if placement.weights == "int8" else 0
    return plain.n_in * plain.n_out * weight + plain.n_out * (bias + scales)


def _held(part: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in [*part.parameters(), *part.buffers()])
