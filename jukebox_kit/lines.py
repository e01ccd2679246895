"""Lines of lyrics with the times at which they are sung."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A line of the lyrics and when it is sung, in seconds from the song's start."""

    start: float
    end: float
    text: str
