"""Progress as tqdm bars on stderr: one for each level or file, with its speed and time left."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from jukebox_kit.steps import Progress


class _OneBar(ExitStack):
    """One bar at a time, closed by whatever ends the work."""

    def __init__(self) -> None:
        super().__init__()
        self.bar: Any = None

    def begin(self, name: str, done: int, total: int | None, **form: Any) -> None:
        """Close the bar before and begin another; what was done before this run does not count as speed."""
        self.close()
        often = 0.5 if sys.stderr.isatty() else 5.0
        self.bar = self.enter_context(tqdm(total=total, initial=done, desc=name, mininterval=often, **form))


class Bars(_OneBar):
    """Shows `Progress` as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.level = -1

    def show(self, progress: Progress) -> None:
        """Draw where a level is; a new level gets a new bar."""
        if progress.level != self.level:
            self.level = progress.level
            self.begin(f"level {progress.level}", progress.done, progress.total, unit=" tokens")
        self.bar.update(progress.done - self.bar.n)


class FileBars(_OneBar):
    """Shows files as they come, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.file = ""

    def show(self, file: str, done: int, total: int | None) -> None:
        """Draw how far a file is; a new file gets a new bar, and one begun anew goes back."""
        if file != self.file:
            self.file = file
            self.begin(file, done, total, unit="B", unit_scale=True, unit_divisor=1024)
        self.bar.total = total
        if done < self.bar.n:
            self.bar.reset(total)
        self.bar.update(done - self.bar.n)
