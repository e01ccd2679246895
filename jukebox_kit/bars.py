"""Progress as tqdm bars on stderr: one for each level, with tokens a second and time left."""

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
