"""Plans the memory of a song before anything is loaded: precision, batch sizes, and which levels stay loaded.

The precision is the same for the whole song, since tokens depend on it. `engine.memory` counts the bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from jukebox_kit._values import checked
from jukebox_kit.engine import (
    WEIGHTS,
    LevelBytes,
    LevelPlan,
    Placement,
    can_pack,
    free_memory,
    level_bytes,
    plan_level,
    supported_device,
    weights_bytes,
)
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.model.weights import PARTS, ModelDefinition, load_definition, shipped_models
from jukebox_kit.song import chunks_at, lay_chunks

BUCKETS = (1, 2, 4, 8, 16)  # batch sizes

RESIDENT_LEVELS = ((0, 1, 2), (0, 1), ())  # levels whose priors stay loaded if there is room, the best choice first

# Bytes left free. On a CPU for freed memory that glibc keeps: up to 344 MiB were measured beyond the plan. On a GPU for
# memory that the allocator cannot use and for the code of the kernels; not measured yet.
SPARE = {"cpu": 3 * 2**27, "cuda": 2**28}

GIB = 2**30


@dataclass(frozen=True)
class LevelMemory:
    """A level's batch size, and the peak number of bytes on the device, including everything that is loaded."""

    level: int
    batch: int
    peak: int


@dataclass(frozen=True)
class MemoryPlan:
    """How a song is sampled in the free memory.

    weights: the precision.
    levels: level 2 first, empty if the song does not fit.
    resident_levels: levels whose priors stay loaded, so that the next level or song need not load them again.
    free: bytes.
    reason: if the song does not fit, a sentence on why and on what would.
    """

    weights: str
    levels: tuple[LevelMemory, ...]
    resident_levels: tuple[int, ...]
    free: int
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is memory for at least one item at every level."""
        return not self.reason

    def batch(self, level: int) -> int:
        """Return a level's batch size; 1 if nothing fits, the least that can be tried."""
        return next((one.batch for one in self.levels if one.level == level), 1)


def plan_memory(
    definition: ModelDefinition,
    seconds: float,
    items: int,
    device: torch.device,
    free: int | None = None,
    weights: str | None = None,
    batch: int | None = None,
    *,
    engine: str = "fast",
    levels: tuple[int, ...] = DOWNWARD,
    hop_fraction: tuple[float, ...] | None = None,
    chunks: tuple[int, int] = (1, 1),
) -> MemoryPlan:
    """Return how a song of `seconds` and `items` is sampled in the memory of a device.

    free: bytes, by default `free_memory` of the device, before any component is loaded. weights: the precision, by
    default the first that fits: on a GPU of float16, int8; on the CPU of float32, float16, int8. batch: maximum batch
    size, by default up to 16 if they fit. levels: those to be sampled. chunks: as in `Request`; each counts as an item.
    RequestError for a length or number that is not possible, and for a device that is not supported.
    """
    items, batch = checked("items", items, int), checked("batch", batch, int | None)
    samples, device = song_samples(definition, checked("seconds", seconds, float)), supported_device(device)
    if items < 1 or (batch is not None and batch < 1):
        raise RequestError(f"items and batch must be at least 1, not {items if items < 1 else batch}.")
    available = free_memory(device) if free is None else free
    work = _Work.of(definition, samples, items, batch or BUCKETS[-1], levels, hop_fraction, chunks)
    tried = (weights,) if weights else precisions(device, engine)
    for precision in tried:
        fitted = work.fitted(Placement(device, precision, engine), available - SPARE[device.type])
        if fitted is not None:
            return MemoryPlan(precision, *fitted, available)
    least = min((*work.least(Placement(device, precision, engine)), precision) for precision in tried)
    return MemoryPlan(tried[-1], (), (), available, _reason(definition, least, device, available, weights))


def precisions(device: torch.device, engine: str = "fast") -> tuple[str, ...]:
    """Return the precisions that a device supports, the preferred one first."""
    if device.type != "cpu":
        return WEIGHTS[1:2] if engine == "jukebox" else WEIGHTS[1:]
    return tuple(name for name in WEIGHTS if name == "float32" or engine != "fast" or can_pack(name))


def song_samples(definition: ModelDefinition, seconds: float) -> int:
    """Return a song's length in samples, whole tokens of the top level; RequestError if it is shorter than one."""
    hop, sr = definition.vqvae.hops[-1], definition.vqvae.sr
    samples = int(seconds * sr) // hop * hop if math.isfinite(seconds) else 0
    if samples <= 0:
        raise RequestError(f"{seconds:g} seconds are less than one token; seconds must be at least {hop / sr:.3f}.")
    return samples


@dataclass(frozen=True)
class _Work:
    """The levels to sample, and for each the maximum batch size in items or chunks."""

    definition: ModelDefinition
    plans: dict[int, LevelPlan]
    items: int
    most: dict[int, int]

    @classmethod
    def of(
        cls,
        definition: ModelDefinition,
        samples: int,
        items: int,
        most: int,
        levels: tuple[int, ...],
        hop_fraction: tuple[float, ...] | None,
        chunks: tuple[int, int],
    ) -> _Work:
        """Return the work of a song. most: the maximum batch size."""
        fractions, vqvae = hop_fraction or definition.sampling.hop_fraction, definition.vqvae
        plans = {level: plan_level(definition.priors[level], vqvae, samples, fractions[level]) for level in levels}
        rows = {n: items * len(lay_chunks(plan, chunks_at(chunks, n)).starts) for n, plan in plans.items()}
        return cls(definition, plans, items, {n: min(count, most) for n, count in rows.items()})

    def level_bytes(self, placement: Placement) -> dict[int, LevelBytes]:
        """Return the memory that each level needs."""
        return {n: level_bytes(self.definition, placement, plan, self.items) for n, plan in self.plans.items()}

    def least(self, placement: Placement) -> tuple[int, int]:
        """Return the bytes that batch size 1 needs, and the level that needs them."""
        return max((taken.peak(1), level) for level, taken in self.level_bytes(placement).items())

    def fitted(self, placement: Placement, room: int) -> tuple[tuple[LevelMemory, ...], tuple[int, ...]] | None:
        """Return the levels with the largest batch sizes that fit, and those kept loaded; None if one does not fit."""
        each = self.level_bytes(placement)
        counts = {level: {min(bucket, most) for bucket in BUCKETS} for level, most in self.most.items()}
        batches = {n: max((c for c in counts[n] if taken.peak(c) <= room), default=0) for n, taken in each.items()}
        if not all(batches.values()):
            return None
        priors = {n: weights_bytes(self.definition, PARTS[n + 1], placement) for n in RESIDENT_LEVELS[0]}
        alone = {level: taken.peak(batches[level]) for level, taken in each.items()}
        for resident in RESIDENT_LEVELS:
            beside = {n: sum(priors[other] for other in set(resident) - {n}) if n in resident else 0 for n in each}
            peaks = {level: alone[level] + beside[level] for level in each}
            if max(peaks.values()) <= room:
                break
        return tuple(LevelMemory(level, batches[level], peaks[level]) for level in each), resident


def _reason(
    definition: ModelDefinition, least: tuple[int, int, str], device: torch.device, free: int, weights: str | None
) -> str:
    """Return why a song does not fit and what would. least: bytes, level and precision of what needs least."""
    needed, level, precision = least
    place = "this machine" if device.type == "cpu" else "this GPU"
    others = [(definition, f"--precision {name}") for name in precisions(device) if weights not in (None, name)]
    others += [(load_definition(name), f"the model {name}") for name in shipped_models() if name != definition.name]
    for other, choice in others:
        work = _Work.of(other, song_samples(other, other.seconds_range[0]), 1, 1, LEVELS, None, (1, 1))
        tried = (choice.removeprefix("--precision "),) if other is definition else precisions(device)
        if any(work.fitted(Placement(device, each), free - SPARE[device.type]) for each in tried):
            advice = f"or choose {choice}"
            break
    else:
        advice = "or use a larger machine"
    return (
        f"level {level} of {definition.name} needs {(needed + SPARE[device.type]) / GIB:.1f} GiB for one item with "
        f"{precision} weights, but {place} has {free / GIB:.1f} GiB free; free some, {advice}."
    )
