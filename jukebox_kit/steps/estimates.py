"""Whether a song fits into memory and how long it takes on this machine, before anything long starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jukebox_kit.engine import (
    LevelPlan,
    Pace,
    Placement,
    SamplingParams,
    measure_decoding,
    measure_pace,
    plan_level,
    weights_bytes,
)
from jukebox_kit.model import VQVAEConfig
from jukebox_kit.model.weights import PARTS, ModelDefinition
from jukebox_kit.song import ChunkLayout, chunks_at, lay_chunks
from jukebox_kit.steps.memory_plan import MemoryPlan, plan_memory, song_samples
from jukebox_kit.steps.progress import duration


@dataclass(frozen=True)
class LevelEstimate:
    """One level of a song: tokens of all items together, items or chunks at once, and how long it takes.

    ms_per_token: milliseconds a step, which makes one token of each of the `batch` rows; seconds: of the whole level.
    """

    level: int
    tokens: int
    batch: int
    ms_per_token: float
    seconds: float


@dataclass(frozen=True)
class SongEstimate:
    """What a song takes. levels: level 2 first, empty where the plan of memory says that it does not fit.

    vqvae_seconds: decoding each level of each item once, None where it does not fit; weights_bytes: by part.
    """

    plan: MemoryPlan
    levels: tuple[LevelEstimate, ...]
    vqvae_seconds: float | None
    weights_bytes: Mapping[str, int]

    @property
    def fits(self) -> bool:
        """Return whether there is memory for at least one item at every level."""
        return self.plan.fits

    @property
    def reason(self) -> str:
        """Return why it does not fit and what would; empty if it fits."""
        return self.plan.reason

    @property
    def seconds(self) -> float:
        """Return the total duration in seconds."""
        return sum(level.seconds for level in self.levels) + (self.vqvae_seconds or 0.0)

    @property
    def summary(self) -> str:
        """The same in a sentence."""
        if not self.fits:
            return self.reason
        levels = ", ".join(f"level {one.level} {duration(one.seconds)} (batch size {one.batch})" for one in self.levels)
        return f"about {duration(self.seconds)}: {levels}, as measured on this machine."


class Measured:
    """What was measured on one device: the pace of priors alike, and the seconds that decoding takes."""

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
    chunks: tuple[int, int] = (1, 1),
) -> SongEstimate:
    """Return what a song of `seconds` and `items` takes, made from its first token on as the model likes it.

    batch: maximum batch size, in items or chunks of items, by default as the memory plan says. measured: what
    earlier calls on this device have measured, which is not measured again; what is new is added. chunks: as in
    `Request`.

    Times are measured here and now, in a few seconds, on parts without their weights: whatever keeps the machine busy
    counts. Left out: reading the files, the conditioning of each window on the level above, pictures, previews, saving,
    and that songs left over by the last full batch are faster. Raises RequestError for a length or a number that cannot
    be.
    """
    where = placement.device
    plan = plan_memory(
        definition, seconds, items, where, None, placement.weights, batch, engine=placement.engine, chunks=chunks
    )
    kept = {part: weights_bytes(definition, part, placement) for part in PARTS}
    if not plan.fits:
        return SongEstimate(plan, (), None, kept)
    samples = song_samples(definition, seconds)
    fractions = definition.sampling.hop_fraction
    plans = [plan_level(prior, definition.vqvae, samples, fractions[prior.level]) for prior in definition.priors]
    paces = Measured() if measured is None else measured
    levels: list[LevelEstimate] = []
    for level, at_once in ((one.level, one.batch) for one in plan.levels):
        prior, layout = definition.priors[level], lay_chunks(plans[level], chunks_at(chunks, level))
        sizes = (prior.patterns, prior.n_ctx, prior.prior_width, prior.heads, prior.m_attn, prior.m_mlp)
        alike = (*sizes, at_once, placement)
        if alike not in paces.steps:  # the upsamplers are alike in all that costs time
            choice = SamplingParams(definition.sampling.temperature[level])
            paces.steps[alike] = measure_pace(prior, definition.vqvae, at_once, placement, choice)
        prefix = prior.positions - prior.n_ctx
        levels.append(_level(plans[level], layout, items, at_once, paces.steps[alike], prefix))
    if definition.vqvae not in paces.decoding:
        paces.decoding[definition.vqvae] = measure_decoding(definition.vqvae, placement.device)
    decoding = paces.decoding[definition.vqvae] * samples / definition.vqvae.sr * items
    return SongEstimate(plan, tuple(levels), decoding, kept)


def read_positions(plan: LevelPlan, prefix: int) -> int:
    """Return how many positions an item's windows begin with, lyrics (`prefix`) included, which are read at once."""
    return sum(prefix + begin - start for start, begin, _ in plan.windows(0))


def _level(plan: LevelPlan, layout: ChunkLayout, items: int, batch: int, pace: Pace, prefix: int) -> LevelEstimate:
    windows = layout.plan(plan)
    once = windows.total * pace.step + read_positions(windows, prefix) * pace.position
    seconds = math.ceil(items * len(layout.starts) / batch) * once
    return LevelEstimate(plan.level, plan.total * items, batch, pace.step * 1000, seconds)
