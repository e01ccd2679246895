"""Listening tests: items, saved versions and recordings on one page, which switches between them at the same moment."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukebox_kit._files import make_folder, shown_path, user_path, write_atomically
from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.song.arguments import item_number, level_number
from jukebox_kit.song.audio import audio_bytes, read_recording
from jukebox_kit.song.chunks import level_audio
from jukebox_kit.song.export import joined_levels, loudness
from jukebox_kit.song.page import render_page
from jukebox_kit.song.request import load_model
from jukebox_kit.song.sampled_audio import SampledAudio
from jukebox_kit.song.song import Song, is_song
from jukebox_kit.song.versions import read_version, version_names

MOST = 9  # sounds, which keys 1 to 9 choose

RATE = 44100  # of a recording, unless a song in the comparison has a higher one

_SIDE = re.compile(r"(?P<path>.+?)(?:@(?P<version>\d+))?(?::(?P<item>\d+))?")


@dataclass(frozen=True)
class Side:
    """One of the sounds that are compared.

    path: an audio file, or a song's folder.
    item: of the song, counted from 0.
    version: a saved version of the song; None for its present state.
    """

    path: Path
    item: int = 0
    version: str | None = None

    @classmethod
    def of(cls, what: str | Path | Side) -> Side:
        """Return a side from FILE, SONG, SONG:ITEM, SONG@VERSION or SONG@VERSION:ITEM; names that exist come first."""
        if isinstance(what, Side):
            return what
        path, match = user_path(what), _SIDE.fullmatch(str(what))
        if match is None or path.exists():
            return cls(path)
        return cls(user_path(match["path"]), int(match["item"] or 0), match["version"])

    @property
    def name(self) -> str:
        """What the page calls it."""
        if not self.path.is_dir():
            return self.path.name
        version = "" if self.version is None else f", version {self.version}"
        return f"{self.path.absolute().name}{version}, item {self.item}"


def compare(
    sides: Iterable[str | Path | Side],
    target: str | Path = "compare.html",
    level: int | str | None = None,
    blind: bool = False,
    note: Callable[[str], object] = lambda _: None,
) -> Path:
    """Write a page with two to nine sounds, matched in loudness, and return its path.

    sides: as `Side.of` reads them. target: an .html file, which contains the sounds and needs nothing else. level: of
    songs, by default the best at each moment. blind: begin with hidden names in random order. note: gets sentences for
    the user about recordings.

    Raises RequestError for fewer or more sounds or another target, SongError for songs, versions, items or levels that
    do not exist or are not sampled yet, AudioError for recordings that cannot be read.
    """
    chosen = [Side.of(one) for one in sides]
    if not 2 <= len(chosen) <= MOST:
        raise RequestError(f"name 2 to {MOST} songs or recordings to compare, not {len(chosen)}.")
    path = user_path(target)
    if path.suffix.lower() != ".html" or path.is_dir():
        raise RequestError(f"{shown_path(path)} must be a file that ends with .html.", field="out")
    level = None if level is None else level_number(level)
    readers = [_Reader(side, level) for side in chosen]  # all are there before the first one is decoded
    rate = max([reader.song.sr for reader in readers if reader.song is not None], default=RATE)
    models: dict[str, Model] = {}
    content = _page(chosen, [reader.read(models, rate, note) for reader in readers], blind)
    make_folder(path.absolute().parent)
    write_atomically(path.absolute().parent, path.name, content.encode("utf-8", "replace"))
    return path


class _Reader:
    """Reads one side's audio."""

    def __init__(self, side: Side, level: int | None) -> None:
        """Look whether a side exists and has audio."""
        self.side, self.song = side, None
        if not side.path.is_dir() and not side.path.suffix and not side.path.exists():
            raise SongError(f"there is no song or recording {shown_path(side.path)}.")
        if not side.path.is_dir():
            return
        if not is_song(side.path):
            raise SongError(f"{shown_path(side.path)} is not a song folder; name a song or an audio file.")
        self.song = song = Song.open(side.path)
        if side.version is not None and side.version not in version_names(song.state):
            known = ", ".join(version_names(song.state)) or "none"
            raise SongError(f"{song.shown_path} has no version {side.version}; its versions are: {known}.")
        items, levels = song.request.items, song.state.all_levels()
        if side.version is not None:
            manifest, levels = read_version(song.state, side.version)
            items = manifest.request.items
        self.item = item_number(song.shown_path, items, side.item)
        self.levels = levels if level is None else {level: levels[level]}
        if not any(one.made[self.item] for one in self.levels.values()):
            where = "" if level is None else f" at level {level}"
            raise SongError(f"{side.name} has nothing sampled{where} yet; sample it first.")

    def read(self, models: dict[str, Model], rate: int, note: Callable[[str], object]) -> SampledAudio:
        """Return the audio. models: those that were loaded, by name. rate: for recordings."""
        if self.song is None:
            return read_recording(self.side.path, rate, note=note)
        request = self.song.request
        if request.model not in models:
            models[request.model] = load_model(request)
        vqvae = models[request.model].vqvae
        lengths = {level: codes.made[self.item] * vqvae.config.hops[level] for level, codes in self.levels.items()}
        return joined_levels(
            lengths, lambda level: level_audio(vqvae, level, self.levels[level], self.item), self.song.sr
        )


def _page(sides: list[Side], audios: list[SampledAudio], blind: bool) -> str:
    """Return the page. Loudness is matched to the quietest sound, so that none clips."""
    measured = [loudness(np.clip(audio, -1.0, 1.0), audio.sr) for audio in audios]  # as the files hold them
    quietest = min((one for one in measured if one is not None), default=0.0)
    rows = [
        {
            "name": side.name,
            "gain": 1.0 if lufs is None else 10 ** ((quietest - lufs) / 20),
            "audio": base64.b64encode(audio_bytes(audio, audio.sr, "flac")).decode(),
        }
        for side, audio, lufs in zip(sides, audios, measured, strict=True)
    ]
    data = {
        "sides": rows,
        "blind": blind,
        "rate": max(audio.sr for audio in audios),
        "seconds": max(len(audio) / audio.sr for audio in audios),
    }
    return render_page(
        "compare.html", "Compare", {"data": data}, ("base.css", "player.css", "compare.css"), ("compare.js",)
    )
