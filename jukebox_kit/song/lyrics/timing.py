"""A line of the lyrics and when it is sung."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Line:
    """A line of the lyrics; start and end in seconds from the song's start."""

    start: float
    end: float
    text: str


Floats = NDArray[np.float64]

Spans = list[tuple[int, int]]

ANYWHERE = 0.4  # share of the attention that lies anywhere while a line is sung

NEIGHBOURS = 6  # characters on which the rest lies

ENOUGH = 100  # characters; in a longer text attention on a few of them says no more than in one as long as this

BEGINNING = 0.2  # what a line must bring to be begun, in seconds × evidence

PASSING = 0.05  # the same for each line that is passed over


def sung_lines(weights: NDArray[np.float32], text: str, frame_seconds: float) -> tuple[Line, ...]:
    """Return the lines that are sung, in their order: weights (frames, characters of `text`).

    A line without evidence is left out.
    """
    spans = list(line_spans(text))
    frames = len(weights)
    if not spans or not frames:
        return ()
    found: list[Line] = []
    path = _best_path(_evidence(weights, spans) * frame_seconds)
    for index, (begin, end) in enumerate(spans):
        at = np.flatnonzero(path == index)
        if len(at):
            found.append(Line(float(at[0]) * frame_seconds, float(at[-1] + 1) * frame_seconds, text[begin:end]))
    return tuple(found)


def line_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the first character and the one after the last of every line with something in it, spaces around left."""
    start = 0
    for line in text.split("\n"):
        if line.strip():
            first = start + len(line) - len(line.lstrip())
            yield first, first + len(line.strip())
        start += len(line) + 1


def _evidence(weights: NDArray[np.float32], spans: Spans) -> Floats:
    """Return how much more each frame speaks for each line than for none, (frames, lines).

    It is the logarithm of the ratio of the two likelihoods, the weights taken as shares of an observation.
    """
    total = weights.sum(1, dtype=np.float64)
    columns: list[Floats] = []
    for begin, end in spans:
        count = min(NEIGHBOURS, end - begin)
        sums = np.cumsum(np.pad(weights[:, begin:end], ((0, 0), (1, 0))), 1, dtype=np.float64)
        mass = (sums[:, count:] - sums[:, :-count]).max(1)
        denser = max(1.0, min(weights.shape[1], ENOUGH) / count)
        inside = np.log((1 - ANYWHERE) * denser + ANYWHERE)
        columns.append(mass * inside + (total - mass) * np.log(ANYWHERE))
    return np.stack(columns, 1)


def _best_path(evidence: Floats) -> NDArray[np.int64]:
    """Return the line sung at each frame, (frames,), -1 where none is; lines only ever rise.

    States: line i is sung; or none, with j lines done, which is what line j - 1 leads to. A line begins from any number
    of lines done up to its own, at the cost of those passed over, or goes on after a rest.
    """
    frames, lines = evidence.shape
    passed = PASSING * np.arange(lines)
    sung, rest = np.full(lines, -np.inf), np.full(lines + 1, -np.inf)
    rest[0] = 0.0
    origin = np.empty((frames, lines), np.int64)  # lines done before line i began, -1 where it was being sung
    ended = np.empty((frames, lines + 1), bool)  # whether j lines done came from line j - 1 being sung
    for frame in range(frames):
        done = np.maximum(rest, np.pad(sung, (1, 0), constant_values=-np.inf))
        ended[frame] = done > rest
        open_at = done[:-1] + passed
        furthest = np.maximum.accumulate(open_at)
        begun, start = furthest - passed, _last_index(open_at == furthest)
        again = done[1:] > begun  # the same line after a rest
        begun, start = np.where(again, done[1:], begun) - BEGINNING, np.where(again, np.arange(lines) + 1, start)
        stays = sung >= begun
        origin[frame] = np.where(stays, -1, start)
        sung, rest = np.where(stays, sung, begun) + evidence[frame], done
    return _walked_back(sung, rest, origin, ended)


def _last_index(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each place the last place up to it that is a hit; the first is one."""
    return np.maximum.accumulate(np.where(hits, np.arange(len(hits)), 0))


def _walked_back(sung: Floats, rest: Floats, origin: NDArray[np.int64], ended: NDArray[np.bool_]) -> NDArray[np.int64]:
    path = np.full(len(origin), -1, np.int64)
    line = int(sung.argmax()) if sung.max() > rest.max() else -1
    done = int(rest.argmax())
    for frame in reversed(range(len(origin))):
        if line >= 0:
            path[frame] = line
            before = int(origin[frame, line])
            if before < 0:
                continue
            done = before
        line = done - 1 if ended[frame, done] else -1
    return path
