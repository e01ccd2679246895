"""A prior: labels, the level above and earlier tokens in, logits of the next token out.

One class serves the top priors and the upsamplers, as their configuration says. Shapes: N songs, L music
tokens, W width, Y label columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.conditioners import CodesConditioner, LabelEmbedding
from jukebox_kit.model.configuration import PriorConfig, VQVAEConfig, layer_patterns
from jukebox_kit.model.transformer import LayerNorm, PlainLinear, PositionTable, Shape, Transformer

NO_ALIGNMENT = "this part has no alignment_layer and alignment_head; its definition may name them."


@dataclass(frozen=True)
class Conditioning:
    """Everything that a window's tokens are conditioned on, computed once per window.

    positions: (N, lyric + music positions, W), added at each position.
    start: (N, 1, W), the input of position 0.
    prefix: (N, n) int64, the lyric tokens in the same sequence; n = 0 if lyrics are encoded separately or absent.
    lyrics: (N, n_lyric, W), the lyric encoder's states, or None.
    """

    positions: Tensor
    start: Tensor
    prefix: Tensor
    lyrics: Tensor | None


class AutoregressiveTransformer(nn.Module):
    """Token and position tables, the transformer, and the output layer."""

    def __init__(self, shape: Shape, bins: int, tied: bool | None, own_start: bool = False) -> None:
        """Build one over `bins` tokens. tied: whether x_out shares the weights of x_emb; without x_out if None."""
        super().__init__()
        if own_start:
            self.start_token = nn.Parameter(torch.empty(1, shape.width))
        self.x_emb = nn.Embedding(bins, shape.width)
        self.pos_emb = PositionTable(shape.positions, shape.width)
        self.transformer = Transformer(shape)
        if tied is not None:
            self.x_out = nn.Linear(shape.width, bins, bias=False)
            if tied:
                self.x_out.weight = self.x_emb.weight

    def inputs(self, tokens: Tensor, start: Tensor, conditioning: Tensor | None) -> Tensor:
        """Return layer 0's input for positions 0 … L: the start vector, then the tokens shifted by one position.

        tokens (N, L), start (N, 1, W), conditioning (N, ≥ L + 1, W) or None → (N, L + 1, W), cut to the sequence.
        """
        x = torch.cat([start.to(self.x_emb.weight.dtype), self.x_emb(tokens)], 1)[:, : self.transformer.shape.positions]
        x = x + self.pos_emb.pos_emb[: x.shape[1]]
        return x if conditioning is None else x + conditioning[:, : x.shape[1]]


class Prior(nn.Module):
    """One level's model of its codes. The module tree repeats the released parameter names."""

    def __init__(self, config: PriorConfig, vqvae: VQVAEConfig) -> None:
        super().__init__()
        self.config, self.hop, self.bins = config, vqvae.hops[config.level], vqvae.l_bins
        self.vqvae = vqvae
        self.top = config.level == vqvae.levels - 1
        if not self.top:
            self.conditioner_blocks = nn.ModuleList([CodesConditioner(config, vqvae)])
            self.rate = vqvae.hops[config.level + 1] // self.hop
        self.y_emb = LabelEmbedding(config, vqvae.sr, timed=self.top)
        shape = Shape(
            config.prior_width,
            config.positions,
            config.blocks,
            config.heads,
            config.n_state,
            int(config.m_mlp * config.prior_width),
            config.patterns,
            config.prime_length if config.single_enc_dec else 0,
        )
        shift = config.n_vocab if config.single_enc_dec else 0
        self.prior = AutoregressiveTransformer(shape, vqvae.l_bins + shift, tied=not config.merged_decoder)
        self.shift = shift  # music tokens follow the lyric vocabulary if both share a sequence
        if config.has_encoder:
            self._add_lyric_encoder(config)

    def _add_lyric_encoder(self, config: PriorConfig) -> None:
        width = config.prime_width
        patterns = layer_patterns(config.prime_attn_order, config.prime_depth)
        state, mlp = int(config.m_attn * width), int(config.m_mlp * width)
        shape = Shape(width, config.n_tokens, config.prime_blocks, config.prime_heads, state, mlp, patterns)
        self.prime_prior = AutoregressiveTransformer(shape, config.n_vocab, tied=None, own_start=True)
        self.prime_state_proj = PlainLinear(width, config.prior_width)
        self.prime_state_ln = LayerNorm(config.prior_width, eps=1e-5)
        self.prime_x_out = nn.Linear(config.prior_width, config.n_vocab, bias=False)  # the training loss reads it

    @property
    def prefix_length(self) -> int:
        """The number of lyric positions before the music in the same sequence."""
        return self.config.n_tokens if self.config.single_enc_dec else 0

    def condition(self, y: Tensor, upper_codes: Tensor | None = None, into: Tensor | None = None) -> Conditioning:
        """Return what a window is conditioned on: labels (N, Y) int64, upper codes (N, n_ctx / rate) below the top.

        into: (N, lyric + music positions, W), of which the lyrics' are zeros: becomes `positions`, filled song by song,
        so that what passes on the way is one song's.
        """
        lyric_tokens = y[:, 4 + self.config.max_bow_genre_size :]
        start = self.y_emb.names(y)
        lyrics = self.encode_lyrics(lyric_tokens) if self.config.has_encoder else None
        prefix = lyric_tokens if self.config.single_enc_dec else lyric_tokens[:, :0]
        if into is None:
            into = F.pad(self._music(y, upper_codes), (0, 0, prefix.shape[1], 0))
        else:
            for song in range(len(y)):
                its_codes = None if upper_codes is None else upper_codes[song : song + 1]
                into[song, prefix.shape[1] :] = self._music(y[song : song + 1], its_codes)[0]
        return Conditioning(into, start, prefix, lyrics)

    def _music(self, y: Tensor, upper_codes: Tensor | None) -> Tensor:
        """Return what is added at each music position, (N, n_ctx, W): its time in the song, or the level above."""
        if self.top:
            return self.y_emb.times(y)
        assert upper_codes is not None, "an upsampler needs the codes of the level above"
        music: Tensor = self.conditioner_blocks[0](upper_codes)
        return music

    def encode_lyrics(self, tokens: Tensor) -> Tensor:
        """Return the lyric encoder's states as the layers read them: (N, n_lyric) int64 → (N, n_lyric, W)."""
        start = self.prime_prior.start_token.expand(len(tokens), 1, -1)
        x = self.prime_prior.inputs(tokens, start, None)
        states: Tensor = self.prime_state_ln(self.prime_state_proj(self.prime_prior.transformer(x)))
        return states

    def sequence(self, codes: Tensor, given: Conditioning) -> Tensor:
        """Return the transformer's tokens: lyrics that share the sequence, then the shifted music codes."""
        return torch.cat([given.prefix, codes + self.shift], 1)

    @torch.no_grad()
    def logits(self, codes: Tensor, labels: Tensor, upper_codes: Tensor | None = None) -> Tensor:
        """Return the logits of every music code given those before it, teacher-forced, by the plain forward.

        codes (N, L ≤ n_ctx) int64, labels (N, Y) int64, upper codes as in `condition` → (N, prefix + L, bins) float32.
        If lyrics share the sequence, their rows come first, and the bins are those of both vocabularies.
        """
        return self.next_logits(codes[:, :-1], self.condition(labels, upper_codes)).float()

    def next_logits(self, codes: Tensor, given: Conditioning) -> Tensor:
        """Return the logits of every position and of the one after, by the plain forward over the whole sequence.

        codes (N, L) → (N, prefix + min(L + 1, n_ctx), bins); row i predicts the token at position i. Rows and bins are
        as in `logits`.
        """
        x = self.prior.inputs(self.sequence(codes, given), given.start, given.positions)
        return self.output(self.prior.transformer(x, given.lyrics), given.positions[:, : x.shape[1]])

    def output(self, hidden: Tensor, conditioning: Tensor) -> Tensor:
        """Map the last layer's state to logits: (N, L, W) → (N, L, bins)."""
        out: Tensor = self.prior.x_out(hidden if self.config.merged_decoder else hidden + conditioning)
        return out

    def losses(self, codes: Tensor, y: Tensor, upper_codes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean cross-entropy in bits of the music and of the lyric tokens (0 if the model has no lyrics).

        codes (N, n_ctx), labels (N, Y) and upper codes as in `condition`; over all bins.
        """
        given = self.condition(y, upper_codes)
        logits, prefix = self.next_logits(codes[:, :-1], given), self.prefix_length
        music = _bits(logits[:, prefix:], codes + self.shift)
        if prefix:
            return music, _bits(logits[:, :prefix], given.prefix)
        if given.lyrics is not None:
            return music, _bits(self.prime_x_out(given.lyrics), y[:, -self.config.n_tokens :])
        return music, music.new_zeros(())

    @torch.no_grad()
    def alignment(self, codes: Tensor, given: Conditioning) -> Tensor:
        """Return how much each music position attends to each lyric token, (N, L, n_lyric) float32.

        The softmax of the alignment layer and head, restricted to the lyric tokens and not renormalised.
        """
        layer, head = self.config.alignment_layer, self.config.alignment_head
        if layer is None or head is None:
            raise ConfigurationError(NO_ALIGNMENT)
        x = self.prior.inputs(self.sequence(codes[:, :-1], given), given.start, given.positions)
        found = self.prior.transformer.attention_weights(x, given.lyrics, layer, head)
        return found[:, self.prefix_length :, : self.config.n_tokens]


def _bits(logits: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten()) / math.log(2)
