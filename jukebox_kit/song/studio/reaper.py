"""The project files of REAPER, .rpp: lines of a name and values, in blocks from `<NAME` to `>`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from jukebox_kit._files import printable
from jukebox_kit.song.studio.project import Project, Track

FOUR_FOUR = 4 + (4 << 16)  # the time signature of a tempo point

STEPS = 1  # the shape of a tempo point: it holds until the next

QUOTES = ('"', "'", "`")


def rpp_text(project: Project) -> str:
    """Return the project file; its tracks name their audio relative to it."""
    lines = [
        '<REAPER_PROJECT 0.1 "6.0/jukebox_kit" 0',
        *(f"  {line}" for line in (*_head(project), *_tempo(project), *_markers(project))),
        *(f"  {line}" for index, track in enumerate(project.tracks) for line in _track(project, index, track)),
        ">",
    ]
    return "\n".join(lines) + "\n"


def _head(project: Project) -> Iterator[str]:
    yield f"TITLE {_quoted(project.title)}"
    yield f"AUTHOR {_quoted(project.artist)}"
    yield "<NOTES 0 2"
    yield from (f"  |{line}" for line in printable(project.comment).splitlines())
    yield ">"
    yield f"SAMPLERATE {project.sr} 0 0"
    # Items, tempo points and markers stay where they are in time when the tempo is changed.
    yield "TIMELOCKMODE 0"
    yield "TEMPOENVLOCKMODE 0"
    yield f"TEMPO {_number(project.tempo[0].bpm) if project.tempo else 120} 4 4"


def _tempo(project: Project) -> Iterator[str]:
    if not project.tempo:
        return
    yield "<TEMPOENVEX"
    yield "  ACT 1 -1"
    yield "  VIS 1 0 1"
    yield f"  DEFSHAPE {STEPS} -1 -1"
    for point in project.tempo:
        signature = f" {FOUR_FOUR}" if point is project.tempo[0] else ""
        yield f"  PT {_number(point.seconds)} {_number(point.bpm)} {STEPS}{signature}"
    yield ">"


def _markers(project: Project) -> Iterator[str]:
    for index, marker in enumerate(project.markers, 1):
        yield f"MARKER {index} {_number(marker.seconds)} {_quoted(marker.name)} 0 0 1"


def _track(project: Project, index: int, track: Track) -> Iterator[str]:
    guid = _guid(project, f"track {index}")
    yield f"<TRACK {guid}"
    yield f"  NAME {_quoted(track.name)}"
    yield f"  MUTESOLO {int(track.muted)} 0 0"
    yield "  NCHAN 2"
    yield f"  TRACKID {guid}"
    yield "  MAINSEND 1 0"
    yield "  <ITEM"
    yield f"    POSITION {_number(track.start)}"
    yield f"    LENGTH {_number(track.seconds)}"
    yield "    LOOP 0"
    yield f"    IGUID {_guid(project, f'item {index}')}"
    yield f"    NAME {_quoted(track.name)}"
    yield "    SOFFS 0"
    yield f"    GUID {_guid(project, f'take {index}')}"
    yield "    <SOURCE WAVE"
    yield f"      FILE {_quoted(track.file)}"
    yield "    >"
    yield "  >"
    yield ">"


def _quoted(text: str) -> str:
    """Return text on one line between quotes that it does not contain."""
    line = " ".join(printable(text).split())
    for quote in QUOTES:
        if quote not in line:
            return f"{quote}{line}{quote}"
    return f"`{line.replace('`', QUOTES[1])}`"


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _guid(project: Project, name: str) -> str:
    """Return an id that is the same whenever this project is written."""
    return f"{{{uuid.uuid5(uuid.NAMESPACE_URL, f'{project.title}/{project.comment}/{name}')}}}".upper()
