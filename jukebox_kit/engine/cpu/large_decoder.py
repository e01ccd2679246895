"""The decoder of large parts on a CPU: torch multiplies, and what lies between its products is compiled code.

A layer's norms, attention, activation and sums are a dozen operations of torch's, each of which takes longer to be
called than to be done; its attention takes several times as long for one query. Shapes: N songs, W width, S attention
state.
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

FEW = 2  # threads of torch's that are no faster at attention than compiled code on one

MANY = 2**19  # numbers of all songs' keys that more threads read faster

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class _Step:
    """A layer as a step needs it: norms as arrays."""

    layer: Layer
    cache: Cache
    ln_0: tuple[Numbers, Numbers]
    ln_1: tuple[Numbers, Numbers]


class LargeDecoder(CachedDecoder):
    """For parts with float32 in and out of their maps, whatever their weights are kept as, on a CPU."""

    own = True

    def __init__(self, prior: Prior, songs: int, depth: int | None = None) -> None:
        """Make one, compiled where nothing is kept from before, in some seconds; depth as in CachedDecoder."""
        from jukebox_kit.engine.cpu import (
            numba_step as compiled,  # the compiler is loaded where there is something for it
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
        conditioning = self.conditioning.index_select(1, self.position)[:, 0]
        sums = self.last + self.model.pos_emb.pos_emb.index_select(0, self.position) + conditioning
        x, added, normed = _flat(sums), _flat(torch.zeros_like(sums)), _flat(self.normed)
        for step in self.steps:
            attn, mlp = step.layer.attn, step.layer.mlp
            self.compiled.add_norm(x, added, *step.ln_0, normed)
            added = _flat(attn.c_proj(self._attend(step.cache, attn.c_attn(self.normed))))
            self.compiled.add_norm(x, added, *step.ln_1, normed)
            hidden = mlp.c_fc(self.normed)
            self.compiled.gelu(_flat(hidden))
            added = _flat(mlp.c_proj(hidden))
        x += added
        self.position += 1
        return self.prior.output(sums, conditioning)[:, self.prior.shift :]

    def _attend(self, cache: Cache, mapped: Tensor) -> Tensor:
        """Return the attention output, as `Cache.attend` does."""
        at = self.layouts.at
        assert at is not None, "on a CPU the host knows the position"
        place = (-1, 0, cache.kv.shape[3]) if cache.layout is None else cache.layout.places[at]
        if torch.get_num_threads() > FEW and len(mapped) * place[2] * self.context.shape[1] > MANY:
            return cache.attend(mapped)
        sizes = len(mapped), cache.heads, self.context.shape[1], cache.kv.shape[3]
        self.compiled.attend_songs(_flat(mapped), _flat(cache.kv), sizes, place, self.scores, _flat(self.context))
        return self.context


def _arrays(norm: LayerNorm) -> tuple[Numbers, Numbers]:
    return norm.weight.detach().numpy(), norm.bias.detach().numpy()


def _flat(tensor: Tensor) -> Numbers:
    """Return a contiguous tensor's numbers, shared."""
    numbers: Numbers = tensor.numpy().reshape(-1)
    return numbers
