"""index.html: a song as one page to open by double click, with no server and no network.

`page_of` reads what is in the folder, `render` makes the page of it. Script and style are in the page; sounds and
pictures are named relative to it, so that the folder can be moved. The notebook shows the same page with `data:` URIs
in their place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.song.audio_files import audio_name, picture_name, tokens_heard, words_name
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.lyrics.alignment import follow, read_alignment
from jukebox_kit.song.lyrics.timing import Line
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.page.html import NAME, LevelState, framed, share_words, state_html, table_html, web_file
from jukebox_kit.song.reproduce import Again, again, asked_fields
from jukebox_kit.song.song import Song

UNTIMED = "When each line is sung has not been worked out for this, so the words do not follow the music."

UNHEARD = "The model's attention does not tell when a line is sung here, so the words do not follow the music."

UNREAD = "This model does not read lyrics, so there is nothing to tell when a line would be sung."


@dataclass(frozen=True)
class Sound:
    """An item's audio at a level, `seconds` long so far.

    audio, picture: names relative to the page, or `data:` URIs; a picture is as wide as its audio is long.
    """

    level: int
    audio: str
    picture: str | None
    seconds: float


@dataclass(frozen=True)
class PageItem:
    """What can be heard of an item, the best level first; the lines of its lyrics where their times are known.

    heat_map: the picture of which words were attended to, as a Sound's pictures are named.
    """

    item: int
    sounds: tuple[Sound, ...]
    lines: tuple[Line, ...] = ()
    heat_map: str | None = None


@dataclass(frozen=True)
class Page:
    """What a page shows. Parts that are empty are left out of it.

    seconds: the whole song's, also where less is made; untimed: why the lyrics of items without lines do not follow the
    music; request: names and values; history: when and what.
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
    again: Again | None = None
    licence: str = ""


def write_page(song: Song) -> None:
    """Write the song's page, unless it is there as it is to be."""
    content = render(page_of(song)).encode()
    if song.store.read(NAME) != content:
        song.store.write(NAME, content)


def page_of(song: Song) -> Page:
    """Return the page of a song as its folder is now.

    Audio that plays other codes than the song's, as after an edit, is left out, and the page says so; so are lyrics in
    time that were worked out for others.
    """
    found = {level: song.level(level) for level in LEVELS}
    sounds: dict[tuple[int, int], Sound] = {}
    for level in LEVELS:
        for item in song.items(level):
            tokens = tokens_heard(song, level, item, found[level].codes[item, : found[level].made[item]])
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
        tuple(_state(song, level, found[level], sounds) for level in DOWNWARD),
        song.resolved.notes,
        _request_rows(song.manifest),
        tuple((_clock(line["when"]), _told(line)) for line in song.manifest.history),
        again(song.manifest, song.root.absolute().name),
        song.manifest.licence,
    )


def render(page: Page) -> str:
    """Return the page as one HTML file that needs nothing else but the sounds and pictures it names."""
    body = Template(web_file("page.html")).substitute(
        artist=escape(page.artist),
        about=escape(f"{page.genre} · {page.model} · {page.seconds:.1f} seconds"),
        state="".join(state_html(state) for state in page.state),
        links="".join(_link(item.item, sound) for item in page.items for sound in item.sounds),
        lyrics=escape(page.lyrics),
        untimed=escape(page.untimed),
        about_song="\n".join(part for part in _sections(page) if part),
        data=_data(page),
    )
    title = f"{page.artist} · {page.genre}"
    return framed(title, body.rstrip(), ("base.css", "player.css"), ("player.js", "view.js"))


def _item(song: Song, item: int, sounds: tuple[Sound, ...]) -> PageItem:
    alignment = read_alignment(song, item)
    if alignment is None:
        return PageItem(item, sounds)
    picture = (song.root / words_name(item)).exists()
    return PageItem(item, sounds, follow(alignment), words_name(item) if picture else None)


def _untimed(song: Song) -> str:
    """Return why the lyrics of items that have no lines in time do not follow the music."""
    if not song.definition.top.use_tokens:
        return UNREAD
    return UNTIMED if read_alignment(song, 0) is None else UNHEARD


def _sound(song: Song, level: int, item: int, tokens: int) -> Sound:
    picture: str | None = picture_name(level, item)
    if not (song.root / picture_name(level, item)).exists():
        picture = None
    return Sound(level, audio_name(level, item), picture, tokens * song.definition.vqvae.hops[level] / song.sr)


def _state(song: Song, level: int, codes: LevelCodes, sounds: Container[tuple[int, int]]) -> LevelState:
    """Return how far a level is, and which of its audio is left out since it plays other codes than there are."""
    items, total = song.items(level), song.resolved.plans[level].total
    share = sum(codes.done[item] for item in items) / (len(items) * total)
    words = share_words(share)
    stale = [i for i in items if (level, i) not in sounds and (song.root / audio_name(level, i)).exists()]
    if stale:
        which = "Its audio" if len(stale) == len(items) else f"Its audio of item {', '.join(map(str, stale))}"
        words += (
            f". {which} is from before the last change of the song, and left out here; jukebox-kit resume renews it"
        )
    elif share and not any((level, item) in sounds for item in items):
        words += ", no audio yet; jukebox-kit resume writes it"
    return LevelState(level, share, words)


def _request_rows(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Return the request's fields, those asked for and those that matter to any song; lyrics have their own place."""
    shown = {**dataclasses.asdict(manifest.request), **{"lyrics": ""}}
    asked = asked_fields(manifest.request).keys() | {"model", "artist", "genre", "seconds", "items", "seed"}
    rows = [(name.replace("_", " "), _value(value)) for name, value in shown.items() if name in asked and value != ""]
    if manifest.upsample is not None:
        rows.append(("upsampled items", _value(manifest.upsample)))
    return tuple(rows)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _clock(when: str) -> str:
    """Return a moment of the history as a person writes it."""
    return when.replace("T", " ").replace("+00:00", " UTC")


def _told(line: Mapping[str, Any]) -> str:
    """Return a line of the history with its facts."""
    facts = {name: value for name, value in line.items() if name not in ("when", "what")}
    return f"{line['what']} {json.dumps(facts, ensure_ascii=False)}" if facts else str(line["what"])


def _data(page: Page) -> str:
    """Return what the player is told, as JSON in which no text can end the element that it stands in."""
    told = {"seconds": page.seconds, "items": [dataclasses.asdict(item) for item in page.items if item.sounds]}
    return json.dumps(told, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _link(item: int, sound: Sound) -> str:
    return f'<li><a href="{escape(sound.audio)}">Item {item}, level {sound.level}</a></li>'


def _sections(page: Page) -> list[str]:
    """Return the parts below the player, empty ones as empty text."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in page.notes)
    lines = "".join(f"<li><time>{escape(when)}</time> {escape(what)}</li>" for when, what in page.history)
    return [
        _section("Make it again", _again_html(page.again) if page.again else ""),
        _section("Request", table_html(page.request)),
        _section("Notes", f"<ul>{notes}</ul>" if notes else ""),
        _section("History", f'<ol class="history">{lines}</ol>' if lines else ""),
        _section("Licence", f"<p>Model and what it makes: {escape(page.licence)}.</p>" if page.licence else ""),
    ]


def _section(title: str, content: str) -> str:
    return f'<section class="card"><h2>{title}</h2>{content}</section>' if content else ""


def _again_html(how: Again) -> str:
    words = escape(" ".join(how.words))
    blocks = (("From the shell", how.shell), ("From Python", how.python))
    code = "".join(f"<h3>{name}</h3><pre tabindex=0><code>{escape(text)}</code></pre>" for name, text in blocks)
    return f"<p>{words}</p>{code}"
