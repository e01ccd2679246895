"""The states of a prior's layers, by the plain forward pass with little memory.

Shapes: N windows, L tokens, W width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from jukebox_kit.model import Layer, Prior

POSITIONS = 2048  # mapped at a time by what treats positions alone, which bounds the memory that passes


@torch.no_grad()
def layer_states(
    prior: Prior, codes: Tensor, labels: Tensor, layers: Collection[int], add_conditioning: bool = False
) -> Iterator[tuple[int, Tensor]]:
    """Yield the chosen layers with their states at each music position, (N, L, W) float32, the first one first.

    codes (N, L ≤ n_ctx) int64, labels (N, Y) int64. layers: from 1; nothing is computed beyond the last of them. The
    state at a position has seen the tokens before it. Rows of a shorter sequence are the first of a longer one's.

    add_conditioning: add to them the conditioning, as such models do before their output (not merged_decoder).
    """
    given = prior.condition(labels)
    x = prior.prior.inputs(prior.sequence(codes[:, :-1], given), given.start, given.positions)
    lyrics, prefix = given.lyrics, prior.prefix_length
    added = None
    if add_conditioning and not prior.config.merged_decoder:
        added = given.positions[:, prefix : x.shape[1]]
    del given  # its positions are as large as a state
    last = max(layers)
    for number, layer in enumerate(prior.prior.transformer.layers[:last], 1):
        x = _after(layer, x, lyrics)
        if number in layers:
            music = x[:, prefix:].float()
            yield number, music if added is None else music + added


def _after(layer: Layer, x: Tensor, lyrics: Tensor | None) -> Tensor:
    """Return what `layer(x, lyrics)` returns; its MLP, which treats positions alone, runs on some at a time."""
    x = layer.attn.c_proj.added(layer.attn.context(*layer.attn.qkv(layer.ln_0(x), lyrics)), x)
    for part in torch.split(x, POSITIONS, 1):
        part.copy_(layer.mlp.added(layer.ln_1(part), part))
    return x
