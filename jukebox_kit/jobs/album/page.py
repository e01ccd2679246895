"""index.html of an album: all its songs on one page to open by double click, with no server and no network.

`write_album_page` reads the folders as they are now. Sounds, pictures and the songs' own pages are named relative to
the album's page, so that the folders can be moved together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Literal
from urllib.parse import quote

from jukebox_kit._files import make_folder, read_file, write_atomically
from jukebox_kit.errors import JukeboxKitError, SongError
from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.song import Song, audio_name, is_song, tokens_heard
from jukebox_kit.song.page import NAME, LevelState, framed, share_words, state_html, table_html, web_file
from jukebox_kit.song.store import holder

PICTURE = "spectrogram.png"

Stage = Literal["done", "in work", "left", "unreadable"]


@dataclass(frozen=True)
class Heard:
    """An item as it can be heard: the best level of it that is whole and has its audio."""

    item: int
    level: int


@dataclass(frozen=True)
class Row:
    """A song on the page.

    told: what was asked for, in short. seconds: an item's, where it is whole. state: level 2 first. why: a sentence.
    """

    song: Path
    stage: Stage
    artist: str = ""
    genre: str = ""
    told: tuple[str, ...] = ()
    seconds: float = 0.0
    state: tuple[LevelState, ...] = ()
    heard: tuple[Heard, ...] = ()
    why: str = ""


def write_album_page(
    folder: Path, title: str, about: str, songs: Sequence[Path], facts: Mapping[str, str] = {}
) -> Path:
    """Write the page of an album into a folder, unless it is there as it is to be; returns its path.

    songs: their folders, in the order of the page; one that is not begun or cannot be read is there with a sentence.
    facts: what else to tell, by name. SongError where the folder is itself a song, or the disk does not take the page.
    """
    if is_song(folder):
        raise SongError(f"{folder} is a song with a page of its own; put the album's page into the folder above.")
    models: dict[str, ModelDefinition] = {}
    rows = [_row(song, models) for song in songs]
    # A name of a file may hold bytes that are no text; links to it are in ASCII and still lead there.
    content = _render(folder, title, about, rows, facts).encode("utf-8", "replace")
    make_folder(folder)
    if read_file(folder / NAME) != content:
        write_atomically(folder, NAME, content)
    return folder / NAME


def _row(path: Path, models: dict[str, ModelDefinition]) -> Row:
    try:
        if not is_song(path):
            return Row(path, "left", why="Not begun yet.")
        return _read(path, models)
    except JukeboxKitError as error:
        return Row(path, "unreadable", why=str(error).replace(str(path), _name(path)))
    except Exception as error:  # a folder that somebody filled by hand is not to hide the others
        return Row(path, "unreadable", why=f"{_name(path)} cannot be read ({type(error).__name__}: {error}).")


def _read(path: Path, models: dict[str, ModelDefinition]) -> Row:
    song = Song.open(path)
    asked = song.request
    if asked.model not in models:
        models[asked.model] = load_definition(asked.model)
    song.definition = models[asked.model]  # reading a YAML for each of many songs would take longer than all else
    parts = {level: song.items(level) for level in LEVELS}
    shares, sounds = _made(song)
    silent = [level for level in LEVELS if shares[level] == 1 and any((level, i) not in sounds for i in parts[level])]
    stage: Stage = "in work" if any(shares.values()) else "left"
    if all(share == 1 for share in shares.values()) and not silent:
        stage = "done"
    why = f"The audio of level {', '.join(map(str, silent))} is not written yet." if silent else ""
    if holder(path) is not None:
        stage, why = "in work", "It was being worked on when this page was written."
    seconds = song.resolved.samples / song.sr
    best = {i: min((level for level in LEVELS if (level, i) in sounds), default=None) for i in range(asked.items)}
    return Row(
        path,
        stage,
        asked.artist,
        asked.genre,
        (f"seed {asked.seed}", _temperature(song), f"{seconds:.1f} seconds", _count(asked.items, "item")),
        seconds,
        tuple(LevelState(level, shares[level], share_words(shares[level])) for level in DOWNWARD),
        tuple(Heard(i, level) for i, level in best.items() if level is not None),
        why,
    )


def _made(song: Song) -> tuple[dict[int, float], set[tuple[int, int]]]:
    """Return the share of each level that is made, and the (level, item) that are whole, with audio of these codes."""
    shares: dict[int, float] = {}
    sounds: set[tuple[int, int]] = set()
    for level in LEVELS:
        found, items = song.level(level), song.items(level)
        done, total = found.done, song.resolved.plans[level].total
        shares[level] = sum(done[item] for item in items) / (len(items) * total)
        whole = (item for item in items if done[item] == total)
        sounds |= {(level, i) for i in whole if tokens_heard(song, level, i, found.codes[i]) == total}
    return shares, sounds


def _temperature(song: Song) -> str:
    """Return the top level's temperature, and those of the others where they are not the model's usual ones."""
    usual = song.definition.sampling.temperature
    asked = song.request.temperature or usual
    if asked[:2] == usual[:2]:
        return f"temperature {asked[2]:g}"
    return f"temperature {', '.join(f'{one:g}' for one in asked)} (levels 0, 1, 2)"


def _render(folder: Path, title: str, about: str, rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    table = table_html(tuple(facts.items()))
    body = Template(web_file("album.html")).substitute(
        title=escape(title),
        about=escape(about),
        summary=_summary(rows),
        facts=f'<section class="card facts" aria-label="About the album">{table}</section>' if table else "",
        songs="\n".join(_row_html(folder, row) for row in rows),
    )
    return framed(title, body.rstrip(), ("base.css", "album.css"), ("album.js",))


def _summary(rows: Sequence[Row]) -> str:
    stages = Counter(row.stage for row in rows)
    seconds = sum(row.seconds * len(row.heard) for row in rows)
    told = [
        f"{stages['done']} of {_count(len(rows), 'song')} done",
        f"{stages['in work']} in work",
        f"{stages['left']} left",
    ]
    if stages["unreadable"]:
        told.append(f"{stages['unreadable']} unreadable")
    return " · ".join([*told, f"{seconds:,.1f} seconds of audio made"])


def _row_html(folder: Path, row: Row) -> str:
    name = title = escape(_name(row.song))
    picture = '<span class="thumb"></span>'
    if page := _link_to_file(folder, row.song / NAME):
        title = f'<a href="{page}">{name}</a>'
    if source := _link_to_file(folder, row.song / PICTURE):
        picture = f'<img class="thumb" loading="lazy" src="{source}" alt="Spectrogram of {name}">'
    told = escape(" · ".join(part for part in (row.artist, row.genre, *row.told) if part))
    state = "".join(state_html(state) for state in row.state)
    parts = [
        f'<h2 dir="auto">{title}</h2>',
        f"<p>{told}</p>" if told else "",
        f'<ul class="state" aria-label="How far {name} is">{state}</ul>' if state else "",
        f'<p class="why">{escape(row.why)}</p>' if row.why else "",
    ]
    words = escape(f"{_name(row.song)} {row.artist} {row.genre}")
    players = "".join(_player(folder, row.song, heard) for heard in row.heard)
    return (
        f'<li class="song" data-state="{row.stage}" data-words="{words}">{picture}'
        f'<div>{"".join(parts)}</div><div class="heard">{players}</div></li>'
    )


def _player(folder: Path, song: Path, heard: Heard) -> str:
    words, name = f"item {heard.item}, level {heard.level}", escape(_name(song))
    source = _link(folder, song / audio_name(heard.level, heard.item))
    return (
        f"<figure><figcaption>{words.capitalize()}</figcaption>"
        f'<audio controls preload="none" src="{source}" aria-label="{name}, {words}"></audio></figure>'
    )


def _link(folder: Path, path: Path) -> str:
    """Return how the page in a folder names a file, whatever is in its name; safe in an attribute."""
    return quote(os.fsencode(os.path.relpath(path.absolute(), folder.absolute())))


def _link_to_file(folder: Path, path: Path) -> str:
    """Return the same; empty where there is no such file, or its folder does not let anybody look."""
    with suppress(OSError):
        return _link(folder, path) if path.is_file() else ""
    return ""


def _name(song: Path) -> str:
    return song.absolute().name


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
