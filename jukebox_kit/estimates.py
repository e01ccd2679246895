"""Whether a song fits into memory and how long it will take here, before anything long starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jukebox_kit.definitions import PARTS, ModelDefinition
from jukebox_kit.errors import RequestError
from jukebox_kit.footprint import free_memory, largest_batch, needed_bytes, weights_bytes
from jukebox_kit.model.configuration import VQVAEConfig
from jukebox_kit.pace import Pace, measure_decoding, measure_pace
from jukebox_kit.pieces import Layout, lay_pieces
from jukebox_kit.placement import Placement
from jukebox_kit.sampling import Choice
from jukebox_kit.windows import LevelPlan, plan_level

GIB = 2**30


@dataclass(frozen=True)
class LevelEstimate:
    """One level of a song: tokens of all items together, items or pieces at once, and how long it takes.

    ms_per_token: milliseconds a step, which makes one token of each of the `batch` rows; seconds: of the whole level.
    """

    level: int
    tokens: int
    batch: int
    ms_per_token: float
    seconds: float


@dataclass(frozen=True)
class SongEstimate:
    """What a song takes. levels: level 2 first, empty where it does not fit; reason: then a sentence that says why.

    vqvae_seconds: decoding each level of each item once, None where it does not fit; weights_bytes: by part.
    """

    levels: tuple[LevelEstimate, ...]
    vqvae_seconds: float | None
    weights_bytes: Mapping[str, int]
    free_bytes: int
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Return whether there is memory for one item at least, at every level."""
        return not self.reason

    @property
    def seconds(self) -> float:
        """Return how long all of it takes, in seconds."""
        return sum(level.seconds for level in self.levels) + (self.vqvae_seconds or 0.0)


class Measured:
    """What was measured for one placement: the pace of priors alike, and the seconds that decoding takes."""

    def __init__(self) -> None:
        self.steps: dict[object, Pace] = {}
        self.decoding: dict[VQVAEConfig, float] = {}


def estimate(
    definition: ModelDefinition,
    seconds: float,
    items: int,
    placement: Placement,
    batch: int | None = None,
    measured: Measured | None = None,
    pieces: tuple[int, int] = (1, 1),
) -> SongEstimate:
    """Return what a song of `seconds` and `items` takes, made from its first token on as the model likes it.

    batch: items at once at most, by default as many as fit. measured: what earlier calls for this placement have
    measured, which is not measured again; what is new is added. pieces: as in `Request`.

    Times are measured here and now, in a few seconds, on parts without their weights: whatever keeps the machine busy
    counts. Left out: reading the files, the conditioning of each window on the level above, pictures, previews, saving,
    and that songs left over by the last full batch are faster. Raises RequestError for a length or a number that cannot
    be.
    """
    samples = _samples(definition, seconds)
    if items < 1 or (batch is not None and batch < 1):
        raise RequestError(f"items and batch must be at least 1, not {items if items < 1 else batch}.")
    weights = {part: weights_bytes(definition, part, placement) for part in PARTS}
    free = free_memory(placement.device)
    batches = {level: largest_batch(definition, level, placement, free) for level in (2, 1, 0)}
    for level, fitting in batches.items():
        if not fitting:
            return SongEstimate((), None, weights, free, _reason(definition, level, placement, free))
    fractions = definition.sampling.hop_fraction
    plans = [plan_level(prior, definition.vqvae, samples, fractions[prior.level]) for prior in definition.priors]
    paces = Measured() if measured is None else measured
    levels: list[LevelEstimate] = []
    for level, fitting in batches.items():
        prior, layout = definition.priors[level], lay_pieces(plans[level], (*pieces, 1)[level])
        at_once = min(fitting, items * len(layout.starts), batch or fitting)
        alike = (prior.patterns, prior.n_ctx, prior.prior_width, prior.heads, prior.m_attn, prior.m_mlp, at_once)
        if alike not in paces.steps:  # the upsamplers are alike in all that costs time
            choice = Choice(definition.sampling.temperature[level])
            paces.steps[alike] = measure_pace(prior, definition.vqvae, at_once, placement, choice)
        prefix = prior.positions - prior.n_ctx
        levels.append(_level(plans[level], layout, items, at_once, paces.steps[alike], prefix))
    if definition.vqvae not in paces.decoding:
        paces.decoding[definition.vqvae] = measure_decoding(definition.vqvae, placement.device)
    decoding = paces.decoding[definition.vqvae] * samples / definition.vqvae.sr * items
    return SongEstimate(tuple(levels), decoding, weights, free)


def read_positions(plan: LevelPlan, prefix: int) -> int:
    """Return how many positions an item's windows begin with, lyrics (`prefix`) included, which are read at once."""
    return sum(prefix + begin - start for start, begin, _ in plan.windows(0))


def _level(plan: LevelPlan, layout: Layout, items: int, batch: int, pace: Pace, prefix: int) -> LevelEstimate:
    windows = layout.plan(plan)
    once = windows.total * pace.step + read_positions(windows, prefix) * pace.position
    seconds = math.ceil(items * len(layout.starts) / batch) * once
    return LevelEstimate(plan.level, plan.total * items, batch, pace.step * 1000, seconds)


def _samples(definition: ModelDefinition, seconds: float) -> int:
    """Return the song's length in samples, whole tokens of the top level."""
    hop, sr = definition.vqvae.hops[-1], definition.vqvae.sr
    samples = int(seconds * sr) // hop * hop if math.isfinite(seconds) else 0
    if samples <= 0:
        raise RequestError(f"seconds must be at least {hop / sr:.3f}, one token, not {seconds:g}; 8 is a good start.")
    return samples


def _reason(definition: ModelDefinition, level: int, placement: Placement, free: int) -> str:
    needed = needed_bytes(definition, level, placement, 1)
    place = "this machine" if placement.on_cpu else "this GPU"
    return (
        f"level {level} of {definition.name} takes {needed / GIB:.1f} GiB for one item, and {place} has "
        f"{free / GIB:.1f} GiB free; free some, or choose a smaller model."
    )
