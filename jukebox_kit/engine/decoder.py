"""One token after another: the plain decoder, and the cached one whose tokens all cost the same.

Both are driven alike: `prefill` what a window is conditioned on and the codes it starts with, then `next_logits` and
`feed` in turn. The plain one runs the whole sequence for every token and is the truth. Shapes: N songs, H heads, D
values a head, L positions.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from jukebox_kit.engine.caches import Cache, Layouts
from jukebox_kit.engine.operations import Operations
from jukebox_kit.model import Conditioning, Layer, Pattern, Prior

ROWS = 1024  # positions that maps read at once: a quarter faster than all songs at once on a CPU, in far less memory


class Decoder(Protocol):
    """What the sampling loop drives; it serves one window after another."""

    @property
    def conditioning(self) -> Tensor | None:
        """What to fill with what a window is conditioned on, (N, positions, W), where the decoder keeps it itself."""
        ...

    @property
    def own(self) -> bool:
        """Whether code of our own, kernels or compiled, takes the place of torch's operations."""
        ...

    def prefill(self, given: Conditioning, codes: Tensor) -> None:
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

    conditioning, own = None, False

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
    """Keys and values of earlier positions in buffers of fixed size; the position is a tensor, as the codes are.

    A step changes buffers in place and reads nothing back, so that it can be captured as a CUDA graph.
    """

    def __init__(
        self, prior: Prior, songs: int, operations: Operations | None = None, depth: int | None = None
    ) -> None:
        """Make one; depth: run the first layers only, for measuring."""
        self.prior, self.operations = prior, operations or Operations()
        self.model, shape = prior.prior, prior.prior.transformer.shape
        table = self.model.pos_emb.pos_emb
        self.layers = self.model.transformer.layers[:depth]
        self.layouts = Layouts(shape, table.device)
        self.caches = [Cache(layer.attn, self.layouts, songs, prior.config.n_tokens) for layer in self.layers]
        self.position = torch.zeros(1, dtype=torch.long, device=table.device)
        self.last = table.new_zeros(songs, shape.width)  # layer 0's next input, without position and conditioning
        self.conditioning = table.new_zeros(songs, shape.positions, shape.width)

    @property
    def own(self) -> bool:
        """See Decoder."""
        return self.operations.own

    @torch.no_grad()
    def prefill(self, given: Conditioning, codes: Tensor) -> None:
        """See Decoder. Plain forwards over everything but the last token, whose turn is the next step."""
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
        """Fill a song's caches with what its sequence begins with, (1, L) int64.

        One song after another, and maps some positions after others, in place: so what passes is small beside the
        caches, however many songs there are.
        """
        one = slice(song, song + 1)
        lyrics = None if given.lyrics is None else given.lyrics[one]
        x = self.model.inputs(tokens, given.start[one], self.conditioning[one])
        for layer, cache in zip(self.layers, self.caches, strict=True):
            if layer.attn.pattern is Pattern.ENCODER:  # each position sees the lyrics alone
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
    """Return a layer's attention output over a song's sequence, (1, L, W) → (1, L, S), with its cache filled."""
    parts = [layer.attn.qkv(layer.ln_0(rows), None) for rows in torch.split(x, ROWS, 1)]
    q, k, v = (torch.cat(part, 2) for part in zip(*parts, strict=True))
    del parts
    cache.fill(song, k, v)
    return layer.attn.context(q, k, v)
