"""What a rank is given to do, how it is to be done, and what became of it; all of it can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jukebox_kit.placement import Placement
from jukebox_kit.planned import AUTO
from jukebox_kit.request import Request

End = Literal["finished", "failed", "skipped", "stopped", "lost"]


@dataclass(frozen=True)
class Task:
    """A level of a song, or some rows of it, first and past the last, where others make the others.

    song: the song's folder, which is made where it is not there.
    """

    song: Path
    request: Request
    level: int
    rows: tuple[int, int] | None = None

    @property
    def words(self) -> str:
        """The same for a person."""
        rows = "" if self.rows is None else f", rows {self.rows[0]} to {self.rows[1] - 1}"
        return f"{self.song.name}, level {self.level}{rows}"


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    end: "skipped" where another process works on it, "lost" where its process died or was silent for too long. tokens:
    made by it, all rows together; seconds: how long it took.
    """

    task: Task
    end: End
    why: str = ""
    rank: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Ways:
    """How all of an album is done. until: the last level; patience: seconds after which a silent worker is given up.

    The rest is as in `Options` and `load_planned`.
    """

    until: int = 0
    save_every: float = 30.0
    batch: int = 16
    device: str | None = None
    weights: str = "auto"
    engine: str = "fast"
    patience: float = 600.0

    def checked(self) -> Ways:
        """Return these ways; RequestError where there is no such device, engine or kind of weights."""
        Placement.of(self.device, None if self.weights == AUTO else self.weights, self.engine)
        return self
