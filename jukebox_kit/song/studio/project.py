"""What a project of a studio program contains, whatever its file format. All times are in seconds of the song."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MarkerKind = Literal["lyrics", "edit", "seam"]


@dataclass(frozen=True)
class Track:
    """A track with one clip. file: its audio, relative to the project. muted: all but the best level of one item."""

    name: str
    file: str
    start: float
    seconds: float
    muted: bool


@dataclass(frozen=True)
class Marker:
    """A point in time. kind: a line of the lyrics is sung, an edit applies from here on, or chunks of a level meet."""

    seconds: float
    name: str
    kind: MarkerKind


@dataclass(frozen=True)
class TempoPoint:
    """A tempo from one moment on, in beats a minute.

    confidence: from 0 to 1, how clearly the music repeats with each beat; None where it is too unclear for a tempo, and
    this one only leads to the first beat after it.
    """

    seconds: float
    bpm: float
    confidence: float | None


@dataclass(frozen=True)
class Project:
    """A song as a studio program shows it. tempo: in order, the first at 0; empty if no tempo is clear enough."""

    title: str
    artist: str
    genre: str
    comment: str
    sr: int
    tracks: tuple[Track, ...]
    markers: tuple[Marker, ...]
    tempo: tuple[TempoPoint, ...]
