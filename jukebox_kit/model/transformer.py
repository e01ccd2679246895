"""The transformer of priors and upsamplers: its layers, and the plain forward over a whole sequence.

Shapes: N songs, L positions, W width, S attention state. This is the path that every faster one is tested against.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_kit.model.attention import attend, pattern_attention, prime_mask, weights
from jukebox_kit.model.configuration import Pattern


@dataclass(frozen=True)
class Shape:
    """What a transformer's layers need to know of their sequence."""

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
        """Positions a row."""
        return self.positions // self.blocks


class Linear(nn.Module):
    """x·w + b with `w` stored (in, out), as the released checkpoints have it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(n_in, n_out))
        self.b = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) → (…, out) in the dtype of `w`."""
        return torch.addmm(self.b, x.reshape(-1, x.shape[-1]).to(self.w.dtype), self.w).view(*x.shape[:-1], -1)


class LayerNorm(nn.LayerNorm):
    """LayerNorm computed in float32 whatever the dtype of its input, given back in that dtype."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (…, W)."""
        if input.dtype == torch.float32:
            return super().forward(input)
        gain, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(input.float(), self.normalized_shape, gain, bias, self.eps).to(input.dtype)


class Attention(nn.Module):
    """One layer's attention: maps to q, k, v, the pattern, and the map back."""

    def __init__(self, shape: Shape, pattern: Pattern) -> None:
        super().__init__()
        self.shape, self.pattern = shape, pattern
        encoder = pattern is Pattern.ENCODER
        self.c_attn = Linear(shape.width, shape.n_state * (1 if encoder else 3))
        self.c_proj = Linear(shape.n_state, shape.width)
        if encoder:
            self.c_enc_kv = Linear(shape.width, shape.n_state * 2)

    def qkv(self, x: Tensor, lyrics: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v, each (N, H, L, D); k and v are of `lyrics` (N, n_lyric, W) in the encoder pattern."""
        if self.pattern is Pattern.ENCODER:
            assert lyrics is not None, "a layer that reads lyrics was given none"
            k, v = self.c_enc_kv(lyrics).chunk(2, -1)
            parts = (self.c_attn(x), k, v)
        else:
            parts = self.c_attn(x).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2) for t in parts)
        return q, k, v

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend and map back: q, k, v of `qkv` → (N, L, W)."""
        if self.pattern is Pattern.ENCODER:
            out = attend(q, k, v, None)
        else:
            out = pattern_attention(self.pattern, q, k, v, self.shape.block_ctx, self.shape.prime_length)
        mapped: Tensor = self.c_proj(out.transpose(1, 2).flatten(2))
        return mapped


class MLP(nn.Module):
    """width → n_mlp → width with quick-GELU, x·sigmoid(1.702 x)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.c_fc = Linear(shape.width, shape.n_mlp)
        self.c_proj = Linear(shape.n_mlp, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, W) → (…, W)."""
        h = self.c_fc(x)
        out: Tensor = self.c_proj(h * torch.sigmoid(1.702 * h))
        return out


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
        x = x + self.attn.mix(*self.attn.qkv(self.ln_0(x), lyrics))
        out: Tensor = x + self.mlp(self.ln_1(x))
        return out


class Transformer(nn.Module):
    """The layers, in order. The attribute name is the released checkpoints'."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self._attn_mods = nn.ModuleList(Layer(shape, p) for p in shape.patterns)

    @property
    def layers(self) -> list[Layer]:
        """All layers, first to last."""
        return [layer for layer in self._attn_mods if isinstance(layer, Layer)]

    def forward(self, x: Tensor, lyrics: Tensor | None = None) -> Tensor:
        """Run all layers: (N, L, W), L at most `positions` → (N, L, W). `lyrics`: encoder states (N, n_lyric, W)."""
        for layer in self.layers:
            x = layer(x, lyrics)
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
    """One vector a position, parameter `pos_emb` (positions, W)."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.empty(positions, width))
