"""Measures how long a token takes on this machine, with priors of full width but few layers, and without weights.

A large prior is built with a few layers, its attention patterns in the same proportions. Two stacks of these layers, a
low and a high one, are stepped alternately by the loop that samples songs, and a straight line through the two gives
the time of all layers. A small prior is built and stepped whole. Alternating exposes both to the same background load.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace

import torch

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.loop import Rows
from jukebox_kit.engine.model import place, repack
from jukebox_kit.engine.placement import Placement, threads_for
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.model import VQVAE, Conditioning, Pattern, Prior, PriorConfig, VQVAEConfig
from jukebox_kit.model.weights import without_weights

META = torch.device("meta")

WHOLE = 2**24  # weights up to which a prior is stepped whole: about as many as a few layers of a large one

LOWER, HIGHER = 3, 9  # layers of the two stacks

BUDGET = 0.8  # seconds of stepping

ROUNDS = 9  # that the budget is divided into, for the median

LONGEST = 16  # the most steps of a stack per round; each round ends by waiting for the device

READINGS = 3  # of the prefill, for the median

FEW = 32  # positions that a large prior prefills on the CPU, where more would take too long


@dataclass(frozen=True)
class Pace:
    """Seconds per step, which samples one token of each item of the batch, and per position of a prefill."""

    step: float
    position: float


def measure_pace(
    config: PriorConfig, vqvae: VQVAEConfig, items: int, placement: Placement, choice: SamplingParams
) -> Pace:
    """Return how fast a prior samples a batch of `items`, measured in one to three seconds, without its file."""
    device = placement.device
    prior = _built(config, vqvae, placement)
    depth = prior.config.prior_depth
    stacks = (depth,) if depth == config.prior_depth else (LOWER, HIGHER)
    few = len(stacks) > 1 and device.type == "cpu"
    length = min(config.n_ctx // 2, FEW) if few else config.n_ctx // 2
    with threads_for(config), torch.no_grad():
        runner = _Runner(prior, items, placement, choice, stacks)
        readings = [[runner.read(layers, length) for layers in stacks] for _ in range(READINGS)]
        warm = sum(runner.step(layers, 1) for layers in stacks for _ in range(2)) / 2
        group = max(1, min(LONGEST, config.n_ctx, round(BUDGET / ROUNDS / warm)))
        rounds = [[runner.step(layers, group) for layers in stacks] for _ in range(ROUNDS)]
        noise = runner.noise_seconds()
    position = statistics.median(_at_depth(seconds, config.prior_depth) for seconds in readings)
    return Pace(statistics.median(_at_depth(seconds, config.prior_depth) for seconds in rounds) + noise, position)


def measure_decoding(config: VQVAEConfig, device: torch.device) -> float:
    """Return the seconds it takes to decode a second of audio once from the codes of each level."""
    with without_weights():
        vqvae = VQVAE(config)
    vqvae.to_empty(device=device)
    for value in [*vqvae.parameters(), *vqvae.buffers()]:
        value.data.fill_(0.01)
    top = config.hops[-1]
    samples = max(1, round(config.sr / top)) * top
    total = 0.0
    for level, hop in enumerate(config.hops):
        codes = torch.zeros(1, samples // hop, dtype=torch.long, device=device)
        times: list[float] = []
        for _ in range(READINGS):
            started = _now(device)
            vqvae.decode(codes, level)
            times.append(_now(device) - started)
        total += min(times)  # background load slows a stretch this short far more than a song
    return total * config.sr / samples


def _built(config: PriorConfig, vqvae: VQVAEConfig, placement: Placement) -> Prior:
    """Return a small prior whole, a large one with HIGHER layers, of which the first LOWER have the same proportions.

    Only its transformer is on the device; conditioners and lyric encoder stay on the meta device.
    """
    with without_weights():
        prior = Prior(config, vqvae)
        if (
            sum(value.numel() for value in prior.prior.transformer.parameters()) > WHOLE
            and len(config.patterns) > HIGHER
        ):
            names = tuple(pattern.name.lower() for pattern in mixed(config.patterns))
            prior = Prior(replace(config, attn_order=names, prior_depth=len(names)), vqvae)
    place(prior.prior, META, placement.dtype)
    prior.prior.to_empty(device=placement.device)
    for value in prior.prior.parameters():
        value.data.fill_(0.01)  # reading memory that was never written is faster
    repack(prior.prior, placement)
    return prior


def mixed(patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """Return HIGHER patterns in the proportions of all, as are the first LOWER; the rarest may be left out."""
    ordered = sorted(patterns)
    evenly = [ordered[(2 * i + 1) * len(ordered) // (2 * HIGHER)] for i in range(HIGHER)]
    share = HIGHER // LOWER
    first = evenly[share // 2 :: share]
    rest = [pattern for i, pattern in enumerate(evenly) if i % share != share // 2]
    return (*first, *rest)


def _at_depth(seconds: list[float], depth: int) -> float:
    """Return the seconds of all layers from those of one complete stack, or of the low and the high stack."""
    if len(seconds) == 1:
        return seconds[0]
    lower, higher = seconds
    return higher + max(0.0, higher - lower) / (HIGHER - LOWER) * (depth - HIGHER)


class _Runner:
    """Steps stacks of a prior's first layers with the loops that sample songs."""

    def __init__(
        self, prior: Prior, items: int, placement: Placement, choice: SamplingParams, stacks: tuple[int, ...]
    ) -> None:
        shape, config, device = prior.prior.transformer.shape, prior.config, placement.device
        lyrics = torch.full((items, config.n_tokens, shape.width), 0.01, device=device) if config.has_encoder else None
        self.given = Conditioning(
            torch.full((items, shape.positions, shape.width), 0.01, device=device),
            torch.full((items, 1, shape.width), 0.01, device=device),
            torch.zeros(items, 0, dtype=torch.long, device=device),
            lyrics,
        )
        if placement.engine in ("plain", "jukebox"):  # without a fixed time per token, or our components
            placement = replace(placement, engine="cached")
        self.device, rows = device, Rows.of(torch.arange(items, device=device))
        self.loops = {layers: make_loop(prior, rows, 0, choice, placement, layers) for layers in stacks}
        for loop in self.loops.values():
            assert isinstance(loop.decoder, CachedDecoder)
            for cache in loop.decoder.caches:
                cache.kv.fill_(0.01)
        self.noise_positions = {layers: loop.noise.begin(0) for layers, loop in self.loops.items()}
        self.codes = torch.zeros(items, config.n_ctx, dtype=torch.long, device=device)
        self.at = dict.fromkeys(stacks, 0)

    def read(self, layers: int, length: int) -> float:
        """Return the seconds per position of prefilling a window with `length` positions."""
        loop = self.loops[layers]
        self.at[layers] = length
        loop.codes.fill_(UNSAMPLED)
        loop.position.fill_(length)
        started = _now(self.device)
        loop.decoder.prefill(self.given, self.codes[:, :length])
        return (_now(self.device) - started) / max(1, length)

    def step(self, layers: int, count: int) -> float:
        """Return the mean seconds of `count` steps; a new window begins if this one ends."""
        if self.at[layers] + count > self.codes.shape[1]:
            self.read(layers, 0)
        loop = self.loops[layers]
        started = _now(self.device)
        for done in range(count):
            if done % self.noise_positions[layers] == 0:  # read the table again instead of filling it again
                loop.noise.index.zero_()
            loop.advance()
        self.at[layers] += count
        return (_now(self.device) - started) / count

    def noise_seconds(self) -> float:
        """Return the seconds that noise takes per step; it is computed for many steps in one call."""
        started = _now(self.device)
        count = next(iter(self.loops.values())).noise.begin(0)
        return (_now(self.device) - started) / count


def _now(device: torch.device) -> float:
    """Return the time in seconds after waiting for the device to finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
