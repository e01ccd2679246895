"""index.html of an album: all its songs on one page that opens by double click, with no server and no network.

`write_album_page` reads the folders as they are now. Sounds, pictures and the songs' own pages are named relative to
the album's page, so the folders can be moved together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from jukebox_kit._files import make_folder, read_file, shown_path, write_atomically
from jukebox_kit.errors import JukeboxKitError, SongError
from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.song import PAGE, SPECTROGRAM, Song, SongState, audio_name, is_song, tokens_heard
from jukebox_kit.song.page import LevelState, describe_share, render_page
from jukebox_kit.song.store import holder

Stage = Literal["done", "in progress", "not started", "unreadable"]


@dataclass(frozen=True)
class BestLevel:
    """The best complete level of an item that has audio."""

    item: int
    level: int


@dataclass(frozen=True)
class AlbumRow:
    """A song on the page.

    facts: the request in short.
    seconds: length of a complete item.
    state: level 2 first.
    best: what each item's player plays.
    why: a sentence, empty if there is nothing to explain.
    """

    song: Path
    stage: Stage
    artist: str = ""
    genre: str = ""
    facts: tuple[str, ...] = ()
    seconds: float = 0.0
    state: tuple[LevelState, ...] = ()
    best: tuple[BestLevel, ...] = ()
    why: str = ""


def write_album_page(
    folder: Path, title: str, about: str, songs: Sequence[Path], facts: Mapping[str, str] = {}
) -> Path:
    """Write the page of an album into a folder, unless the file already has this content; returns its path.

    songs: their folders, in the order of the page; one that has not been started or cannot be read is listed with a
    sentence. facts: what else to show, by name. SongError if the folder is itself a song or cannot be written to.
    """
    if is_song(folder):
        raise SongError(f"{folder} is a song and has its own page; write the album's page to the folder above.")
    models: dict[str, ModelDefinition] = {}
    rows = [_row(song, models) for song in songs]
    # A file name may contain bytes that are not text; links to it are ASCII and still work.
    content = _render(folder, title, about, rows, facts).encode("utf-8", "replace")
    make_folder(folder)
    if read_file(folder / PAGE) != content:
        write_atomically(folder, PAGE, content)
    return folder / PAGE


def _row(path: Path, models: dict[str, ModelDefinition]) -> AlbumRow:
    try:
        if not is_song(path):
            return AlbumRow(path, "not started", why="Not started yet.")
        return _read(path, models)
    except JukeboxKitError as error:
        return AlbumRow(path, "unreadable", why=str(error).replace(shown_path(path), _name(path)))
    except Exception as error:  # one faulty folder must not hide the others
        return AlbumRow(path, "unreadable", why=f"{_name(path)} cannot be read ({type(error).__name__}: {error}).")


def _read(path: Path, models: dict[str, ModelDefinition]) -> AlbumRow:
    song = Song.open(path)
    request = song.request
    if request.model not in models:
        models[request.model] = load_definition(request.model)
    song.definition = models[request.model]  # read once, as that would be the slowest part of a large album
    state = song.state
    shares, sounds = _progress(state)
    silent = [n for n in LEVELS if shares[n] == 1 and any((n, item) not in sounds for item in state.items(n))]
    stage: Stage = "in progress" if any(shares.values()) else "not started"
    if all(share == 1 for share in shares.values()) and not silent:
        stage = "done"
    why = f"The audio of level {', '.join(map(str, silent))} has not been written yet." if silent else ""
    if holder(path) is not None:
        stage, why = "in progress", "Another process was working on it when this page was written."
    seconds = song.resolved.samples / song.sr
    best = {i: min((level for level in LEVELS if (level, i) in sounds), default=None) for i in range(request.items)}
    return AlbumRow(
        path,
        stage,
        request.artist,
        request.genre,
        (f"seed {request.seed}", _temperature(song), f"{seconds:.1f} seconds", _count(request.items, "item")),
        seconds,
        tuple(LevelState(level, shares[level], describe_share(shares[level])) for level in DOWNWARD),
        tuple(BestLevel(i, level) for i, level in best.items() if level is not None),
        why,
    )


def _progress(state: SongState) -> tuple[dict[int, float], set[tuple[int, int]]]:
    """Return the sampled share of each level, and the (level, item) that are complete and have current audio."""
    shares: dict[int, float] = {}
    sounds: set[tuple[int, int]] = set()
    for level in LEVELS:
        done, items, total = state.level(level).done, state.items(level), state.resolved.plans[level].total
        shares[level] = sum(done[item] for item in items) / (len(items) * total)
        sounds |= {(level, item) for item in items if tokens_heard(state, level, item) == total}
    return shares, sounds


def _temperature(song: Song) -> str:
    """Return the top level's temperature, and the others' too if they differ from the model's defaults."""
    default = song.definition.sampling.temperature
    temperature = song.request.temperature or default
    if temperature[:2] == default[:2]:
        return f"temperature {temperature[2]:g}"
    return f"temperature {', '.join(f'{one:g}' for one in temperature)} (levels 0, 1, 2)"


def _render(folder: Path, title: str, about: str, rows: Sequence[AlbumRow], facts: Mapping[str, str]) -> str:
    values = {
        "about": about,
        "summary": _summary(rows),
        "facts": tuple(facts.items()),
        "rows": [_row_values(folder, row) for row in rows],
    }
    return render_page("album.html", title, values, ("base.css", "album.css"), ("album.js",))


def _summary(rows: Sequence[AlbumRow]) -> str:
    stages = Counter(row.stage for row in rows)
    seconds = sum(row.seconds * len(row.best) for row in rows)
    counts = [
        f"{stages['done']} of {_count(len(rows), 'song')} done",
        f"{stages['in progress']} in progress",
        f"{stages['not started']} not started",
    ]
    if stages["unreadable"]:
        counts.append(f"{stages['unreadable']} unreadable")
    return " · ".join([*counts, f"{seconds:,.1f} seconds of audio"])


def _row_values(folder: Path, row: AlbumRow) -> dict[str, object]:
    """Return what the template shows of a song; links that lead nowhere are empty."""
    return {
        "name": _name(row.song),
        "artist": row.artist,
        "genre": row.genre,
        "stage": row.stage,
        "facts": [fact for fact in (row.artist, row.genre, *row.facts) if fact],
        "state": row.state,
        "why": row.why,
        "page": _link_to_file(folder, row.song / PAGE),
        "picture": _link_to_file(folder, row.song / SPECTROGRAM),
        "players": [
            {"item": one.item, "level": one.level, "source": _link(folder, row.song / audio_name(one.level, one.item))}
            for one in row.best
        ],
    }


def _link(folder: Path, path: Path) -> str:
    """Return the relative URL of a file for a page in a folder, whatever characters its name has."""
    return quote(os.fsencode(os.path.relpath(path.absolute(), folder.absolute())))


def _link_to_file(folder: Path, path: Path) -> str:
    """Return the same; empty if there is no such file or its folder cannot be read."""
    with suppress(OSError):
        return _link(folder, path) if path.is_file() else ""
    return ""


def _name(song: Path) -> str:
    return song.absolute().name


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
