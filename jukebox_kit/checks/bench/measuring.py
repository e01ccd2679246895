"""Timing: contenders take turns, round by round, so that background load slows all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Protocol

import torch

from jukebox_kit.checks.bench.hardware import now
from jukebox_kit.checks.bench.shapes import conditioning
from jukebox_kit.engine import UNSAMPLED, Placement, Rows, SamplingParams, make_loop
from jukebox_kit.model import Prior

LEAD = 2  # steps of each turn before the clock starts: the CPU's caches still contain the previous contender's data


class Contender(Protocol):
    """Something that samples tokens, or does some of the work of sampling."""

    def begin(self, songs: int, at: int) -> None:
        """Move to a position of a window, for a batch of this size."""
        ...

    def run(self, steps: int) -> float:
        """Return the seconds that the next steps take; each samples one token of every item."""
        ...


def interleaved(contenders: Sequence[Contender], rounds: int, steps: int) -> list[float]:
    """Return each contender's median seconds per step, over rounds in which each runs `steps` steps in turn."""
    times = [list[float]() for _ in contenders]
    for _ in range(rounds):
        for contender, own in zip(contenders, times, strict=True):
            contender.run(LEAD)
            own.append(contender.run(steps) / steps)
    return [statistics.median(own) for own in times]


def steps_taken(rounds: int, steps: int) -> int:
    """Return how many positions `interleaved` and one warm-up turn advance."""
    return (rounds + 1) * (LEAD + steps)


class Ours:
    """The loop that samples songs: decoding, noise, choice. `prefill_seconds`: the time of the last prefill."""

    def __init__(self, prior: Prior, placement: Placement, choice: SamplingParams) -> None:
        self.prior, self.placement, self.choice = prior, placement, choice

    def begin(self, songs: int, at: int) -> None:
        """See Contender. The window is prefilled with random codes."""
        prior, device = self.prior, self.placement.device
        self.loop = make_loop(prior, Rows.of(torch.arange(songs, device=device)), 0, self.choice, self.placement)
        codes = torch.randint(prior.bins, (songs, at), generator=torch.Generator().manual_seed(0)).to(device)
        given = conditioning(prior, songs, device)
        started = now(device)
        self.loop.decoder.prefill(given, codes)
        self.prefill_seconds = now(device) - started
        self.loop.codes.fill_(UNSAMPLED)
        self.loop.position.fill_(at)
        self.noise_left = 0

    def run(self, steps: int) -> float:
        """See Contender. Noise is computed for many steps in one call; each step is charged its share."""
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
