"""How likely a recording or a song is to a model: the bits of each token at each level."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from jukebox_kit.analysis.scored import what_to_score
from jukebox_kit.analysis.scores import Bits, LevelScore, Score
from jukebox_kit.analysis.settings import ScoreSettings
from jukebox_kit.engine import LevelPlan, threads_for, window_starts
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD, TOP, Labels, Prior, VQVAEConfig, label_rows
from jukebox_kit.model.weights import PARTS
from jukebox_kit.steps import RunSettings

Ended = Callable[[int, int], object]  # gets how many windows are done, and how many there are


def score(
    source: str | Path | ArrayLike,
    settings: ScoreSettings | None = None,
    run: RunSettings | None = None,
    ended: Ended = lambda _done, _total: None,
) -> Score:
    """Return the bits of a recording, of mono audio (samples,) at the model's rate in [-1, 1], or of a song's item.

    A song is scored by its own codes, as far as it is sampled, and its own request unless the settings say otherwise.
    Bits are over all bins of the prior, as in training. run: of it, device and precision are used. ended: called after
    each window. AudioError, RequestError, LabelError or SongError if it cannot be scored.
    """
    how = settings or ScoreSettings()
    what = what_to_score(source, how, run or RunSettings())
    model, vqvae = what.model, what.model.definition.vqvae
    there = [level for level in DOWNWARD if level in what.codes and (level == TOP or level + 1 in what.codes)]
    levels = [level for level in there if level in how.chosen_levels()]
    if not levels:
        known = " and ".join(f"level {level}" for level in there) or "no level"
        raise RequestError(f"{what.name} has tokens at {known} only; choose another level.", field="levels")
    plans = {n: _plan(model.definition.priors[n].n_ctx, vqvae, n, len(what.codes[n]), how.overlap) for n in levels}
    total = sum(len(plan.windows(0)) for plan in plans.values())
    done, scores = 0, list[LevelScore]()
    for level, plan in plans.items():
        prior, upper, bits = model.prior(level), what.codes.get(level + 1), list[Bits]()
        for window in plan.windows(0):
            bits.append(window_bits(prior, what.codes[level], upper, what.labels[level], plan, window))
            done += 1
            ended(done, total)
        starts = (start for start, _, _ in plan.windows(0))
        means = (float(one.mean(dtype=np.float64)) for one in bits)
        windows = tuple(zip(starts, means, strict=True))
        scores.append(LevelScore(level, np.concatenate(bits), vqvae.sr / vqvae.hops[level], windows))
    weights = model.fingerprints([PARTS[0], *(PARTS[level + 1] for level in levels)])
    asked = (what.artist, what.genre, bool(what.lyrics))
    return Score(what.name, model.definition.name, weights, *asked, how.overlap, tuple(scores), what.notes)


@torch.no_grad()
def window_bits(
    prior: Prior, codes: Tensor, upper: Tensor | None, labels: Labels, plan: LevelPlan, window: tuple[int, int, int]
) -> Bits:
    """Return the bits of the tokens that a window is the first to cover, given those before them in the window.

    codes: (tokens,) int64; upper: of the level above, None at the top. window: one of `plan.windows`.
    """
    start, begin, end = window
    y = label_rows([labels], prior.config, prior.hop, start, codes.device)
    above = None if upper is None else plan.above(upper[None], start)
    with threads_for(prior.config):
        logits = prior.logits(codes[None, start:end], y, above)[0, prior.prefix_length + begin - start :]
    nats = F.cross_entropy(logits, codes[begin:end] + prior.shift, reduction="none")
    bits: Bits = (nats / math.log(2)).cpu().numpy()
    return bits


def _plan(n_ctx: int, vqvae: VQVAEConfig, level: int, total: int, overlap: float) -> LevelPlan:
    """Return the windows of a level of `total` tokens; each begins at a token of the level above."""
    rate = 1 if level == TOP else vqvae.hops[level + 1] // vqvae.hops[level]
    step = max(rate, int(n_ctx * (1 - overlap)) // rate * rate)
    return LevelPlan(level, total, n_ctx, tuple(window_starts(total, n_ctx, step)), rate)
