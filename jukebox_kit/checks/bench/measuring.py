"""Timing: contenders take turns, round by round, so that whatever else keeps the machine busy slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Protocol

import torch

from jukebox_kit.checks.bench.hardware import now
from jukebox_kit.checks.bench.shapes import conditioning
from jukebox_kit.engine import UNMADE, Placement, Rows, SamplingParams, make_loop
from jukebox_kit.model import Prior

LEAD = 2  # steps of each turn before the clock starts: the caches hold the one's before


class Contender(Protocol):
    """Whatever makes tokens, or does a part of the work for them."""

    def begin(self, songs: int, at: int) -> None:
        """Move to a position of a window, for a batch of this size."""
        ...

    def run(self, steps: int) -> float:
        """Return the seconds that the next steps take, each of which makes a token of each item."""
        ...


def interleaved(contenders: Sequence[Contender], rounds: int, steps: int) -> list[float]:
    """Return the median seconds a step of each contender, over rounds in which each takes its turn of so many steps."""
    times = [list[float]() for _ in contenders]
    for _ in range(rounds):
        for contender, own in zip(contenders, times, strict=True):
            contender.run(LEAD)
            own.append(contender.run(steps) / steps)
    return [statistics.median(own) for own in times]


def steps_taken(rounds: int, steps: int) -> int:
    """Return how far `interleaved` and one turn to warm up go from the position that they begin at."""
    return (rounds + 1) * (LEAD + steps)


class Ours:
    """The loop that samples songs: decoding, noise, choice. `prefill_seconds`: what its window's beginning took."""

    def __init__(self, prior: Prior, placement: Placement, choice: SamplingParams) -> None:
        self.prior, self.placement, self.choice = prior, placement, choice

    def begin(self, songs: int, at: int) -> None:
        """See Contender. What stands before is random codes, read as the beginning of any window is."""
        prior, device = self.prior, self.placement.device
        self.loop = make_loop(prior, Rows.of(torch.arange(songs, device=device)), 0, self.choice, self.placement)
        codes = torch.randint(prior.bins, (songs, at), generator=torch.Generator().manual_seed(0)).to(device)
        given = conditioning(prior, songs, device)
        started = now(device)
        self.loop.decoder.prefill(given, codes)
        self.prefill_seconds = now(device) - started
        self.loop.codes.fill_(UNMADE)
        self.loop.position.fill_(at)
        self.noise_left = 0

    def run(self, steps: int) -> float:
        """See Contender. Noise is made for many steps at once; each step is charged its share."""
        device, seconds = self.placement.device, 0.0
        while steps:
            if not self.noise_left:
                started = now(device)
                self.noise_left = self.loop.noise.begin(int(self.loop.position))
                self.noise_seconds = (now(device) - started) / self.noise_left
            count = min(steps, self.noise_left)
            started = now(device)
            for _ in range(count):
                self.loop.advance()
            seconds += now(device) - started + count * self.noise_seconds
            steps, self.noise_left = steps - count, self.noise_left - count
        return seconds
