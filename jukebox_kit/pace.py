"""How long a token takes on this machine, measured on parts with the released widths but few layers and no weights.

What a layer costs depends on its attention pattern alone. So a part is built with a few layers of each pattern that it
has; stacks of them are stepped by the loop that samples songs, and the cost of each pattern, and of what is done once
a token, is solved for. A part that is small is built and stepped whole.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from jukebox_kit.codes import UNMADE
from jukebox_kit.model.configuration import Pattern, PriorConfig, VQVAEConfig
from jukebox_kit.model.decoding import CachedDecoder
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.model.vqvae import VQVAE
from jukebox_kit.models import place
from jukebox_kit.sampling import Choice, Noise, sample_positions
from jukebox_kit.threads import threads_for

META = torch.device("meta")
WHOLE = 2**24  # weights up to which a part is stepped whole: no more than a few layers of a large one
EXTRA = 2  # layers that a pattern is given more, to see what one costs
BUDGET = 0.25  # seconds that a stack is stepped
GROUPS = 8  # into which those are parted, for the median
LONGEST = 16  # tokens of a group; the device is waited for at the end of each
DECODINGS = 3  # of half a second of audio, for the median
FEW = 32  # positions that a large part reads at once on the CPU, where more would take long


@dataclass(frozen=True)
class Pace:
    """Seconds a step, which makes a token of each of the items at once; and a position that a window begins with."""

    step: float
    position: float


def measure_pace(
    config: PriorConfig, vqvae: VQVAEConfig, items: int, device: torch.device, dtype: torch.dtype, choice: Choice
) -> Pace:
    """Return how fast a part samples so many items at once, as measured in a second or three.

    The maps are in `dtype`. Nothing of the part's files is needed.
    """
    whole, prior = _built(config, vqvae, device, dtype)
    stacks = _stacks(prior.config.patterns, whole)
    kinds = sorted(set(prior.config.patterns))
    length = config.n_ctx // 2
    if not whole and device.type == "cpu":
        length = min(length, FEW)
    with threads_for(config), torch.no_grad():
        given = _conditioning(prior, items, device)
        extra = _noise_seconds(prior, items, device)
        _timed(prior, given, stacks[0], choice, 1)  # what is done once only, such as choosing kernels
        times = np.array([_timed(prior, given, stack, choice, length) for stack in stacks])
    counts = np.array([_counts([prior.config.patterns[i] for i in stack], kinds) for stack in stacks], float)
    costs = np.linalg.lstsq(counts, times, rcond=None)[0]
    step, position = np.maximum(np.array(_counts(config.patterns, kinds)) @ costs, times.max(0))
    return Pace(float(step) + extra, float(position))


def measure_decoding(config: VQVAEConfig, device: torch.device) -> float:
    """Return the seconds that a second of audio takes to be decoded once from the codes of each level."""
    with META:
        vqvae = VQVAE(config)
    place(vqvae, META, torch.float32)
    vqvae.to_empty(device=device)
    for value in [*vqvae.parameters(), *vqvae.buffers()]:
        value.data.fill_(0.01)
    top = config.hops[-1]
    samples = max(1, round(config.sr / 2 / top)) * top
    total = 0.0
    for level, hop in enumerate(config.hops):
        codes = torch.zeros(1, samples // hop, dtype=torch.long, device=device)
        times: list[float] = []
        for _ in range(DECODINGS):
            started = _now(device)
            vqvae.decode(codes, level)
            times.append(_now(device) - started)
        total += statistics.median(times)
    return total * config.sr / samples


def _built(config: PriorConfig, vqvae: VQVAEConfig, device: torch.device, dtype: torch.dtype) -> tuple[bool, Prior]:
    """Return whether a part is small enough to be there whole, and it, or one with 1 + EXTRA layers of each pattern.

    Its transformer alone is on the device; conditioners and lyric encoder stay without memory.
    """
    with META:
        prior = Prior(config, vqvae)
        whole = sum(value.numel() for value in prior.prior.transformer.parameters()) <= WHOLE
        if not whole:
            names = tuple(pattern.name.lower() for pattern in sorted(set(config.patterns)) for _ in range(1 + EXTRA))
            prior = Prior(replace(config, attn_order=names, prior_depth=len(names)), vqvae)
    place(prior.prior, META, dtype)
    prior.prior.to_empty(device=device)
    for value in prior.prior.parameters():
        value.data.fill_(0.01)  # memory that was never written is read faster
    return whole, prior


def _stacks(patterns: tuple[Pattern, ...], whole: bool) -> list[list[int]]:
    """Return which layers to step: all of them, or one of each pattern, and that with EXTRA more of one pattern."""
    if whole:
        return [list(range(len(patterns)))]
    one = list(range(0, len(patterns), 1 + EXTRA))
    return [one, *([*one, *range(first + 1, first + 1 + EXTRA)] for first in one)]


def _counts(patterns: tuple[Pattern, ...] | list[Pattern], kinds: list[Pattern]) -> list[int]:
    return [1, *(list(patterns).count(kind) for kind in kinds)]


def _conditioning(prior: Prior, items: int, device: torch.device) -> Conditioning:
    shape, config = prior.prior.transformer.shape, prior.config
    lyrics = torch.full((items, config.n_tokens, shape.width), 0.01, device=device) if config.has_encoder else None
    return Conditioning(
        torch.full((items, shape.positions, shape.width), 0.01, device=device),
        torch.full((items, 1, shape.width), 0.01, device=device),
        torch.zeros(items, 0, dtype=torch.long, device=device),
        lyrics,
    )


def _timed(prior: Prior, given: Conditioning, stack: list[int], choice: Choice, length: int) -> tuple[float, float]:
    """Return the seconds of a step, the median of several groups, and of each of `length` positions read at once."""
    decoder, device = CachedDecoder(prior, given), given.start.device
    decoder.layers, decoder.caches = [decoder.layers[i] for i in stack], [decoder.caches[i] for i in stack]
    items, n_ctx = len(given.start), prior.config.n_ctx
    noise = Noise(0, prior.config.level, torch.arange(items, device=device), prior.bins)
    noise.at(0)
    codes = torch.full((items, n_ctx), UNMADE, device=device)
    codes[:, :length] = 0
    started = _now(device)
    decoder.prefill(codes[:, :length])
    position = (_now(device) - started) / max(1, length)
    times: list[float] = []
    group, at, until = 1, length, time.perf_counter() + BUDGET
    while at + group <= n_ctx and (len(times) < 3 or time.perf_counter() < until):
        started = _now(device)
        sample_positions(decoder, choice, noise, codes, range(at, at + group))
        times.append((_now(device) - started) / group)
        at += group
        if len(times) == 2:  # the first one warms up, the second one tells how many fit
            group = max(1, min(LONGEST, round(BUDGET / GROUPS / times[1])))
    return statistics.median(times[2:] or times), position


def _noise_seconds(prior: Prior, items: int, device: torch.device) -> float:
    """Return the seconds that a step's noise takes; it is made for many steps at once."""
    rows = torch.arange(items, device=device)
    Noise(0, prior.config.level, rows, prior.bins).at(0)
    started, noise = _now(device), Noise(0, prior.config.level, rows, prior.bins)
    noise.at(0)
    return (_now(device) - started) / noise.values.shape[1]


def _now(device: torch.device) -> float:
    """Return the time in seconds once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
