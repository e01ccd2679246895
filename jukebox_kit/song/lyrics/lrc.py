"""Lyrics with times, as .lrc files have them.

    [ar:The Beatles]                          metadata, which is not sung
    [offset:+250]                             everything is sung 250 ms earlier than the times say
    [00:12.00]First line                      minutes:seconds, counted from the song's start
    [00:21.10][00:45.10]Sung twice
    [00:24.00]<00:24.00>Each <00:24.60>word   with times of words
    [00:30.00]                                the line before ends here
    [Chorus]                                  lines without times follow the line before them in the file

A text is one of these if a line begins with a time. Any other text is plain lyrics, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeAlias

from jukebox_kit.errors import RequestError
from jukebox_kit.model import lyric_tokens

SECONDS_PER_CHARACTER = 0.1  # where a text has no two times to measure it by

MAX_LINES = 100_000  # of lyrics with times

SLOWEST = 2.0  # times the usual length of a line: what is left until the next time is a pause

TAGS = ("al", "ar", "au", "by", "id", "la", "length", "lr", "offset", "re", "ti", "tool", "total", "ve")

_TIME = r"(?:\[\s*\d{1,4}:\d{1,2}(?:[.,:]\d{1,3})?\s*\]|<\s*\d{1,4}:\d{1,2}(?:[.,:]\d{1,3})?\s*>)"
_LEADING = re.compile(rf"\s*({_TIME})", re.ASCII)
_INSIDE = re.compile(rf"({_TIME})", re.ASCII)
_FIRST = re.compile(rf"^[^\S\n]*{_TIME}", re.ASCII | re.MULTILINE)
_LIKE_TIME = re.compile(r"[\[<]\s*[-+]?\d+\s*[:.,][-+\d:.,\s]*[\]>]", re.ASCII)
_TAG = re.compile(r"\[\s*([A-Za-z]+)\s*:([^\]]*)\]", re.ASCII)
_OFFSET = re.compile(r"[-+]?\d{1,9}(?:\.\d{1,6})?", re.ASCII)


@dataclass(frozen=True)
class Phrase:
    """Text whose first character is due at `start` and which is over at `end`, in seconds from the song's start.

    text: as written, with the newlines that end its lines. Its characters follow each other evenly.
    """

    start: float
    end: float
    text: str


_Line: TypeAlias = "tuple[tuple[float | None, str], ...]"
"""A line, as parts with the times at which they begin; None for a part that follows what is before it."""


class _Group(NamedTuple):
    """A line with a time, and the lines without times that follow it; time 0 for lines before the first time."""

    start: float
    lines: list[_Line]


def has_times(text: str) -> bool:
    """Return whether a text is lyrics with times: whether one of its lines begins with one."""
    return _FIRST.search(text) is not None


def phrases_of(text: str, source: str = "lyrics") -> tuple[Phrase, ...]:
    """Return lyrics with times as phrases, in the order in which they are sung; none for lyrics without times.

    Lines may be in any order. Those without times share, in proportion to their characters, the time until the next
    line that has one. A line with a time lasts until the next one, but at most twice as long as one of its length
    usually does in these lyrics: what is left is a pause. RequestError about a time that cannot be, with the line;
    source: of the text, for that sentence.
    """
    if not has_times(text):
        return ()
    groups, offset = _parsed(text, source)
    return _timed(_flat(sorted(groups, key=lambda group: group.start)), offset)


def without_times(text: str, source: str = "lyrics") -> str:
    """Return the text that is sung, without times and metadata; plain lyrics as they are. Raises as `phrases_of`."""
    return "".join(phrase.text for phrase in phrases_of(text, source)) if has_times(text) else text


def text_of_lrc(text: str, source: str) -> str:
    """Return the content of an .lrc file as lyrics: as it is, without its metadata if no line has a time.

    RequestError as in `phrases_of`.
    """
    if has_times(text):
        phrases_of(text, source)
        return text
    groups, _ = _parsed(text, source)
    return "\n".join("".join(text for _, text in line) for group in groups for line in group.lines).strip("\n")


def end_of_lyrics(text: str) -> float:
    """Return when lyrics with times are over, in seconds; 0 for lyrics without times. Raises as `phrases_of`."""
    return max((phrase.end for phrase in phrases_of(text)), default=0.0)


def lyric_labels(text: str, label_set: str, sr: int) -> tuple[tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """Return the tokens of lyrics, and when they are due: `tokens` and `due` of `Labels`. sr: samples per second."""
    phrases = phrases_of(text)
    if not phrases:
        return tuple(lyric_tokens(text, label_set)), ()
    tokens, due = list[int](), list[tuple[int, int, int]]()
    for phrase in phrases:
        found = lyric_tokens(phrase.text, label_set)
        if found:
            due.append((len(tokens), int(phrase.start * sr), int(phrase.end * sr)))
        tokens += found
    return tuple(tokens), tuple(due)


def _parsed(text: str, source: str) -> tuple[list[_Group], float]:
    """Return the groups of a text in its order, one for each time of a line, and its offset in seconds."""
    groups, offset, current = [_Group(0.0, [])], 0.0, None
    lines = text.rstrip().split("\n")
    if len(lines) > MAX_LINES:
        raise RequestError(f"{source} has {len(lines):,} lines; {MAX_LINES:,} are the most with times.", field="lyrics")
    for number, line in enumerate(lines, 1):
        place = f"{source}, line {number}"
        tag = _TAG.fullmatch(line.strip())
        if tag is not None and _is_metadata(tag[1], before_times=current is None):
            offset = _offset(tag[2].strip(), place) if tag[1].lower() == "offset" else offset
            continue
        starts, rest = _leading_times(line, place)
        if starts:
            first = starts[0]
            parts = _parts(rest, first, place)
            copies = [_Group(at, [tuple((at + start - first, part) for start, part in parts)]) for at in starts]
            groups += copies
            current = copies[0]
        else:
            if _INSIDE.search(rest) and has_times(text):
                raise RequestError(f"{place} has a time after its text; begin the line with it.", field="lyrics")
            (current or groups[0]).lines.append(((None, rest.strip()),))
    return groups, offset


def _is_metadata(name: str, before_times: bool) -> bool:
    return name.lower() in TAGS or (before_times and name.islower())


def _offset(value: str, place: str) -> float:
    if not _OFFSET.fullmatch(value):
        raise RequestError(
            f"{place} has the offset {value[:20]!r}; write milliseconds, such as [offset:+250].", field="lyrics"
        )
    return float(value) / 1000


def _leading_times(line: str, place: str) -> tuple[list[float], str]:
    """Return the times in brackets that a line begins with, and the rest of it; a first word's time is the line's."""
    starts, at = list[float](), 0
    while (found := _LEADING.match(line, at)) is not None:
        inside_line = found[1][0] == "<"
        if not (inside_line and starts):
            starts.append(_seconds(found[1], place))
        if inside_line:
            return starts, line[at:]
        at = found.end()
    rest = line[at:].strip()
    if rest[:1] in ("[", "<") and (wrong := _LIKE_TIME.match(rest)) is not None:
        raise _wrong(wrong[0], place)
    return starts, rest


def _wrong(time: str, place: str) -> RequestError:
    example = "<01:23.45>" if time[0] == "<" else "[01:23.45]"
    return RequestError(f"{place} has the time {time}; write minutes and seconds as {example}.", field="lyrics")


def _seconds(time: str, place: str) -> float:
    """Return the seconds of a time such as [01:23.45]; RequestError if its seconds are not below 60."""
    minutes, seconds, fraction, *_ = (*re.split("[.,:]", time[1:-1].strip()), "")
    if int(seconds) >= 60:
        whole = int(minutes) * 60 + int(seconds)
        right = f"{time[0]}{whole // 60:02}:{whole % 60:02}{f'.{fraction}' if fraction else ''}{time[-1]}"
        raise RequestError(f"{place} has the time {time}, with more than 59 seconds; write {right}.", field="lyrics")
    return int(minutes) * 60 + int(seconds) + (float(f"0.{fraction}") if fraction else 0.0)


def _parts(text: str, start: float, place: str) -> list[tuple[float, str]]:
    """Return the text of a line that begins at `start` as parts, one for each time in it."""
    if "<" not in text and "[" not in text:
        return [(start, text)]
    first, *others = _INSIDE.split(text)
    parts: list[tuple[float, str]] = [(start, first)]
    for time, part in zip(others[::2], others[1::2], strict=True):
        at = _seconds(time, place)
        if at < parts[-1][0]:
            raise RequestError(f"{place} has the time {time} after a later one; put them in order.", field="lyrics")
        parts.append((at, part))
    for _, part in parts:
        if (wrong := _LIKE_TIME.search(part)) is not None and wrong[0][0] == "<":
            raise _wrong(wrong[0], place)
    return parts if len(parts) == 1 else list(_tidy(parts))


def _tidy(parts: list[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Yield the parts of a line with single spaces, and none at its ends; without a first part that has no text."""
    last = max((place for place, (_, text) in enumerate(parts) if text.strip()), default=0)
    written = ""
    for place, (at, text) in enumerate(parts):
        plain = re.sub(r"\s+", " ", text)
        plain = plain.rstrip() if place >= last else plain
        if not written or written.endswith(" "):
            plain = plain.lstrip()
        if plain or place:
            written += plain
            yield at, plain


def _flat(groups: Iterable[_Group]) -> list[tuple[float, str]]:
    """Return groups in order as texts with their times, each line ended by a newline and at most one blank in a row."""
    found: list[tuple[float, list[str]]] = []
    newlines = 2  # none at the beginning
    for group in groups:
        for line in group.lines:
            for start, text in line:
                if start is not None or not found:
                    found.append((start or 0.0, []))
                found[-1][1].append(text)
            newlines = 1 if any(text.strip() for _, text in line) else newlines + 1
            if newlines <= 2:
                found[-1][1].append("\n")
    texts = [(start, "".join(parts)) for start, parts in found]
    for place in reversed(range(len(texts))):
        texts[place] = texts[place][0], texts[place][1].rstrip("\n")
        if texts[place][1]:
            break
    return texts


def _timed(texts: list[tuple[float, str]], offset: float) -> tuple[Phrase, ...]:
    """Return phrases of texts with their times, which never run backwards; see `phrases_of` for when they end."""
    starts, latest = list[float](), 0.0
    for start, _ in texts:
        latest = max(latest, start - offset)
        starts.append(latest)
    lengths = [len(text.strip()) for _, text in texts]
    spans = [after - before for before, after in pairwise(starts)]
    paces = [span / length for span, length in zip(spans, lengths, strict=False) if length]
    pace = median(paces) if paces else SECONDS_PER_CHARACTER
    phrases: list[Phrase] = []
    for place, (start, (_, text), length) in enumerate(zip(starts, texts, lengths, strict=True)):
        if place == len(spans):
            end = start + pace * length
        else:
            several_lines = "\n" in text.strip()
            end = starts[place + 1] if several_lines else min(starts[place + 1], start + SLOWEST * pace * length)
        phrases.append(Phrase(start, end, text))
    return tuple(phrases)
