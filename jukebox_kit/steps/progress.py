"""How fast work goes and when it will be done, from progress as it comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from jukebox_kit.errors import StoppedError
from jukebox_kit.song import Song

MEMORY = 20.0  # seconds of progress that the speed is taken from: longer than a save, shorter than a person's patience


class Speed:
    """The speed of one level at a time."""

    def __init__(self) -> None:
        self.level = -1
        self.seen: deque[tuple[float, int]] = deque()
        self.total = 0

    def note(self, progress: Progress, now: float | None = None) -> None:
        """Take note of where a level is; `now` in seconds of `time.monotonic`."""
        moment = time.monotonic() if now is None else now
        if progress.level != self.level or (self.seen and progress.done < self.seen[-1][1]):
            self.level = progress.level
            self.seen.clear()
        self.total = progress.total
        self.seen.append((moment, progress.done))
        while len(self.seen) > 2 and self.seen[0][0] < moment - MEMORY:
            self.seen.popleft()

    @property
    def rate(self) -> float | None:
        """Tokens a second of late, None where too little is known."""
        if len(self.seen) < 2:
            return None
        (first, before), (last, done) = self.seen[0], self.seen[-1]
        return (done - before) / (last - first) if last > first and done > before else None

    @property
    def left(self) -> float | None:
        """Seconds to the level's end at this speed, None where too little is known."""
        rate = self.rate
        return None if rate is None else (self.total - self.seen[-1][1]) / rate

    def words(self, wall: float | None = None) -> str:
        """Return speed, time left and the clock time of the end for a person; `wall` in seconds of `time.time`."""
        rate, left = self.rate, self.left
        if rate is None or left is None:
            return "measuring the speed …"
        end = time.localtime((time.time() if wall is None else wall) + left)
        clock = time.strftime("%H:%M" if left < 72000 else "%a %H:%M", end)
        return f"{rate:,.0f} tokens/s, {duration(left)} left, done at {clock}"


def duration(seconds: float) -> str:
    """Return a length of time for a person: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(frozen=True)
class Progress:
    """How far a level is, in tokens of all items together; stood: how many there were before this work began."""

    level: int
    done: int
    total: int
    stood: int = 0


@dataclass(frozen=True)
class RunSettings:
    """How the work is done; none of it changes which song comes out.

    save_every: seconds of work that may be lost; preview_every: seconds of work after which the audio so far is written
    anew; batch: items, or chunks of items, sampled at once at most, fewer where memory is small; progress: called a few
    times a second; stop: asked at every token whether to save and raise StoppedError.
    """

    save_every: float = 30.0
    preview_every: float = 120.0
    batch: int = 16
    progress: Callable[[Progress], None] | None = None
    stop: Callable[[], bool] | None = None


def check_stop(song: Song, options: RunSettings) -> None:
    """Raise StoppedError where a person asked for it."""
    if options.stop is not None and options.stop():
        raise StoppedError(f"{song.root} was stopped; all is saved, and it goes on where it was.")
