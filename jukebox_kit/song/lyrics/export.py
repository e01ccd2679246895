"""Writes when the lyrics of a song are sung, by the model's alignment, as .lrc, .srt or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import TOP
from jukebox_kit.song.arguments import chosen_items
from jukebox_kit.song.export import Exported, writer
from jukebox_kit.song.lyrics.alignment import aligned_items, check_lyrics, follow, follow_words, read_alignments
from jukebox_kit.song.lyrics.timing import Line
from jukebox_kit.song.render import add_alignments
from jukebox_kit.song.request import load_model
from jukebox_kit.song.song import Song

LYRIC_FORMATS = ("lrc", "srt", "json")

SungLines: TypeAlias = "Sequence[tuple[Line, tuple[Line, ...]]]"
"""Lines that are sung, each with its words."""


def export_lyrics(
    song: Song,
    target: str | Path | None = None,
    format: str = "lrc",
    items: int | Iterable[int] | None = None,
    model: Model | None = None,
) -> Exported:
    """Write when each line and word of the lyrics is sung, as item_0.lrc …: the times that the song's page shows.

    target: a folder, by default `exports` in the song's. format: lrc, with times of words; srt, with lines only; or
    json. items: by default all with sampled tokens. model: the song's; it is only needed if its alignment is not saved.
    Lines that the model does not sing are left out.

    Raises RequestError for another format, SongError if the song has no lyrics, or if the alignment does not show when
    any of them are sung, and ConfigurationError if its model has none.
    """
    if format not in LYRIC_FORMATS:
        raise RequestError(f"there is no format {format} for lyrics; format takes {', '.join(LYRIC_FORMATS)}.")
    check_lyrics(song.state, song.definition.top)
    made = song.level(TOP).made
    chosen = tuple(item for item in range(song.request.items) if made[item])
    if items is not None:
        chosen = chosen_items(song.shown_path, song.request.items, items)
    if not aligned_items(song.state).issuperset(chosen):
        add_alignments(song, model or load_model(song.request))
    alignments = dict(read_alignments(song.state))
    sung = {item: list(zip(follow(found), follow_words(found), strict=True)) for item, found in alignments.items()}
    heard = [item for item in chosen if sung[item]]
    if not heard:
        raise SongError(f"the model's attention does not show when the lyrics of {song.shown_path} are sung.")
    write = writer(song, target)
    paths = [write(f"item_{i}.{format}", _content(song, i, sung[i], format)) for i in heard]
    unheard = [item for item in chosen if not sung[item]]
    notes = [f"item {item}: the model's attention does not show when its lyrics are sung." for item in unheard]
    return Exported(tuple(paths), tuple(notes))


def _content(song: Song, item: int, sung: SungLines, format: str) -> bytes:
    text = _lrc(song, item, sung) if format == "lrc" else _srt(sung) if format == "srt" else _json(song, item, sung)
    return text.encode("utf-8", "replace")  # a folder's name may be any bytes


def _lrc(song: Song, item: int, sung: SungLines) -> str:
    tags = {
        "ti": f"{song.root.absolute().name}, item {item}",
        "ar": f"Jukebox in the style of {song.request.artist}",
        "length": _clock(song.resolved.samples / song.sr),
        "re": "jukebox_kit",
    }
    lines = [f"[{name}:{value.replace('[', '(').replace(']', ')')}]" for name, value in tags.items()]
    for line, words in sung:
        timed = " ".join(f"<{_clock(word.start)}>{word.text}" for word in words)
        lines.append(f"[{_clock(line.start)}]{timed} <{_clock(line.end)}>")
    return "\n".join(lines) + "\n"


def _srt(sung: SungLines) -> str:
    blocks = [
        f"{number}\n{_long_clock(line.start)} --> {_long_clock(line.end)}\n{line.text}\n"
        for number, (line, _) in enumerate(sung, 1)
    ]
    return "\n".join(blocks)


def _json(song: Song, item: int, sung: SungLines) -> str:
    values = {
        "song": song.root.absolute().name,
        "item": item,
        "seconds": song.resolved.samples / song.sr,
        "lines": [{**_rounded(line), "words": [_rounded(word) for word in words]} for line, words in sung],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _rounded(line: Line) -> dict[str, object]:
    return asdict(line) | {"start": round(line.start, 3), "end": round(line.end, 3)}


def _clock(seconds: float) -> str:
    """Return a time as .lrc files have it, such as 01:23.45."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _long_clock(seconds: float) -> str:
    """Return a time as .srt files have it, such as 00:01:23,450."""
    thousandths = round(seconds * 1000)
    minutes = thousandths // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000 % 60:02},{thousandths % 1000:03}"
