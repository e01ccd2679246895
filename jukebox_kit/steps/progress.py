"""The settings of a run, its progress, and the speed and time left derived from it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jukebox_kit._files import shown_path
from jukebox_kit._values import checked
from jukebox_kit.errors import RequestError, StoppedError
from jukebox_kit.song import OPTIONS

SPEED_SECONDS = 20.0  # over which the speed is measured: longer than a save takes


class Speed:
    """Measures the speed of sampling, one level at a time."""

    def __init__(self) -> None:
        self.level = -1
        self.seen: deque[tuple[float, int]] = deque()
        self.total = 0

    def note(self, progress: Progress, now: float | None = None) -> None:
        """Record the progress of a level; now: seconds of `time.monotonic`."""
        moment = time.monotonic() if now is None else now
        if progress.level != self.level or (self.seen and progress.done < self.seen[-1][1]):
            self.level = progress.level
            self.seen.clear()
        self.total = progress.total
        self.seen.append((moment, progress.done))
        while len(self.seen) > 2 and self.seen[0][0] < moment - SPEED_SECONDS:
            self.seen.popleft()

    @property
    def rate(self) -> float | None:
        """Recent speed in tokens per second, None until it can be measured."""
        if len(self.seen) < 2:
            return None
        (first, before), (last, done) = self.seen[0], self.seen[-1]
        return (done - before) / (last - first) if last > first and done > before else None

    @property
    def left(self) -> float | None:
        """Seconds until the level is finished at this speed, None until it can be measured."""
        rate = self.rate
        return None if rate is None else (self.total - self.seen[-1][1]) / rate

    def summary(self, wall: float | None = None) -> str:
        """Return speed, time left and time of day of the end as text; wall: seconds of `time.time`."""
        rate, left = self.rate, self.left
        if rate is None or left is None:
            return "measuring the speed …"
        end = time.localtime((time.time() if wall is None else wall) + left)
        clock = time.strftime("%H:%M" if left < 72000 else "%a %H:%M", end)
        return f"{rate:,.0f} tokens/s, {duration(left)} left, done at {clock}"


def duration(seconds: float) -> str:
    """Return a duration as text: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(frozen=True)
class Progress:
    """How far a level is, in tokens of all items together.

    sampled_before: how many existed before this run.
    """

    level: int
    done: int
    total: int
    sampled_before: int = 0


AUTO = "auto"


@dataclass(frozen=True)
class RunSettings:
    """How and where a song is sampled; none of it is part of the request.

    device: "cpu" or "cuda", None for the GPU if there is one.
    precision: float32, float16 or int8 weights, or "auto": as the song was started, otherwise what fits in memory.
    engine: one of `engine.ENGINES`.
    batch_size: items, or chunks of items, sampled together at most; fewer if memory is short.
    save_every: seconds of work between two saves, 0 to save at every token.
    preview_every: seconds of work between two updates of the audio.
    progress: called a few times a second.
    stop: called at every token; once it returns True, everything is saved and StoppedError is raised.

    Where a function is also passed a loaded model, the model's own device, precision and engine are used.
    RequestError for a field of another type, for numbers that make no sense and for a device that is not supported;
    whether this machine has the device, precision and engine is checked when a model is loaded.
    """

    device: str | None = None
    precision: str = AUTO
    engine: str = "fast"
    batch_size: int = 16
    save_every: float = 30.0
    preview_every: float = 120.0
    progress: Callable[[Progress], None] | None = None
    stop: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if self.device is not None:
            from jukebox_kit.engine import supported_device  # imports torch

            object.__setattr__(self, "device", str(supported_device(self.device)))
        for name, kind in {"precision": str, "engine": str, **OPTIONS}.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))
        for name in ("progress", "stop"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise RequestError(f"{name} must be a function or None, not {getattr(self, name)!r}.", field=name)
        for name in ("save_every", "preview_every"):
            if getattr(self, name) < 0:
                raise RequestError(f"{name} must be 0 or more seconds, not {getattr(self, name):g}.", field=name)
        if self.batch_size < 1:
            raise RequestError(f"batch_size must be at least 1, not {self.batch_size}.", field="batch_size")


def check_stop(root: Path, run: RunSettings) -> None:
    """Raise StoppedError if the user asked to stop."""
    if run.stop is not None and run.stop():
        raise StoppedError(f"{shown_path(root)} was stopped. Everything is saved; resume to continue.")
