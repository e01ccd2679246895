"""What a prior is conditioned on besides tokens: labels as embeddings, and the codes of the level above.

Shapes: N songs, L tokens, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.configuration import PriorConfig, VQVAEConfig
from jukebox_kit.model.transformer import LayerNorm
from jukebox_kit.model.vqvae import residual_blocks


class _Table(nn.Module):
    """An embedding under the attribute `emb`: the nesting of the released names."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(rows, width)

    def forward(self, index: Tensor) -> Tensor:
        out: Tensor = self.emb(index)
        return out


class LabelEmbedding(nn.Module):
    """Artist and genre as one vector; for top priors also the position of each token in the song."""

    def __init__(self, config: PriorConfig, sr: int, timed: bool) -> None:
        super().__init__()
        genres, artists = config.y_bins
        width = config.prior_width
        self.config, self.timed = config, timed
        self.bow_genre_emb = _Table(genres, width)
        self.artist_emb = _Table(artists, width)
        if timed:
            low, high = config.min_duration, config.max_duration
            if low is None or high is None:
                raise ConfigurationError("a top prior needs min_duration and max_duration, in seconds.")
            self.ranges = ((low * sr, high * sr), (0.0, high * sr), (0.0, 1.0))
            self.total_length_emb = _Table(config.t_bins, width)
            self.absolute_pos_emb = _Table(config.t_bins, width)
            self.relative_pos_emb = _Table(config.t_bins, width)

    def names(self, y: Tensor) -> Tensor:
        """Return the artist's plus the filled genre slots' embeddings: labels (N, columns) → (N, 1, W)."""
        genres = y[:, 4 : 4 + self.config.max_bow_genre_size]
        filled = (genres >= 0).unsqueeze(-1)
        bag = (self.bow_genre_emb(genres.clamp(min=0)) * filled).sum(1, keepdim=True)
        out: Tensor = self.artist_emb(y[:, 3:4]) + bag
        return out

    def times(self, y: Tensor) -> Tensor:
        """Return the sum of the three time embeddings at each position: labels (N, columns) → (N, n_ctx, W)."""
        n_ctx = self.config.n_ctx
        total, offset, length = (y[:, i : i + 1].float() for i in range(3))
        steps = torch.arange(n_ctx, device=y.device, dtype=torch.float32) / n_ctx
        absolute = offset + length * steps
        begin, end = offset / total, ((offset + length) / total).clamp(max=1.0)
        relative = begin + (end - begin) * steps
        out: Tensor = self.absolute_pos_emb(self._bin(absolute, *self.ranges[1]))
        out += self.total_length_emb(self._bin(total, *self.ranges[0]))
        out += self.relative_pos_emb(self._bin(relative, *self.ranges[2]))
        return out

    def _bin(self, value: Tensor, low: float, high: float) -> Tensor:
        # A song may end exactly at the end of the range, which belongs to the last bin.
        index = (self.config.t_bins * ((value - low) / (high - low))).floor().long()
        return index.clamp(0, self.config.t_bins - 1)


class _Upsampler(nn.Module):
    """Conv1d, then for each doubling a residual stack and a ConvTranspose1d: (N, W, L / rate) → (N, W, L)."""

    def __init__(self, config: PriorConfig, down: int, stride: int) -> None:
        super().__init__()
        width, inner, depth = config.prior_width, config.cond_width, config.cond_depth
        scale = depth**-0.5 if config.cond_res_scale else 1.0
        stages: list[nn.Module] = [nn.Conv1d(width, inner, 3, padding=1)]
        for i in range(down):
            stack = residual_blocks(
                inner,
                depth,
                config.cond_m_conv,
                config.cond_dilation_growth_rate,
                config.cond_dilation_cycle,
                scale=scale,
            )
            out = width if i == down - 1 else inner
            up = nn.ConvTranspose1d(inner, out, 2 * stride, stride, stride // 2)
            stages.append(nn.Sequential(_Blocks(stack), up))
        self.model = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class _Blocks(nn.Module):
    """A Sequential under the attribute `blocks`: the nesting of the released names."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class CodesConditioner(nn.Module):
    """A vector for each token, from the upper level's codes of the same time span."""

    def __init__(self, config: PriorConfig, vqvae: VQVAEConfig) -> None:
        super().__init__()
        self.x_emb = nn.Embedding(vqvae.l_bins, config.prior_width)
        self.cond = _Upsampler(config, vqvae.downs_t[config.level + 1], vqvae.strides_t[config.level + 1])
        self.ln = LayerNorm(config.prior_width, eps=1e-5)

    def forward(self, upper_codes: Tensor) -> Tensor:
        """Map upper codes (N, L / rate) int64 → (N, L, W)."""
        out: Tensor = self.ln(self.cond(self.x_emb(upper_codes).transpose(1, 2)).transpose(1, 2))
        return out
