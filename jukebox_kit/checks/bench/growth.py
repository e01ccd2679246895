"""Shows whether cost grows within a window, or time and memory per second with the length of a song."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from jukebox_kit.checks.bench.hardware import Memory, now
from jukebox_kit.checks.bench.measuring import LEAD, Ours, interleaved
from jukebox_kit.checks.bench.report import MIB, table
from jukebox_kit.checks.bench.run import CHOICE
from jukebox_kit.checks.bench.shapes import Subject, build
from jukebox_kit.engine import UNSAMPLED, LevelJob, Model, Placement, plan_level, sample_level, threads_for
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD, Labels

TURN = 25  # steps

FACTORS = (1, 2, 4, 8)


@dataclass(frozen=True)
class WindowEnds:
    """Milliseconds per step over the first and over the last `tokens` of one window."""

    part: str
    tokens: int
    first_ms: float
    last_ms: float

    @property
    def ratio(self) -> float:
        """Last over first."""
        return self.last_ms / self.first_ms


@dataclass(frozen=True)
class Length:
    """A song of `song_seconds`: the seconds that its three levels and decoding took.

    memory_bytes: peak memory of this process meanwhile; None if the system does not report it.
    """

    song_seconds: float
    seconds: float
    memory_bytes: int | None

    @property
    def per_second(self) -> float:
        """Seconds of work per second of audio."""
        return self.seconds / self.song_seconds


@dataclass(frozen=True)
class Growth:
    """Both measurements; lengths: the shortest song first."""

    window: WindowEnds
    lengths: tuple[Length, ...]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        longest = self.lengths[-1].per_second / self.lengths[0].per_second
        return {**asdict(self), "window_ratio": self.window.ratio, "length_ratio": longest}

    def as_text(self) -> str:
        """Return everything as text."""
        one, shortest = self.window, self.lengths[0]
        rows = [
            (
                f"{length.song_seconds:g}",
                f"{length.seconds:.2f}",
                f"{length.per_second:.3f}",
                f"{length.per_second / shortest.per_second:.3f}",
                "" if length.memory_bytes is None else f"{length.memory_bytes / MIB:.0f}",
            )
            for length in self.lengths
        ]
        return "\n".join(
            [
                f"{one.part}, one window: the first {one.tokens} tokens {one.first_ms:.3f} ms each, "
                f"the last {one.last_ms:.3f} ms; last over first {one.ratio:.3f}",
                "",
                *table(("song s", "work s", "s per s of audio", "relative to the shortest", "peak MiB"), rows),
            ]
        )


def window_ends(subject: Subject, placement: Placement, tokens: int = 500) -> WindowEnds:
    """Return the time of a step at both ends of a window, measured alternately by two loops over the same weights.

    Raises RequestError if the window has fewer than twice as many tokens.
    """
    turns, n_ctx = max(1, tokens // (TURN + LEAD)), subject.config.n_ctx
    if 2 * tokens > n_ctx:
        raise RequestError(f"{subject.name} has a window of {n_ctx} tokens; choose at most {n_ctx // 2}.")
    with threads_for(subject.config):
        prior = build(subject, placement)
        ends = [Ours(prior, placement, CHOICE) for _ in range(2)]
        for end, at in zip(ends, (0, n_ctx - tokens), strict=True):
            end.begin(1, at)
        first, last = interleaved(ends, turns, TURN)
    return WindowEnds(subject.name, tokens, 1000 * first, 1000 * last)


def lengths(model: Model, shortest: float, say: Callable[[str], None]) -> tuple[Length, ...]:
    """Return what whole songs of one to eight times `shortest` seconds take: three levels, and decoding level 0."""
    _song(model, shortest, lambda _: None)  # loads the model, and compiles what is not cached yet
    return tuple(_song(model, shortest * factor, say) for factor in FACTORS)


def _song(model: Model, seconds: float, say: Callable[[str], None]) -> Length:
    say(f"{model.definition.name}: a song of {seconds:g} s")
    definition, device, memory = model.definition, model.device, Memory(model.device)
    hop, sr = definition.vqvae.hops[-1], definition.vqvae.sr
    samples = int(seconds * sr) // hop * hop
    if not samples:
        raise RequestError(f"seconds must be at least {hop / sr:.3f}, one token, not {seconds:g}.")
    fresh, taken, upper_codes = memory.forget(), 0.0, None
    codes = torch.zeros(1, 0, dtype=torch.long)
    labels = Labels(0, (0,), (), max(samples, int(definition.seconds_range[0] * sr) + 1))
    for level in DOWNWARD:
        prior = model.prior(level)
        plan = plan_level(prior.config, definition.vqvae, samples, definition.sampling.hop_fraction[level])
        job = LevelJob(plan, (0,), (labels,), upper_codes, 0, CHOICE, model.placement)
        codes = torch.full((1, plan.total), UNSAMPLED, device=device)
        with threads_for(prior.config):
            started = now(device)
            sample_level(prior, job, codes)
            taken += now(device) - started
        upper_codes = codes
    vqvae = model.vqvae
    started = now(device)
    vqvae.decode(codes, 0)
    taken += now(device) - started
    return Length(seconds, taken, memory.peak() if fresh else None)
