"""The decoder of small priors on a CPU: caches and prefill of CachedDecoder, and a step that is one compiled call."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.linear import LARGE
from jukebox_kit.model import Layer, Linear, Pattern, PlainLinear, Prior


def small(prior: Prior) -> bool:
    """Return whether all linear layers of a prior are plain and small enough for a SmallDecoder to be faster."""
    maps = [to for layer in prior.prior.transformer.layers for to in _maps(layer)]
    return all(isinstance(to, PlainLinear) and to.w.dtype == torch.float32 and to.w.numel() < LARGE for to in maps)


class SmallDecoder(CachedDecoder):
    """For priors that are `small`, on a CPU."""

    optimised = True

    def __init__(self, prior: Prior, songs: int, depth: int | None = None) -> None:
        """Compile the step on first use, which takes some seconds; depth as in CachedDecoder."""
        from jukebox_kit.engine.cpu.numba_step import (
            step_logits,  # the compiler is slow to import, so only if it is used
        )

        super().__init__(prior, songs, depth=depth)
        shape = self.model.transformer.shape
        kept = torch.zeros(sum(cache.kv.numel() for cache in self.caches))
        patterns = sorted({layer.attn.pattern for layer in self.layers})
        weights, layers, begin, offset = list[Tensor](), list[list[int]](), 0, 0
        for layer, cache in zip(self.layers, self.caches, strict=True):
            layers.append([offset, begin, cache.kv.shape[3], patterns.index(layer.attn.pattern)])
            kv = kept[begin : begin + cache.kv.numel()].view(cache.kv.shape)
            begin, cache.kv = begin + cache.kv.numel(), kv
            weights += _weights(layer)
            offset = sum(value.numel() for value in weights)
        weights.append(self.model.x_out.weight.t()[:, prior.shift :])
        lyrics = (-1, 0, prior.config.n_tokens)
        places = [
            [lyrics] * shape.positions if pattern is Pattern.ENCODER else self.layouts.by_pattern[pattern].places
            for pattern in patterns
        ]
        most = max(shape.width, 3 * shape.n_state, shape.n_mlp, *(cache.kv.shape[3] for cache in self.caches))
        sizes = [songs, shape.width, shape.heads, shape.n_state, shape.n_mlp, not prior.config.merged_decoder]
        self.arguments = (
            np.array(sizes),
            np.array(layers),
            np.array(places),
            torch.cat([value.detach().flatten() for value in weights]).numpy(),
            kept.numpy(),
            self.last.numpy(),
            self.model.pos_emb.pos_emb.detach().numpy(),
            self.conditioning.numpy(),
            self.position.numpy(),
            np.zeros((4, songs * most), np.float32),
        )
        self.step_logits = step_logits
        first, none, *others = self.arguments[0], self.arguments[1][:0], *self.arguments[2:]
        step_logits(first, none, *others, np.empty(songs * prior.bins, np.float32))  # no layer: caches stay empty
        self.position.zero_()

    def next_logits(self) -> Tensor:
        """See Decoder."""
        logits = np.empty(len(self.last) * self.prior.bins, np.float32)
        self.step_logits(*self.arguments, logits)
        return torch.from_numpy(logits).view(len(self.last), -1)


def _maps(layer: Layer) -> tuple[Linear, Linear, Linear, Linear]:
    return layer.attn.c_attn, layer.attn.c_proj, layer.mlp.c_fc, layer.mlp.c_proj


def _weights(layer: Layer) -> list[Tensor]:
    """Return a layer's weights in the order in which a step uses them."""
    c_attn, attn_proj, c_fc, mlp_proj = _maps(layer)
    found = list[Tensor]()
    for norm, maps in ((layer.ln_0, (c_attn, attn_proj)), (layer.ln_1, (c_fc, mlp_proj))):
        found += [norm.weight, norm.bias]
        for to in maps:
            assert isinstance(to, PlainLinear), "small priors have plain linear layers"
            found += [to.b, to.w]
    return found
