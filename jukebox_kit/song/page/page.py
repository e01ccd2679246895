"""index.html: a song as one page that opens by double click, with no server and no network.

`page_of` reads the folder, `render` turns the result into HTML. Script and style are inside the page; sounds and
pictures are named relative to it, so the folder can be moved. The notebook shows the same page with `data:` URIs in
their place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.song.audio_files import tokens_heard
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.files import PAGE, audio_name, picture_name, words_name
from jukebox_kit.song.history import Event
from jukebox_kit.song.lyrics.alignment import follow, read_alignment
from jukebox_kit.song.lyrics.timing import Line
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.page.html import LevelState, describe_share, render_page
from jukebox_kit.song.reproduce import Recipe, asked_fields, recipe_of
from jukebox_kit.song.song import Song

NOT_ALIGNED = "These lyrics have not been aligned with the music, so they do not follow it."

NO_EVIDENCE = "The model's attention does not show when each line is sung, so the lyrics do not follow the music."

NO_LYRICS_READ = "This model does not read lyrics, so they cannot be aligned with the music."


@dataclass(frozen=True)
class Sound:
    """An item's audio at a level; seconds: how much of it is saved.

    audio, picture: names relative to the page, or `data:` URIs; a picture is as wide as its audio is long.
    """

    level: int
    audio: str
    picture: str | None
    seconds: float


@dataclass(frozen=True)
class PageItem:
    """An item's audio, the best level first, and the lines of its lyrics if their times are known.

    heat_map: the picture of the attention to the lyrics, named as a Sound's pictures are.
    """

    item: int
    sounds: tuple[Sound, ...]
    lines: tuple[Line, ...] = ()
    heat_map: str | None = None


@dataclass(frozen=True)
class Page:
    """What a page shows. Empty sections are left out.

    seconds: length of the whole song, even if less is sampled; untimed: why the lyrics of items without lines do not
    follow the music; request: names and values; history: when and what.
    """

    artist: str
    genre: str
    model: str
    seconds: float
    items: tuple[PageItem, ...]
    lyrics: str = ""
    untimed: str = ""
    state: tuple[LevelState, ...] = ()
    notes: tuple[str, ...] = ()
    request: tuple[tuple[str, str], ...] = ()
    history: tuple[tuple[str, str], ...] = ()
    recipe: Recipe | None = None
    licence: str = ""


def write_page(song: Song) -> None:
    """Write the song's page, unless the file already has this content."""
    content = render(page_of(song)).encode("utf-8", "replace")  # a folder's name may be any bytes
    if song.store.read(PAGE) != content:
        song.store.write(PAGE, content)


def page_of(song: Song) -> Page:
    """Return the page of a song as its folder is now.

    Audio decoded from other codes than the current ones, as after an edit, is left out, and the page says so.
    Alignments of other codes are left out too.
    """
    codes = {level: song.level(level) for level in LEVELS}
    sounds: dict[tuple[int, int], Sound] = {}
    for level in LEVELS:
        for item in song.items(level):
            tokens = tokens_heard(song, level, item, codes[level].codes[item, : codes[level].made[item]])
            if tokens:
                sounds[level, item] = _sound(song, level, item, tokens)
    items = range(song.request.items)
    heard = {item: tuple(sounds[level, item] for level in LEVELS if (level, item) in sounds) for item in items}
    return Page(
        song.request.artist,
        song.request.genre,
        Path(song.request.model).stem,
        song.resolved.samples / song.sr,
        tuple(_item(song, item, heard[item]) for item in items),
        song.request.lyrics,
        _untimed(song),
        tuple(_state(song, level, codes[level], sounds) for level in DOWNWARD),
        song.resolved.notes,
        _request_rows(song.manifest),
        tuple((_clock(event.when), _event_text(event)) for event in song.manifest.history),
        recipe_of(song.manifest, song.root.absolute().name),
        song.manifest.licence,
    )


def render(page: Page) -> str:
    """Return the page as one HTML file that needs nothing but the sounds and pictures it names."""
    title = f"{page.artist} · {page.genre}"
    player = {"seconds": page.seconds, "items": [dataclasses.asdict(item) for item in page.items if item.sounds]}
    values = {"page": page, "data": player}
    return render_page("page.html", title, values, ("base.css", "player.css"), ("player.js", "view.js"))


def _item(song: Song, item: int, sounds: tuple[Sound, ...]) -> PageItem:
    alignment = read_alignment(song, item)
    if alignment is None:
        return PageItem(item, sounds)
    picture = (song.root / words_name(item)).exists()
    return PageItem(item, sounds, follow(alignment), words_name(item) if picture else None)


def _untimed(song: Song) -> str:
    """Return why the lyrics of items without timed lines do not follow the music."""
    if not song.definition.top.use_tokens:
        return NO_LYRICS_READ
    return NOT_ALIGNED if read_alignment(song, 0) is None else NO_EVIDENCE


def _sound(song: Song, level: int, item: int, tokens: int) -> Sound:
    picture: str | None = picture_name(level, item)
    if not (song.root / picture_name(level, item)).exists():
        picture = None
    return Sound(level, audio_name(level, item), picture, tokens * song.definition.vqvae.hops[level] / song.sr)


def _state(song: Song, level: int, codes: LevelCodes, sounds: Container[tuple[int, int]]) -> LevelState:
    """Return the state of a level, with a sentence about audio that is missing or out of date."""
    items, total = song.items(level), song.resolved.plans[level].total
    share = sum(codes.done[item] for item in items) / (len(items) * total)
    summary = describe_share(share)
    stale = [i for i in items if (level, i) not in sounds and (song.root / audio_name(level, i)).exists()]
    if stale:
        subject = "Its audio" if len(stale) == len(items) else f"Its audio of item {', '.join(map(str, stale))}"
        summary += f". {subject} is older than the last edit and not shown; jukebox-kit resume writes it again"
    elif share and not any((level, item) in sounds for item in items):
        summary += ", no audio yet; jukebox-kit resume writes it"
    return LevelState(level, share, summary)


def _request_rows(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Return the fields that were requested, and those that every song shows; lyrics are shown elsewhere."""
    shown = {**dataclasses.asdict(manifest.request), **{"lyrics": ""}}
    listed = asked_fields(manifest.request).keys() | {"model", "artist", "genre", "seconds", "items", "seed"}
    rows = [(name.replace("_", " "), _value(value)) for name, value in shown.items() if name in listed and value != ""]
    if manifest.upsample is not None:
        rows.append(("upsampled items", _value(manifest.upsample)))
    return tuple(rows)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _clock(when: str) -> str:
    """Return a time of the history in a readable form."""
    return when.replace("T", " ").replace("+00:00", " UTC")


def _event_text(event: Event) -> str:
    """Return an event's sentence, followed by the details that it leaves out."""
    return f"{event.sentence} {json.dumps(event.details, ensure_ascii=False)}" if event.details else event.sentence
