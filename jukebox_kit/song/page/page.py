"""index.html: a song as one page that opens by double click, with no server and no network.

`page_of` collects what it shows, `render` turns that into HTML. Script and style are inside the page; sounds and
pictures are named relative to it, so the folder can be moved. The notebook shows the same page with `data:` URIs in
their place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from jukebox_kit._files import exists
from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.song.audio_files import tokens_heard
from jukebox_kit.song.files import PAGE, audio_name, picture_name, words_name
from jukebox_kit.song.history import Event
from jukebox_kit.song.lyrics.alignment import follow, read_alignments
from jukebox_kit.song.lyrics.timing import Line
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.page.html import LevelState, describe_share, render_page
from jukebox_kit.song.reproduce import Recipe, asked_fields, recipe_of
from jukebox_kit.song.state import SongState

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


def write_page(state: SongState) -> None:
    """Write the song's page, unless the file already has this content."""
    content = render(page_of(state)).encode("utf-8", "replace")  # a folder's name may be any bytes
    if state.store.read(PAGE) != content:
        state.store.write(PAGE, content)


def page_of(state: SongState) -> Page:
    """Return the page of a song.

    Audio decoded from other codes than the current ones, as after an edit, is left out, and the page says so.
    Alignments of other codes are left out too.
    """
    sounds: dict[tuple[int, int], Sound] = {}
    for level in LEVELS:
        for item in state.items(level):
            if tokens := tokens_heard(state, level, item):
                sounds[level, item] = _sound(state, level, item, tokens)
    items = range(state.request.items)
    heard = {item: tuple(sounds[level, item] for level in LEVELS if (level, item) in sounds) for item in items}
    lines = {item: follow(alignment) for item, alignment in read_alignments(state)}
    return Page(
        state.request.artist,
        state.request.genre,
        state.definition.name,
        state.resolved.samples / state.sr,
        tuple(_item(state, item, heard[item], lines.get(item)) for item in items),
        state.request.lyrics,
        _untimed(state, 0 in lines),
        tuple(_level(state, level, sounds) for level in DOWNWARD),
        state.resolved.notes,
        _request_rows(state.manifest),
        tuple((_clock(event.when), _event_text(event)) for event in state.manifest.history),
        recipe_of(state.manifest, state.root.absolute().name),
        state.manifest.licence,
    )


def render(page: Page) -> str:
    """Return the page as one HTML file that needs nothing but the sounds and pictures it names."""
    title = f"{page.artist} · {page.genre}"
    player = {"seconds": page.seconds, "items": [dataclasses.asdict(item) for item in page.items if item.sounds]}
    values = {"page": page, "data": player}
    return render_page("page.html", title, values, ("base.css", "player.css"), ("player.js", "view.js"))


def _item(state: SongState, item: int, sounds: tuple[Sound, ...], lines: tuple[Line, ...] | None) -> PageItem:
    if lines is None:
        return PageItem(item, sounds)
    picture = exists(state.root / words_name(item))
    return PageItem(item, sounds, lines, words_name(item) if picture else None)


def _untimed(state: SongState, aligned: bool) -> str:
    """Return why the lyrics of items without timed lines do not follow the music."""
    if not state.definition.top.use_tokens:
        return NO_LYRICS_READ
    return NO_EVIDENCE if aligned else NOT_ALIGNED


def _sound(state: SongState, level: int, item: int, tokens: int) -> Sound:
    picture: str | None = picture_name(level, item)
    if not exists(state.root / picture_name(level, item)):
        picture = None
    return Sound(level, audio_name(level, item), picture, tokens * state.definition.vqvae.hops[level] / state.sr)


def _level(state: SongState, level: int, sounds: Container[tuple[int, int]]) -> LevelState:
    """Return the state of a level, with a sentence about audio that is missing or out of date."""
    items, total, done = state.items(level), state.resolved.plans[level].total, state.level(level).done
    share = sum(done[item] for item in items) / (len(items) * total)
    summary = describe_share(share)
    stale = [i for i in items if (level, i) not in sounds and exists(state.root / audio_name(level, i))]
    if stale:
        subject = "Its audio" if len(stale) == len(items) else f"Its audio of item {', '.join(map(str, stale))}"
        summary += f". {subject} is older than the last edit and not shown; jukebox-kit resume writes it again"
    elif share and not any((level, item) in sounds for item in items):
        summary += ", no audio yet; jukebox-kit resume writes it"
    return LevelState(level, share, summary)


def _request_rows(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Return the fields that were set, and those that are always shown; lyrics have a place of their own."""
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
