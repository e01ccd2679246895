"""Progress as tqdm bars on stderr: one for each level or file, with its speed and time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm

from jukebox_kit.steps import Progress


class Bars:
    """Shows `Progress` as it comes."""

    def __init__(self) -> None:
        self.level = -1
        self.bar: Any = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def show(self, progress: Progress) -> None:
        """Draw where a level is; a new level gets a new bar."""
        if progress.level != self.level:
            self._close()
            self.level = progress.level
            # What stood before this run does not count as speed.
            start = {"total": progress.total, "initial": progress.done, "desc": f"level {progress.level}"}
            self.bar = tqdm(**start, unit=" tokens", mininterval=0.5 if sys.stderr.isatty() else 5.0)
        self.bar.update(progress.done - self.bar.n)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class FileBars:
    """Shows files as they come, in bytes."""

    def __init__(self) -> None:
        self.file = ""
        self.bar: Any = None

    def __enter__(self) -> FileBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def show(self, file: str, done: int, total: int | None) -> None:
        """Draw how far a file is; a new file gets a new bar, and one begun anew goes back."""
        if file != self.file:
            self._close()
            self.file = file
            # What came in an earlier run does not count as speed.
            start = {"total": total, "initial": done, "desc": file, "unit": "B", "unit_scale": True}
            self.bar = tqdm(**start, unit_divisor=1024, mininterval=0.5 if sys.stderr.isatty() else 5.0)
        self.bar.total = total
        if done < self.bar.n:
            self.bar.reset(total)
        self.bar.update(done - self.bar.n)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
