"""Autoregressive decoding: the plain decoder, and the cached one, for which every token costs the same.

Both have the same interface: `prefill` with a window's conditioning and first codes, then `next_logits` and `feed`
alternately. The plain decoder runs the whole sequence for every token and is the reference. Shapes: N songs, H heads, D
values per head, L positions.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from jukebox_kit.engine.caches import Cache, Layouts
from jukebox_kit.engine.operations import Operations
from jukebox_kit.model import Conditioning, Layer, Pattern, Prior

ROWS = 1024  # positions per prefill block: a quarter faster on a CPU than all songs in one block, in far less memory


class Decoder(Protocol):
    """The interface that the token loop calls; one decoder is used for one window after another."""

    @property
    def conditioning(self) -> Tensor | None:
        """The buffer for a window's conditioning, (N, positions, W), if the decoder has one."""
        ...

    @property
    def optimised(self) -> bool:
        """Whether our own kernels or compiled functions replace torch's operations."""
        ...

    def prefill(self, given: Conditioning, codes: Tensor) -> None:
        """Begin a window that already has some music codes, (N, n) int64, n from 0 to n_ctx - 1."""
        ...

    def next_logits(self) -> Tensor:
        """Return the next music code's logits, (N, bins) float32; call it once per position."""
        ...

    def feed(self, codes: Tensor) -> None:
        """Append the code chosen for that position, (N,) int64."""
        ...


class PlainDecoder:
    """Runs the full forward pass for every token."""

    conditioning, optimised = None, False

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    def prefill(self, given: Conditioning, codes: Tensor) -> None:
        """See Decoder."""
        self.given, self.codes = given, codes

    @torch.no_grad()
    def next_logits(self) -> Tensor:
        """See Decoder."""
        return self.prior.next_logits(self.codes, self.given)[:, -1, self.prior.shift :].float()

    def feed(self, codes: Tensor) -> None:
        """See Decoder."""
        self.codes = torch.cat([self.codes, codes[:, None]], 1)


class CachedDecoder:
    """Keeps keys and values of earlier positions in buffers of fixed size; the position is a tensor, like the codes.

    A step changes buffers in place and copies nothing to the host, so it can be captured as a CUDA graph.
    """

    def __init__(
        self, prior: Prior, songs: int, operations: Operations | None = None, depth: int | None = None
    ) -> None:
        """Allocate the buffers for `songs`; depth: run only that many layers, for measurements."""
        self.prior, self.operations = prior, operations or Operations()
        self.model, shape = prior.prior, prior.prior.transformer.shape
        table = self.model.pos_emb.pos_emb
        self.layers = self.model.transformer.layers[:depth]
        self.layouts = Layouts(shape, table.device)
        self.caches = [Cache(layer.attn, self.layouts, songs, prior.config.n_tokens) for layer in self.layers]
        self.position = torch.zeros(1, dtype=torch.long, device=table.device)
        self.last = table.new_zeros(songs, shape.width)  # the next input of layer 0, without position and conditioning
        self.conditioning = table.new_zeros(songs, shape.positions, shape.width)

    @property
    def optimised(self) -> bool:
        """See Decoder."""
        return self.operations.optimised

    @torch.no_grad()
    def prefill(self, given: Conditioning, codes: Tensor) -> None:
        """See Decoder. Runs plain forward passes over all tokens except the last, which the next step processes."""
        if given.lyrics is not None:
            for layer, cache in zip(self.layers, self.caches, strict=True):
                cache.read_lyrics(layer.attn, given.lyrics)
        if given.positions is not self.conditioning:
            self.conditioning.copy_(given.positions)
        tokens = self.prior.sequence(codes, given)
        length = tokens.shape[1]
        self.position.fill_(length)
        if not length:
            self.last.copy_(given.start[:, 0])
            return
        for song in range(len(tokens)):
            self._read(song, given, tokens[song : song + 1, :-1])
        self.last.copy_(self.model.x_emb(tokens[:, -1]))

    def _read(self, song: int, given: Conditioning, tokens: Tensor) -> None:
        """Fill a song's caches from the beginning of its sequence, (1, L) int64.

        Songs are processed one by one, and linear layers block by block, in place, so that temporary memory is small
        compared with the caches for any number of songs.
        """
        one = slice(song, song + 1)
        lyrics = None if given.lyrics is None else given.lyrics[one]
        x = self.model.inputs(tokens, given.start[one], self.conditioning[one])
        for layer, cache in zip(self.layers, self.caches, strict=True):
            if layer.attn.pattern is Pattern.ENCODER:  # each position attends to the lyrics only
                for rows in torch.split(x, ROWS, 1):
                    rows.copy_(layer(rows, lyrics))
                continue
            context = _attention_context(layer, x, cache, song)
            for rows, seen in zip(torch.split(x, ROWS, 1), torch.split(context, ROWS, 1), strict=True):
                rows.copy_(layer.attn.c_proj.added(seen, rows))
                rows.copy_(layer.mlp.added(layer.ln_1(rows), rows))

    @torch.no_grad()
    def next_logits(self) -> Tensor:
        """See Decoder."""
        conditioning = self.conditioning.index_select(1, self.position)[:, 0]
        x = self.last + self.model.pos_emb.pos_emb.index_select(0, self.position) + conditioning
        do = self.operations
        do.begin(self.layouts, self.position)
        for layer, cache in zip(self.layers, self.caches, strict=True):
            x = do.attend_added(cache, layer.attn.c_proj, do.norm_map(layer.ln_0, layer.attn.c_attn, x), x)
            x = do.map_added(layer.mlp.c_proj, do.norm_map_gelu(layer.ln_1, layer.mlp.c_fc, x), x)
        self.position += 1
        return self.prior.output(x, conditioning)[:, self.prior.shift :].float()

    def feed(self, codes: Tensor) -> None:
        """See Decoder."""
        self.last.copy_(self.model.x_emb(codes + self.prior.shift))


def _attention_context(layer: Layer, x: Tensor, cache: Cache, song: int) -> Tensor:
    """Return a layer's attention output over a song's sequence, (1, L, W) → (1, L, S), and fill its cache."""
    parts = [layer.attn.qkv(layer.ln_0(rows), None) for rows in torch.split(x, ROWS, 1)]
    q, k, v = (torch.cat(part, 2) for part in zip(*parts, strict=True))
    del parts
    cache.fill(song, k, v)
    return layer.attn.context(q, k, v)
