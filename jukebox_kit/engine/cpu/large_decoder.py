"""The decoder of large priors on a CPU: matrix products by torch, everything between them by compiled functions.

A layer's norms, attention, activation and sums are a dozen torch operations whose call overhead exceeds their work, and
torch's attention takes several times as long for one query. Shapes: N songs, W width, S attention state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jukebox_kit.engine.caches import Cache
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.model import Layer, LayerNorm, Prior

FEW = 2  # up to this many threads, torch's attention is not faster than a compiled function on one

MANY = 2**19  # values in the keys of all songs, above which more threads are faster

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class _Step:
    """A layer as used in a step, with its norms as arrays."""

    layer: Layer
    cache: Cache
    ln_0: tuple[Numbers, Numbers]
    ln_1: tuple[Numbers, Numbers]


class LargeDecoder(CachedDecoder):
    """For priors on a CPU whose linear layers take and return float32, in any precision of weights."""

    optimised = True

    def __init__(self, prior: Prior, songs: int, depth: int | None = None) -> None:
        """Compile the functions on first use, which takes some seconds; depth as in CachedDecoder."""
        from jukebox_kit.engine.cpu import (
            numba_step as compiled,  # the compiler is slow to import, so only if it is used
        )

        super().__init__(prior, songs, depth=depth)
        self.compiled: Any = compiled
        self.steps = [
            _Step(layer, cache, _arrays(layer.ln_0), _arrays(layer.ln_1))
            for layer, cache in zip(self.layers, self.caches, strict=True)
        ]
        shape = self.model.transformer.shape
        self.normed, self.context = torch.zeros(songs, shape.width), torch.zeros(songs, shape.n_state)
        self.scores = np.zeros(max((cache.kv.shape[3] for cache in self.caches), default=0), np.float32)
        none, one = np.zeros(0, np.float32), np.zeros(1, np.float32)
        compiled.add_norm(none, none, one, one, none)
        compiled.gelu(none)
        compiled.attend_songs(none, none, (0, 1, 1, 0), (-1, 0, 0), none, none)

    @torch.no_grad()
    def next_logits(self) -> Tensor:
        """See Decoder."""
        self.layouts.move_to(self.position)
        position = int(self.position)
        conditioning = self.conditioning.index_select(1, self.position)[:, 0]
        sums = self.last + self.model.pos_emb.pos_emb.index_select(0, self.position) + conditioning
        x, added, normed = _flat(sums), _flat(torch.zeros_like(sums)), _flat(self.normed)
        for step in self.steps:
            attn, mlp = step.layer.attn, step.layer.mlp
            self.compiled.add_norm(x, added, *step.ln_0, normed)
            added = _flat(attn.c_proj(self._attend(step.cache, attn.c_attn(self.normed), position)))
            self.compiled.add_norm(x, added, *step.ln_1, normed)
            hidden = mlp.c_fc(self.normed)
            self.compiled.gelu(_flat(hidden))
            added = _flat(mlp.c_proj(hidden))
        x += added
        self.position += 1
        return self.prior.output(sums, conditioning)[:, self.prior.shift :]

    def _attend(self, cache: Cache, mapped: Tensor, position: int) -> Tensor:
        """Return the attention output, as `Cache.attend` does."""
        place = (-1, 0, cache.kv.shape[3]) if cache.layout is None else cache.layout.places[position]
        if torch.get_num_threads() > FEW and len(mapped) * place[2] * self.context.shape[1] > MANY:
            return cache.attend(mapped)
        sizes = len(mapped), cache.heads, self.context.shape[1], cache.kv.shape[3]
        self.compiled.attend_songs(_flat(mapped), _flat(cache.kv), sizes, place, self.scores, _flat(self.context))
        return self.context


def _arrays(norm: LayerNorm) -> tuple[Numbers, Numbers]:
    return norm.weight.detach().numpy(), norm.bias.detach().numpy()


def _flat(tensor: Tensor) -> Numbers:
    """Return a flat array that shares a contiguous tensor's memory."""
    numbers: Numbers = tensor.numpy().reshape(-1)
    return numbers
