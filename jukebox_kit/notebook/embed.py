"""A song's page inside the notebook: the same page, its sounds and pictures carried along as data."""

from __future__ import annotations

import base64
import html
from dataclasses import replace
from pathlib import Path

import soundfile

from jukebox_kit.song import Song, audio_bytes
from jukebox_kit.song.page import PageItem, Sound, page_of, render

HEIGHT = 760  # pixels


def embedded_page(song: Song) -> str:
    """Return the song's page as one piece of HTML that needs no other file."""
    page = page_of(song)
    return render(replace(page, items=tuple(_carried(item, song.root) for item in page.items)))


def framed(page: str) -> str:
    """Return HTML that shows a page inside another one, where its script runs by itself."""
    source = html.escape(page)
    return f'<iframe srcdoc="{source}" allow="autoplay" style="width:100%;height:{HEIGHT}px;border:0"></iframe>'


def _carried(item: PageItem, root: Path) -> PageItem:
    heat_map = None if item.heat_map is None else _png(root / item.heat_map)
    return replace(item, sounds=tuple(_sound(sound, root) for sound in item.sounds), heat_map=heat_map)


def _sound(sound: Sound, root: Path) -> Sound:
    audio, sr = soundfile.read(root / sound.audio, dtype="float32")
    picture = None if sound.picture is None else _png(root / sound.picture)
    return replace(sound, audio=_uri("audio/flac", audio_bytes(audio, sr, "flac")), picture=picture)


def _png(path: Path) -> str:
    return _uri("image/png", path.read_bytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
