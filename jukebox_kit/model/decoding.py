"""One token after another: the plain decoder, and the cached one whose tokens all cost the same.

Both are driven alike: `prefill` the codes a window starts with, then `next_logits` and `feed` in turn. The plain one
runs the whole sequence for every token and is the truth. Shapes: N songs, H heads, D values a head, L positions.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from jukebox_kit.model.caches import Cache, Layouts
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.model.transformer import Layer


class Decoder(Protocol):
    """What the sampling loop drives."""

    def prefill(self, codes: Tensor) -> None:
        """Begin a window with the music codes it already has, (N, n) int64, n from 0 to n_ctx - 1."""
        ...

    def next_logits(self) -> Tensor:
        """Return the next music code's logits, (N, bins) float32; once a position."""
        ...

    def feed(self, codes: Tensor) -> None:
        """Take the code chosen for that position, (N,) int64."""
        ...


class PlainDecoder:
    """The full forward for every token."""

    def __init__(self, prior: Prior, given: Conditioning) -> None:
        self.prior, self.given = prior, given
        self.codes = given.prefix[:, :0]

    def prefill(self, codes: Tensor) -> None:
        """See Decoder."""
        self.codes = codes

    @torch.no_grad()
    def next_logits(self) -> Tensor:
        """See Decoder."""
        return self.prior.next_logits(self.codes, self.given)[:, -1, self.prior.shift :].float()

    def feed(self, codes: Tensor) -> None:
        """See Decoder."""
        self.codes = torch.cat([self.codes, codes[:, None]], 1)


class CachedDecoder:
    """Keys and values of earlier positions in buffers of fixed size; the position is a tensor, as the codes are."""

    def __init__(self, prior: Prior, given: Conditioning) -> None:
        self.prior, self.given = prior, given
        self.model, songs = prior.prior, len(given.start)
        self.layers = self.model.transformer.layers
        self.layouts = Layouts(self.model.transformer.shape, given.start.device)
        self.caches = [Cache(layer.attn, self.layouts, songs) for layer in self.layers]
        self.position = torch.zeros(1, dtype=torch.long, device=given.start.device)
        self.last = given.start[:, 0]  # layer 0's next input, before position and conditioning are added

    @torch.no_grad()
    def prefill(self, codes: Tensor) -> None:
        """See Decoder. One plain forward over everything but the last token, whose turn is the next step."""
        if self.given.lyrics is not None:
            for layer, cache in zip(self.layers, self.caches, strict=True):
                cache.read_lyrics(layer.attn, self.given.lyrics)
        tokens = self.prior.sequence(codes, self.given)
        length = tokens.shape[1]
        self.position.fill_(length)
        if not length:
            return
        x = self.model.inputs(tokens[:, :-1], self.given.start, self.given.positions)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            q, k, v = layer.attn.qkv(layer.ln_0(x), self.given.lyrics)
            cache.fill(k, v)
            x = x + layer.attn.mix(q, k, v)
            x = x + layer.mlp(layer.ln_1(x))
        self.last = self.model.x_emb(tokens[:, -1])

    @torch.no_grad()
    def next_logits(self) -> Tensor:
        """See Decoder."""
        conditioning = self.given.positions.index_select(1, self.position)[:, 0]
        x = self.last + self.model.pos_emb.pos_emb.index_select(0, self.position) + conditioning
        self.layouts.move_to(self.position)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            x = self._step(layer, cache, x)
        self.position += 1
        return self.prior.output(x, conditioning)[:, self.prior.shift :].float()

    def feed(self, codes: Tensor) -> None:
        """See Decoder."""
        self.last = self.model.x_emb(codes + self.prior.shift)

    @staticmethod
    def _step(layer: Layer, cache: Cache, x: Tensor) -> Tensor:
        x = x + layer.attn.c_proj(cache.attend(layer.attn.c_attn(layer.ln_0(x))))
        mlp: Tensor = layer.mlp(layer.ln_1(x))
        return x + mlp


ENGINES: dict[str, type[PlainDecoder] | type[CachedDecoder]] = {
    "plain": PlainDecoder,
    "cached": CachedDecoder,
}
