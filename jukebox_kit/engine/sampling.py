"""Sampling a level for a batch: its windows in order, each conditioned on its labels and upper codes.

Shapes: N rows of the batch, L tokens. A token not sampled yet is -1, so that sampling can resume from any state of a
level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.loop import Rows, TokenLoop, _unwatched
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.windows import UNSAMPLED, LevelPlan
from jukebox_kit.model import Labels, Prior, label_rows

ON_CPU = Placement(torch.device("cpu"))


@dataclass(frozen=True)
class LevelJob:
    """Inputs that determine the tokens of a batch, apart from the model and the codes already sampled.

    items: the item of the song that each row belongs to.
    labels: one for each row.
    upper_codes: (N, L / rate) int64, None for the top prior.
    given: for each row the number of tokens at its start that were not sampled by this plan; 0 by default.
    begins: for each row the position in the level at which it begins (chunks do), from which everything else counts.
    """

    plan: LevelPlan
    items: tuple[int, ...]
    labels: tuple[Labels, ...]
    upper_codes: Tensor | None
    seed: int
    choice: SamplingParams
    placement: Placement = ON_CPU
    given: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()


def sample_level(
    prior: Prior,
    job: LevelJob,
    codes: Tensor,
    made: Callable[[int], None] = _unwatched,
    loop: TokenLoop | None = None,
) -> list[int]:
    """Fill `codes` (N, total) int64 in place wherever it contains UNSAMPLED.

    made: called with the position of the last token each time tokens are copied to the host.
    loop: as `job_loop` returns it, which is also the default.
    A window that was interrupted is replayed: the same prefill, then the same steps over the tokens already sampled.
    Returns the positions at which replaying would have chosen another token.
    """
    device, mismatches = codes.device, list[int]()
    loop, begins = loop or job_loop(prior, job, device), job.begins or (0,) * len(job.items)
    for start, begin, end in job.plan.windows(min(job.given, default=0)):
        if not bool((codes[:, begin:end] == UNSAMPLED).any()):
            continue
        starts = [place + start for place in begins]
        y = label_rows(job.labels, prior.config, prior.hop, starts, device)
        upper_codes = None if job.upper_codes is None else job.plan.above(job.upper_codes, starts)
        with torch.no_grad():
            given = prior.condition(y, upper_codes, loop.decoder.conditioning)
        mismatches += loop.window(given, codes, start, range(begin, end), made)
    return mismatches


def job_loop(prior: Prior, job: LevelJob, device: torch.device) -> TokenLoop:
    """Return the loop that samples a job."""
    items, begins, given = (
        torch.tensor(values or [0] * len(job.items), device=device) for values in (job.items, job.begins, job.given)
    )
    return make_loop(prior, Rows(items, begins, given), job.seed, job.choice, job.placement)
