"""The transformer of priors and upsamplers: its layers, and the plain forward over a whole sequence.

Shapes: N songs, L positions, W width, S attention state. This is the path that every faster one is tested against.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jukebox_kit.model.attention import attend, pattern_attention, prime_mask, weights
from jukebox_kit.model.configuration import Pattern


@dataclass(frozen=True)
class Shape:
    """The properties of a sequence that the layers of a transformer depend on."""

    width: int
    positions: int
    blocks: int
    heads: int
    n_state: int
    n_mlp: int
    patterns: tuple[Pattern, ...]
    prime_length: int = 0

    @property
    def block_ctx(self) -> int:
        """Positions per row."""
        return self.positions // self.blocks


def quick_gelu(x: Tensor) -> Tensor:
    """Return x·sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


class Linear(nn.Module, ABC):
    """x·w + b, in any storage of the weights; `computes` is the dtype of the result."""

    n_in: int
    n_out: int
    computes: torch.dtype

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) → (…, out)."""

    def added(self, x: Tensor, to: Tensor) -> Tensor:
        """Return `to` (…, out) plus what x maps to."""
        mapped: Tensor = self(x)
        return to + mapped

    def gelu(self, x: Tensor) -> Tensor:
        """Return the quick-GELU of what x maps to."""
        return quick_gelu(self(x))


class PlainLinear(Linear):
    """The plain form: `w` stored (in, out), as the released checkpoints have it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.n_in, self.n_out = n_in, n_out
        self.w = nn.Parameter(torch.empty(n_in, n_out))
        self.b = nn.Parameter(torch.zeros(n_out))

    @property
    def computes(self) -> torch.dtype:  # type: ignore[override]  # it follows `w`, which may be moved
        """The dtype of `w`."""
        return self.w.dtype

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) → (…, out) in the dtype of `w`."""
        return torch.addmm(self.b, x.reshape(-1, x.shape[-1]).to(self.w.dtype), self.w).view(*x.shape[:-1], -1)


class LayerNorm(nn.LayerNorm):
    """LayerNorm computed in float32, with the result in the dtype of the input."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (…, W)."""
        if input.dtype == torch.float32:
            return torch.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
        gain, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(input.float(), self.normalized_shape, gain, bias, self.eps).to(input.dtype)


class Attention(nn.Module):
    """One layer's attention: linear layers to q, k and v, attention by the pattern, and a linear layer back."""

    def __init__(self, shape: Shape, pattern: Pattern) -> None:
        super().__init__()
        self.shape, self.pattern = shape, pattern
        encoder = pattern is Pattern.ENCODER
        self.c_attn: Linear = PlainLinear(shape.width, shape.n_state * (1 if encoder else 3))
        self.c_proj: Linear = PlainLinear(shape.n_state, shape.width)
        if encoder:
            self.c_enc_kv: Linear = PlainLinear(shape.width, shape.n_state * 2)

    def qkv(self, x: Tensor, lyrics: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v, each (N, H, L, D); in the encoder pattern k and v come from `lyrics` (N, n_lyric, W)."""
        if self.pattern is Pattern.ENCODER:
            assert lyrics is not None, "a layer that reads lyrics was given none"
            k, v = self.c_enc_kv(lyrics).chunk(2, -1)
            parts = (self.c_attn(x), k, v)
        else:
            parts = self.c_attn(x).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2) for t in parts)
        return q, k, v

    def context(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention output, heads concatenated: q, k, v of `qkv` → (N, L, S)."""
        if self.pattern is Pattern.ENCODER:
            out = attend(q, k, v, None)
        else:
            out = pattern_attention(self.pattern, q, k, v, self.shape.block_ctx, self.shape.prime_length)
        return out.transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """width → n_mlp → width with quick-GELU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.c_fc: Linear = PlainLinear(shape.width, shape.n_mlp)
        self.c_proj: Linear = PlainLinear(shape.n_mlp, shape.width)

    def added(self, x: Tensor, to: Tensor) -> Tensor:
        """Return `to` (…, W) plus what x (…, W) maps to."""
        return self.c_proj.added(self.c_fc.gelu(x), to)


class Layer(nn.Module):
    """a = attn(ln_0(x)); m = mlp(ln_1(x + a)); x + a + m."""

    def __init__(self, shape: Shape, pattern: Pattern) -> None:
        super().__init__()
        self.attn = Attention(shape, pattern)
        self.ln_0 = LayerNorm(shape.width, eps=1e-5)
        self.mlp = MLP(shape)
        self.ln_1 = LayerNorm(shape.width, eps=1e-5)

    def forward(self, x: Tensor, lyrics: Tensor | None = None) -> Tensor:
        """Map (N, L, W) → (N, L, W)."""
        x = self.attn.c_proj.added(self.attn.context(*self.attn.qkv(self.ln_0(x), lyrics)), x)
        return self.mlp.added(self.ln_1(x), x)


class Transformer(nn.Module):
    """The layers, in order. The attribute name is the released checkpoints'.

    recompute: in training, compute each layer again in the backward pass instead of saving what it computes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.recompute = shape, False
        self._attn_mods = nn.ModuleList(Layer(shape, p) for p in shape.patterns)

    @property
    def layers(self) -> list[Layer]:
        """All layers, first to last."""
        return [layer for layer in self._attn_mods if isinstance(layer, Layer)]

    def keep_first(self, depth: int) -> None:
        """Remove all layers but the first `depth`."""
        del self._attn_mods[depth:]

    def forward(self, x: Tensor, lyrics: Tensor | None = None) -> Tensor:
        """Run all layers: (N, L, W), L at most `positions` → (N, L, W). `lyrics`: encoder states (N, n_lyric, W)."""
        for layer in self.layers:
            x = checkpoint(layer, x, lyrics, use_reentrant=False) if self.recompute else layer(x, lyrics)
        return x

    @torch.no_grad()
    def attention_weights(self, x: Tensor, lyrics: Tensor | None, layer: int, head: int) -> Tensor:
        """Return the softmax weights of one layer and head, (N, L, keys) float32.

        Keys are the lyric encoder's positions or the first `prime_length` positions, by the layer's pattern.
        """
        for earlier in self.layers[:layer]:
            x = earlier(x, lyrics)
        chosen = self.layers[layer]
        q, k, _ = (t[:, head] for t in chosen.attn.qkv(chosen.ln_0(x), lyrics))
        if chosen.attn.pattern is Pattern.ENCODER:
            return weights(q, k, None)
        prime = self.shape.prime_length
        return weights(q, k[:, :prime], prime_mask(q.shape[1], prime, q.device))


class PositionTable(nn.Module):
    """One vector per position, parameter `pos_emb` (positions, W)."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.empty(positions, width))
