"""The VQ-VAE: audio to codes at three rates, and back.

Three independent autoencoders. Shapes: N songs, T samples, L tokens, C channels. The module tree repeats the
parameter names of the released checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from jukebox_kit.errors import AudioError
from jukebox_kit.model.configuration import VQVAEConfig

PIECE = 2**17  # samples decoded at a time, if the margins are small in comparison: more uses memory and is not faster


class ResidualBlock(nn.Module):
    """x + scale · branch(x); the branch is ReLU, dilated Conv1d, ReLU, Conv1d of kernel 1. (N, C, L) → (N, C, L)."""

    def __init__(self, width: int, hidden: int, dilation: int, scale: float = 1.0) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(width, hidden, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv1d(hidden, width, 1),
        )
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, L) → (N, C, L)."""
        branch: Tensor = self.model(x)
        return x + branch if self.scale == 1.0 else x + self.scale * branch


def residual_blocks(
    width: int,
    depth: int,
    m_conv: float,
    growth: int,
    cycle: int | None,
    reverse: bool = False,
    scale: float = 1.0,
) -> list[nn.Module]:
    """Return `depth` residual blocks with dilation growth^(i mod cycle), in descending order if `reverse`."""
    dilations = [growth ** (i if cycle is None else i % cycle) for i in range(depth)]
    ordered = dilations[::-1] if reverse else dilations
    return [ResidualBlock(width, int(m_conv * width), d, scale) for d in ordered]


class _Sequence(nn.Module):
    """A Sequential under the attribute `model`: the nesting of the released names."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class _Coder(nn.Module):
    """A chain of level blocks, closed by `out` in decoders. (N, C, L) → (N, C', L')."""

    def __init__(self, blocks: list[nn.Module], out: nn.Module | None, backwards: bool) -> None:
        super().__init__()
        self.level_blocks = nn.ModuleList(blocks)
        if out is not None:
            self.out = out
        self.backwards = backwards

    def forward(self, x: Tensor) -> Tensor:
        blocks = list(self.level_blocks)
        for block in reversed(blocks) if self.backwards else blocks:
            x = block(x)
        return self.out(x) if self.backwards else x


class Codebook(nn.Module):
    """The code vectors of one level, buffer `k` (bins, emb_width)."""

    k: Tensor

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.register_buffer("k", torch.zeros(bins, width))

    def nearest(self, x: Tensor) -> Tensor:
        """Return the nearest row's index for each vector: (..., emb_width) → (...) int64."""
        # |x - k|² without |x|², which is the same for every row.
        distance = self.k.square().sum(-1) - 2 * x @ self.k.T
        return distance.argmin(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the code vectors: (...) int64 → (..., emb_width)."""
        return nn.functional.embedding(codes, self.k)


class _Bottleneck(nn.Module):
    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.level_blocks = nn.ModuleList(Codebook(config.l_bins, config.emb_width) for _ in range(config.levels))


class VQVAE(nn.Module):
    """Audio (N, T, 1) ↔ codes (N, T // hop) at each level."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        levels = range(config.levels)
        self.encoders = nn.ModuleList(_encoder(config, level) for level in levels)
        self.decoders = nn.ModuleList(_decoder(config, level) for level in levels)
        self.bottleneck = _Bottleneck(config)

    def codebook(self, level: int) -> Codebook:
        """Return the codebook of a level."""
        book = self.bottleneck.level_blocks[level]
        assert isinstance(book, Codebook)
        return book

    def latents(self, audio: Tensor, level: int) -> Tensor:
        """Return the encoder's output before quantisation: (N, T, 1) → (N, T // hop, emb_width)."""
        out: Tensor = self.encoders[level](audio.transpose(1, 2))
        return out.transpose(1, 2)

    def reconstruct(self, vectors: Tensor, level: int) -> Tensor:
        """Return audio from code vectors: (N, L, emb_width) → (N, L · hop, 1). Not clipped."""
        out: Tensor = self.decoders[level](vectors.transpose(1, 2))
        return out.transpose(1, 2)

    @torch.no_grad()
    def encode(self, audio: Tensor) -> list[Tensor]:
        """Return the codes of every level, level 0 first: (N, T, 1) in [-1, 1] → [(N, T // hop) int64].

        T must be a multiple of the top level's hop, else AudioError.
        """
        top = self.config.hops[-1]
        if audio.dim() != 3 or audio.shape[-1] != 1 or audio.shape[1] % top or not audio.shape[1]:
            raise AudioError(
                f"encode takes (songs, samples, 1) with samples a multiple of {top}, not {tuple(audio.shape)}."
            )
        return self.encoded(audio)

    @torch.no_grad()
    def encode_long(self, audio: Tensor, level: int) -> Tensor:
        """Return one level's codes of long audio: (N, T, 1), T as in `encode` → (N, T // hop) int64.

        Encodes `piece_tokens` at a time, with margins as `decode` does, so that memory does not grow with T. A code can
        only differ from that of `encode` where rounding decides between two that are equally near.
        """
        hop, margin, book = self.config.hops[level], self.margin(level), self.codebook(level)
        length, step, codes = audio.shape[1] // hop, self.piece_tokens(level), list[Tensor]()
        for start in range(0, length, step):
            low = max(0, start - margin)
            latents = self.latents(audio[:, low * hop : (start + step + margin) * hop], level)
            codes.append(book.nearest(latents[:, start - low : start - low + step]))
        return torch.cat(codes, 1)

    def encoded(self, audio: Tensor) -> list[Tensor]:
        """Return what `encode` returns, without checking the shape."""
        return [self.codebook(i).nearest(self.latents(audio, i)) for i in range(self.config.levels)]

    def decoded(self, codes: Tensor, level: int) -> Tensor:
        """Return what `decode` returns, decoding all codes at once."""
        return self.reconstruct(self.codebook(level).vectors(codes), level)

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return self.codebook(0).k.device

    @torch.no_grad()
    def decode(self, codes: Tensor, level: int, piece: int | None = None) -> Tensor:
        """Return the audio of one level's codes: (N, L) → (N, L · hop, 1), not clipped.

        Decodes `piece` tokens at a time, by default `piece_tokens`, with a margin on each side that covers everything
        that influences a sample. So memory does not grow with L, and the samples differ only by rounding from those
        that are decoded in one piece. All pieces have one length, as oneDNN keeps memory for each length.
        """
        hop, margin, length = self.config.hops[level], self.margin(level), codes.shape[1]
        step = piece or self.piece_tokens(level)
        audio = torch.empty(len(codes), length * hop, 1, device=codes.device)
        for start in range(0, length, step):
            low = max(0, min(start - margin, length - step - 2 * margin))
            read = codes[:, low : low + step + 2 * margin]
            decoded = self.decoded(read, level)
            end = min(start + step, length)
            audio[:, start * hop : end * hop] = decoded[:, (start - low) * hop : (end - low) * hop]
        return audio

    def piece_tokens(self, level: int) -> int:
        """Return how many tokens of a level are decoded at a time, without margins."""
        return max(self.margin(level) * 4, PIECE // self.config.hops[level])

    def margin(self, level: int) -> int:
        """Return how many tokens on each side influence a sample: an upper bound from kernel sizes and dilations."""
        c = self.config
        reach, hop = 1.0, 1  # samples; `out` has kernel 3
        for block in range(level + 1):  # from the audio inwards
            for _ in range(c.downs_t[block]):
                stride = c.strides_t[block]
                reach += hop * (2 * stride)  # the transposed convolution, at the finer rate
                hop *= stride
                depth = c.depth * c.hvqvae_multipliers[level]
                cycle = c.dilation_cycle or depth
                reach += hop * sum(c.dilation_growth_rate ** (i % cycle) for i in range(depth))
            reach += hop
        return math.ceil(reach / hop) + 1


def _encoder(c: VQVAEConfig, level: int) -> _Coder:
    width, depth = c.width * c.hvqvae_multipliers[level], c.depth * c.hvqvae_multipliers[level]
    blocks: list[nn.Module] = []
    for i in range(level + 1):
        stride, channels = c.strides_t[i], (1 if i == 0 else c.emb_width)
        parts: list[nn.Module] = []
        for d in range(c.downs_t[i]):
            down = nn.Conv1d(channels if d == 0 else width, width, 2 * stride, stride, stride // 2)
            stack = residual_blocks(width, depth, c.m_conv, c.dilation_growth_rate, c.dilation_cycle)
            parts.append(nn.Sequential(down, _Sequence(stack)))
        parts.append(nn.Conv1d(width, c.emb_width, 3, padding=1))
        blocks.append(_Sequence(parts))
    return _Coder(blocks, None, backwards=False)


def _decoder(c: VQVAEConfig, level: int) -> _Coder:
    width, depth = c.width * c.hvqvae_multipliers[level], c.depth * c.hvqvae_multipliers[level]
    blocks: list[nn.Module] = []
    for i in range(level + 1):
        stride, last = c.strides_t[i], c.downs_t[i] - 1
        parts: list[nn.Module] = [nn.Conv1d(c.emb_width, width, 3, padding=1)]
        for d in range(c.downs_t[i]):
            stack = residual_blocks(
                width,
                depth,
                c.m_conv,
                c.dilation_growth_rate,
                c.dilation_cycle,
                reverse=c.vqvae_reverse_decoder_dilation,
            )
            out = c.emb_width if d == last else width
            up = nn.ConvTranspose1d(width, out, 2 * stride, stride, stride // 2)
            parts.append(nn.Sequential(_Sequence(stack), up))
        blocks.append(_Sequence(parts))
    return _Coder(blocks, nn.Conv1d(c.emb_width, 1, 3, padding=1), backwards=True)
