"""Short songs sampled while a model is trained, from the same seeds and labels each time, to hear what changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jukebox_kit.engine import plan_level
from jukebox_kit.model import VQVAE, Labels, Prior
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song import Audio
from jukebox_kit.training.sampling import sample_codes


@dataclass(frozen=True)
class Previews:
    """What is sampled: a song for each of `labels`. upper: codes of the level above, (songs, L), None at the top."""

    labels: tuple[Labels, ...]
    upper: Tensor | None
    seconds: float
    seed: int

    def sample(self, prior: Prior, definition: ModelDefinition, vqvae: VQVAE) -> list[Audio]:
        """Return the audio of each song, (samples,), decoded from the codes of the prior's level."""
        config, sr, top = definition.vqvae, definition.vqvae.sr, definition.vqvae.hops[-1]
        samples = max(1, int(self.seconds * sr) // top) * top
        level = prior.config.level
        plan = plan_level(prior.config, config, samples, definition.sampling.hop_fraction[level])
        upper = None if self.upper is None else self.upper[:, : plan.total // plan.rate]
        codes = sample_codes(prior, plan, self.labels, upper, self.seed, definition.sampling.temperature[level])
        return [audio[:, 0].cpu().numpy().astype(np.float32) for audio in vqvae.decode(codes, level)]


def previews_of(
    labels: Sequence[Labels], upper: Sequence[Tensor] | None, count: int, seconds: float, seed: int
) -> Previews | None:
    """Return previews of up to `count` songs with the labels of different artists and genres; None of no songs.

    upper: for each of the labels the codes of the level above, (L,), None at the top.
    """
    firsts: dict[tuple[int, tuple[int, ...]], int] = {}
    for place, one in enumerate(labels):
        firsts.setdefault((one.artist, one.genres), place)
    order = [*firsts.values(), *(place for place in range(len(labels)) if place not in firsts.values())][:count]
    if not order:
        return None
    codes = None
    if upper is not None:
        least = min(len(upper[place]) for place in order)
        codes = torch.stack([upper[place][:least] for place in order])
    return Previews(tuple(labels[place] for place in order), codes, seconds, seed)
