"""Codes that a prior samples while it is trained, by the plain operations that its layers support."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jukebox_kit.engine import UNSAMPLED, LevelJob, LevelPlan, Placement, SamplingParams, sample_level, threads_for
from jukebox_kit.model import Labels, Prior


def sample_codes(
    prior: Prior,
    plan: LevelPlan,
    labels: Sequence[Labels],
    upper: Tensor | None,
    seed: int,
    temperature: float,
    first: int = 0,
) -> Tensor:
    """Return sampled codes for each of the labels, (N, plan.total) int64, on the prior's device.

    upper: codes of the level above, (N, L), None at the top. first: the number of the first item, for its noise.
    """
    device = next(prior.parameters()).device
    above = None if upper is None else upper.to(device).long()
    items = tuple(range(first, first + len(labels)))
    placement = Placement(device, "float32", "cached")
    job = LevelJob(plan, items, tuple(labels), above, seed, SamplingParams(temperature), placement)
    codes = torch.full((len(items), plan.total), UNSAMPLED, device=device)
    with threads_for(prior.config):
        sample_level(prior, job, codes)
    return codes
