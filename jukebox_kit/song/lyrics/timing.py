"""When each line and word of the lyrics is sung, from the attention to its characters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Line:
    """A line of the lyrics, or a word of one; start and end in seconds from the song's start."""

    start: float
    end: float
    text: str


Floats = NDArray[np.float64]

Spans = list[tuple[int, int]]

ELSEWHERE = 0.4  # share of the attention that is spread over all characters while a line is sung

FOCUS = 6  # neighbouring characters that get the rest

MAX_CHARACTERS = 100  # attention to a few characters is no stronger evidence in a longer text

START_COST = 0.2  # evidence × seconds that a line needs to be started

SKIP_COST = 0.05  # the same for each line that is skipped


def sung_lines(weights: NDArray[np.float32], text: str, frame_seconds: float) -> tuple[Line, ...]:
    """Return the lines that are sung, in order. weights: (frames, characters of `text`).

    Lines without evidence are left out.
    """
    found = _frames_of_lines(weights, text, frame_seconds)
    return tuple(
        Line(float(a) * frame_seconds, float(b) * frame_seconds, text[begin:end]) for a, b, begin, end in found
    )


def sung_words(weights: NDArray[np.float32], text: str, frame_seconds: float) -> tuple[tuple[Line, ...], ...]:
    """Return the words of each line of `sung_lines`, in order: each lasts until the next one, or the line's end.

    A line of more words than frames is shared evenly among them.
    """
    lines: list[tuple[Line, ...]] = []
    for first, last, begin, end in _frames_of_lines(weights, text, frame_seconds):
        spans = [(begin + word.start(), begin + word.end()) for word in re.finditer(r"\S+", text[begin:end])]
        frames = last - first
        if len(spans) <= frames:
            edges = [float(first + at) for at in _first_frames(_evidence(weights[first:last], spans))]
        else:
            edges = [first + frames * place / len(spans) for place in range(len(spans))]
        edges.append(float(last))
        words = zip(edges, edges[1:], spans, strict=False)
        lines.append(tuple(Line(a * frame_seconds, b * frame_seconds, text[i:j]) for a, b, (i, j) in words))
    return tuple(lines)


def _frames_of_lines(
    weights: NDArray[np.float32], text: str, frame_seconds: float
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the first frame, the one after the last, and the span in `text` of each line that is sung."""
    spans = list(line_spans(text))
    if not spans or not len(weights):
        return
    path = _best_path(_evidence(weights, spans) * frame_seconds)
    for index, (begin, end) in enumerate(spans):
        at = np.flatnonzero(path == index)
        if len(at):
            yield int(at[0]), int(at[-1]) + 1, begin, end


def _first_frames(evidence: Floats) -> NDArray[np.int64]:
    """Return the first frame of each word, (words,): all are sung, in order, and together have the most evidence.

    evidence: (frames, words), at least as many frames as words.
    """
    frames, words = evidence.shape
    best = np.full(words, -np.inf)
    best[0] = evidence[0, 0]
    begun = np.zeros((frames, words), bool)  # whether a word that is sung at a frame begins there
    for frame in range(1, frames):
        before = np.pad(best, (1, 0), constant_values=-np.inf)[:-1]
        begun[frame] = before > best
        best = np.maximum(before, best) + evidence[frame]
    firsts, word = np.zeros(words, np.int64), words - 1
    for frame in reversed(range(1, frames)):
        if begun[frame, word]:
            firsts[word] = frame
            word -= 1
    return firsts


def line_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the first character and the one after the last of every line that is not blank, without outer spaces."""
    start = 0
    for line in text.split("\n"):
        if line.strip():
            first = start + len(line) - len(line.lstrip())
            yield first, first + len(line.strip())
        start += len(line) + 1


def _evidence(weights: NDArray[np.float32], spans: Spans) -> Floats:
    """Return the evidence of each frame for each line, (frames, lines).

    It is the log-likelihood ratio of the line being sung to none, with the weights as fractions of an observation.
    """
    total = weights.sum(1, dtype=np.float64)
    columns: list[Floats] = []
    for begin, end in spans:
        count = min(FOCUS, end - begin)
        sums = np.cumsum(np.pad(weights[:, begin:end], ((0, 0), (1, 0))), 1, dtype=np.float64)
        mass = (sums[:, count:] - sums[:, :-count]).max(1)
        denser = max(1.0, min(weights.shape[1], MAX_CHARACTERS) / count)
        inside = np.log((1 - ELSEWHERE) * denser + ELSEWHERE)
        columns.append(mass * inside + (total - mass) * np.log(ELSEWHERE))
    return np.stack(columns, 1)


def _best_path(evidence: Floats) -> NDArray[np.int64]:
    """Return the line sung at each frame, (frames,), -1 for none; lines are sung in order (a Viterbi search).

    States: line i is sung; or none is, with j lines done, which follows line j - 1. A line starts from any number of
    done lines up to its own, at the cost of those skipped, or continues after a rest.
    """
    frames, lines = evidence.shape
    skipped = SKIP_COST * np.arange(lines)
    sung, rest = np.full(lines, -np.inf), np.full(lines + 1, -np.inf)
    rest[0] = 0.0
    origin = np.empty((frames, lines), np.int64)  # lines done before line i started, -1 if it was already being sung
    ended = np.empty((frames, lines + 1), bool)  # whether "j lines done" follows line j - 1 being sung
    for frame in range(frames):
        done = np.maximum(rest, np.pad(sung, (1, 0), constant_values=-np.inf))
        ended[frame] = done > rest
        open_at = done[:-1] + skipped
        furthest = np.maximum.accumulate(open_at)
        begun, start = furthest - skipped, _last_index(open_at == furthest)
        again = done[1:] > begun  # the same line after a rest
        begun, start = np.where(again, done[1:], begun) - START_COST, np.where(again, np.arange(lines) + 1, start)
        stays = sung >= begun
        origin[frame] = np.where(stays, -1, start)
        sung, rest = np.where(stays, sung, begun) + evidence[frame], done
    return _walked_back(sung, rest, origin, ended)


def _last_index(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each index the last hit up to it; the first index is one."""
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
