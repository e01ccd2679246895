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
    """How long one level of a song takes.

    tokens: of all items together.
    batch: batch size, in items or chunks.
    ms_per_token: milliseconds per step, which samples one token of each of the `batch` rows.
    seconds: of the whole level.
    """

    level: int
    tokens: int
    batch: int
    ms_per_token: float
    seconds: float


@dataclass(frozen=True)
class SongEstimate:
    """How long a song takes.

    levels: level 2 first, empty if the song does not fit into memory.
    vqvae_seconds: to decode every level of every item once, None if the song does not fit.
    weights_bytes: by component.
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
    """Measurements on one device: the pace of priors by shape, and the seconds that decoding takes."""

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
    """Return how long a song of `seconds` and `items` takes from its first token on, with the model's defaults.

    batch: maximum batch size, in items or chunks of items, by default that of the memory plan. measured: measurements
    of earlier calls on this device, which are reused; new ones are added. chunks: as in `Request`.

    Times are measured in a few seconds on components without their weights, so other work of the machine counts. The
    estimate leaves out reading the files, conditioning each window on the level above, pictures, previews and saving,
    and ignores that the last batch may be smaller. RequestError for a length or number that is not possible.
    """
    where = placement.device
    plan = plan_memory(
        definition, seconds, items, where, None, placement.weights, batch, engine=placement.engine, chunks=chunks
    )
    sizes = {name: weights_bytes(definition, name, placement) for name in PARTS}
    if not plan.fits:
        return SongEstimate(plan, (), None, sizes)
    samples = song_samples(definition, seconds)
    fractions = definition.sampling.hop_fraction
    plans = [plan_level(prior, definition.vqvae, samples, fractions[prior.level]) for prior in definition.priors]
    paces = Measured() if measured is None else measured
    levels: list[LevelEstimate] = []
    for level, rows in ((one.level, one.batch) for one in plan.levels):
        prior, layout = definition.priors[level], lay_chunks(plans[level], chunks_at(chunks, level))
        shape = (prior.patterns, prior.n_ctx, prior.prior_width, prior.heads, prior.m_attn, prior.m_mlp)
        key = (*shape, rows, placement)
        if key not in paces.steps:  # the upsamplers have the same shape
            params = SamplingParams(definition.sampling.temperature[level])
            paces.steps[key] = measure_pace(prior, definition.vqvae, rows, placement, params)
        prefix = prior.positions - prior.n_ctx
        levels.append(_level(plans[level], layout, items, rows, paces.steps[key], prefix))
    if definition.vqvae not in paces.decoding:
        paces.decoding[definition.vqvae] = measure_decoding(definition.vqvae, placement.device)
    decoding = paces.decoding[definition.vqvae] * samples / definition.vqvae.sr * items
    return SongEstimate(plan, tuple(levels), decoding, sizes)


def read_positions(plan: LevelPlan, prefix: int) -> int:
    """Return how many positions are read, not sampled, at the start of all windows together; prefix: of the lyrics."""
    return sum(prefix + begin - start for start, begin, _ in plan.windows(0))


def _level(plan: LevelPlan, layout: ChunkLayout, items: int, batch: int, pace: Pace, prefix: int) -> LevelEstimate:
    windows = layout.plan(plan)
    row_seconds = windows.total * pace.step + read_positions(windows, prefix) * pace.position
    seconds = math.ceil(items * len(layout.starts) / batch) * row_seconds
    return LevelEstimate(plan.level, plan.total * items, batch, pace.step * 1000, seconds)
