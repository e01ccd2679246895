"""Progress bars on stderr: one for each level or file, with speed and time left."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from jukebox_kit.steps import Progress


class _OneBar(ExitStack):
    """One progress bar at a time, closed when the context ends."""

    def __init__(self) -> None:
        super().__init__()
        self.bar: Any = None

    def begin(self, name: str, done: int, total: int | None, *, unit: str, scaled: bool = False) -> None:
        """Close the current bar and start another; `done` before this run does not count towards the speed.

        scaled: count in units of 1024, such as KiB, rather than in ones.
        """
        self.close()
        interval = 0.5 if sys.stderr.isatty() else 5.0
        bar = tqdm(
            total=total,
            initial=done,
            desc=name,
            mininterval=interval,
            unit=unit,
            unit_scale=scaled,
            unit_divisor=1024 if scaled else 1000,
        )
        self.bar = self.enter_context(bar)


class Bars(_OneBar):
    """Shows the progress of levels."""

    def __init__(self) -> None:
        super().__init__()
        self.level = -1

    def show(self, progress: Progress) -> None:
        """Show the progress of a level; a new level gets a new bar."""
        if progress.level != self.level:
            self.level = progress.level
            self.begin(f"level {progress.level}", progress.done, progress.total, unit=" tokens")
        self.bar.update(progress.done - self.bar.n)


class CountBar(_OneBar):
    """Shows how many of several things are done."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.total = name, -1

    def show(self, done: int, total: int) -> None:
        """Show how many are done; another total is another round of work, with a bar of its own."""
        if total != self.total or done < self.bar.n:
            self.total = total
            self.begin(self.name, 0, total, unit="")
        self.bar.update(done - self.bar.n)


class FileBars(_OneBar):
    """Shows the progress of files, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.file = ""

    def show(self, file: str, done: int, total: int | None) -> None:
        """Show the progress of a file; a new file gets a new bar, and a restarted one goes back."""
        if file != self.file:
            self.file = file
            self.begin(file, done, total, unit="B", scaled=True)
        self.bar.total = total
        if done < self.bar.n:
            self.bar.reset(total)
        self.bar.update(done - self.bar.n)
