"""A song's page inside the notebook: the same page, with sounds and pictures embedded as data."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path

import soundfile
from markupsafe import Markup

from jukebox_kit.song import Song, audio_bytes
from jukebox_kit.song.page import PageItem, Sound, page_of, render


def embedded_page(song: Song) -> str:
    """Return the song's page as HTML that needs no other file."""
    page = page_of(song.state)
    return render(replace(page, items=tuple(_embedded(item, song.root) for item in page.items)))


def page_frame(page: str) -> Markup:
    """Return a frame that shows a page inside another one, isolated from its scripts and styles."""
    return Markup('<iframe class="jk-page" srcdoc="{}" allow="autoplay"></iframe>').format(page)


def _embedded(item: PageItem, root: Path) -> PageItem:
    heat_map = None if item.heat_map is None else _png(root / item.heat_map)
    return replace(item, sounds=tuple(_sound(sound, root) for sound in item.sounds), heat_map=heat_map)


def _sound(sound: Sound, root: Path) -> Sound:
    audio, sr = soundfile.read(os.fsencode(root / sound.audio), dtype="float32")
    picture = None if sound.picture is None else _png(root / sound.picture)
    return replace(sound, audio=_uri("audio/flac", audio_bytes(audio, sr, "flac")), picture=picture)


def _png(path: Path) -> str:
    return _uri("image/png", path.read_bytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
