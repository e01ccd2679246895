"""What a song takes of a device's memory, planned before anything is loaded: weights, items at once, what stays loaded.

The kind of weights is one for the whole song, since tokens depend on it. The bytes are those of `footprint`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from jukebox_kit.definitions import PARTS, ModelDefinition, load_definition, shipped_models
from jukebox_kit.errors import RequestError
from jukebox_kit.footprint import LevelBytes, free_memory, level_bytes, weights_bytes
from jukebox_kit.model.packed import can_pack
from jukebox_kit.pieces import lay_pieces
from jukebox_kit.placement import WEIGHTS, Placement
from jukebox_kit.windows import plan_level

BUCKETS = (1, 2, 4, 8, 16)  # items at once
TOGETHER = ((0, 1, 2), (0, 1))  # levels that stay loaded beside each other where there is room, the best first
SPARE = {"cuda": 2**28, "cpu": 2**28}  # bytes left free: what an allocator cannot use, code that is loaded meanwhile
GIB = 2**30


@dataclass(frozen=True)
class LevelMemory:
    """A level's items at once, and the bytes that the device then holds at its peak, all that is loaded included."""

    level: int
    batch: int
    peak: int


@dataclass(frozen=True)
class MemoryPlan:
    """How a song is made in the memory that is free.

    weights: what maps are kept as; levels: level 2 first, empty where the song does not fit; together: levels whose
    priors stay loaded beside each other, so that going on from level to level or song to song loads nothing again;
    free: bytes; reason: where it does not fit, a sentence that says what would.
    """

    weights: str
    levels: tuple[LevelMemory, ...]
    together: tuple[int, ...]
    free: int
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is memory for one item at least, at every level."""
        return not self.reason

    def batch(self, level: int) -> int:
        """Return a level's items at once; 1 where nothing fits, which is the least to try."""
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
    levels: tuple[int, ...] = (2, 1, 0),
    hop_fraction: tuple[float, ...] | None = None,
    pieces: tuple[int, int] = (1, 1),
) -> MemoryPlan:
    """Return how the levels of a song of `seconds` and `items` are made in the memory of a device.

    free: bytes, by default what `free_memory` says, which must be before anything of the model is loaded. weights: by
    default the first of the device's kinds that fits: on a GPU float16, then int8; on the CPU float32, float16, int8.
    batch: items at once at most, by default as many as fit of 16. pieces: as in `Request`; each counts as an item.
    Raises RequestError for a length or number that cannot be.
    """
    samples = song_samples(definition, seconds)
    if items < 1 or (batch is not None and batch < 1):
        raise RequestError(f"items and batch must be at least 1, not {items if items < 1 else batch}.")
    there = free_memory(device) if free is None else free
    fractions = hop_fraction or definition.sampling.hop_fraction
    plans = {n: plan_level(definition.priors[n], definition.vqvae, samples, fractions[n]) for n in levels}
    rows = {n: items * len(lay_pieces(plan, (*pieces, 1)[n]).starts) for n, plan in plans.items()}
    most = {n: min(count, batch or BUCKETS[-1]) for n, count in rows.items()}
    smallest: list[tuple[int, int, str]] = []
    for kind in (weights,) if weights else kinds(device, engine):
        placement = Placement(device, kind, engine)
        each = {level: level_bytes(definition, placement, plans[level], items) for level in levels}
        found = _fitted(definition, placement, each, most, there - SPARE[device.type])
        if found is not None:
            return MemoryPlan(kind, found[0], found[1], there)
        smallest.append(max((each[level].peak(1), level, kind) for level in levels))
    reason = _reason(definition, smallest, device, there, weights)
    return MemoryPlan(smallest[-1][2], (), (), there, reason)


def kinds(device: torch.device, engine: str = "fast") -> tuple[str, ...]:
    """Return the kinds of weights that a device computes with, the one to take first where it fits first."""
    if device.type != "cpu":
        return WEIGHTS[1:]
    return tuple(kind for kind in WEIGHTS if kind == "float32" or engine != "fast" or can_pack(kind))


def song_samples(definition: ModelDefinition, seconds: float) -> int:
    """Return a song's length in samples, whole tokens of the top level; RequestError where it is less than one."""
    hop, sr = definition.vqvae.hops[-1], definition.vqvae.sr
    samples = int(seconds * sr) // hop * hop if math.isfinite(seconds) else 0
    if samples <= 0:
        raise RequestError(f"seconds must be at least {hop / sr:.3f}, one token, not {seconds:g}; 8 is a good start.")
    return samples


def _fitted(
    definition: ModelDefinition, placement: Placement, each: dict[int, LevelBytes], most: dict[int, int], room: int
) -> tuple[tuple[LevelMemory, ...], tuple[int, ...]] | None:
    """Return the levels with as many items at once as fit, and which stay loaded; None where a level does not fit."""
    batches: dict[int, int] = {}
    for level, taken in each.items():
        counts = sorted({min(bucket, most[level]) for bucket in BUCKETS})
        fitting = [count for count in counts if taken.peak(count) <= room]
        if not fitting:
            return None
        batches[level] = fitting[-1]
    priors = {level: weights_bytes(definition, PARTS[level + 1], placement) for level in range(len(definition.priors))}
    for together in (*TOGETHER, ()):
        beside = {n: sum(priors[other] for other in together if other != n and n in together) for n in each}
        peaks = {level: taken.peak(batches[level]) + beside[level] for level, taken in each.items()}
        if max(peaks.values()) <= room:
            return tuple(LevelMemory(level, batches[level], peaks[level]) for level in each), together
    return None


def _reason(
    definition: ModelDefinition,
    needed: list[tuple[int, int, str]],
    device: torch.device,
    free: int,
    weights: str | None,
) -> str:
    """Return why a song does not fit, and what would; `needed`: bytes, level and kind of weights of what was tried."""
    least, level, kind = min(needed)
    place = "this machine" if device.type == "cpu" else "this GPU"
    spare = SPARE[device.type]
    said = (
        f"level {level} of {definition.name} takes {(least + spare) / GIB:.1f} GiB for one item with {kind} weights, "
        f"and {place} has {free / GIB:.1f} GiB free"
    )
    return f"{said}; free some, {_other(definition, device, free, weights)}."


def _other(definition: ModelDefinition, device: torch.device, free: int, weights: str | None) -> str:
    """Return what else would fit: other weights of this model, or another model that ships."""
    least = definition.seconds_range[0]
    if weights and plan_memory(definition, least, 1, device, free).fits:
        kind = plan_memory(definition, least, 1, device, free).weights
        return f"or choose --weights {kind}"
    for name in shipped_models():
        other = load_definition(name)
        found = plan_memory(other, other.seconds_range[0], 1, device, free, weights)
        if other.name != definition.name and found.fits:
            return f"or choose the model {name}"
    return "or use a larger machine"
