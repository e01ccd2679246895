"""The training objective of a prior: the release's weighted sum of music and lyric loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from jukebox_kit.model import Prior


@dataclass(frozen=True)
class PriorLoss:
    """Losses of a batch in bits per token, each a scalar tensor.

    total: the objective, with music and lyrics weighted by their share of the positions.
    music: the mean over the music tokens.
    lyrics: the mean over the lyric tokens, padding included; 0 for a prior without lyrics.
    """

    total: Tensor
    music: Tensor
    lyrics: Tensor


def prior_loss(
    prior: Prior, codes: Tensor, labels: Tensor, upper_codes: Tensor | None, lyric_fraction: float
) -> PriorLoss:
    """Return the losses of a batch: codes (N, n_ctx), labels (N, Y), upper codes (N, n_ctx / rate) below the top.

    lyric_fraction: the weight of a lyric token relative to a music token, 0.4 in the release.
    """
    music, lyrics = prior.losses(codes, labels, upper_codes)
    lyric_count, music_count = prior.config.n_tokens, prior.config.n_ctx
    positions = lyric_count + music_count
    total = lyric_fraction * lyrics * (lyric_count / positions) + music * (music_count / positions)
    return PriorLoss(total, music, lyrics)
