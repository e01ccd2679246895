"""Which song an audio file came from: by its tags, also after it was renamed, or else by its sound."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from jukebox_kit._files import printable, shown_path, user_path
from jukebox_kit.errors import AudioError, SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.audio import Audio, read_recording
from jukebox_kit.song.audio_files import mark_of, tokens_heard
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.files import audio_name
from jukebox_kit.song.resemblance import Likeness, likeness, rough_likeness
from jukebox_kit.song.song import Song, find_songs
from jukebox_kit.song.tags import Part, Source, read_source
from jukebox_kit.song.version_tree import NOW
from jukebox_kit.song.versions import Levels, read_version, version_names

ALIKE = 0.5  # likeness from which a recording counts as a song's; other music and noise stay below 0.2

TIE = 1e-3  # likeness by which two songs may differ and both be named, as after a copy

LOOKED_CLOSER = 6  # audio files of a song that are compared in full


@dataclass(frozen=True)
class Origin:
    """Where a file came from.

    found_by: its tags, or its sound compared with the audio files of songs. folder: the song's, None if its tags name a
    song that is in none of the folders. states: those of the song that have the file's codes: "now", or the names of
    versions. likeness: see `Likeness`; 1 if found by tags. seconds: where in the song the file begins.
    """

    path: Path
    found_by: Literal["tags", "sound"]
    song: str
    name: str
    model: str
    seed: int
    parts: tuple[Part, ...]
    folder: Path | None
    states: tuple[str, ...]
    likeness: float = 1.0
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """The same as text."""
        parts = " + ".join(f"item {part.item}, level {part.level}" for part in self.parts)
        start = f" from {self.seconds:.2f} s" if self.found_by == "sound" else ""
        how = "by its tags" if self.found_by == "tags" else f"by its sound, {self.likeness:.0%} alike"
        where = "in none of the folders" if self.folder is None else shown_path(self.folder)
        state = ""
        if self.folder is not None:
            names = ["as it is now" if name == NOW else f"version {name}" for name in self.states]
            state = f" ({', '.join(names) or 'of a state that it no longer has'})"
        about = f"model {self.model}, seed {self.seed}"
        return printable(f"{shown_path(self.path)}: {self.name}, {parts}{start}; {about}; {where}{state}; {how}")


def whence(path: str | Path, folders: Iterable[str | Path] = (".",)) -> tuple[Origin, ...]:
    """Return the songs that an audio file came from: none if unknown, several if folders hold copies of the song.

    Tags that this package wrote name the song, and the hash of its codes the state. For a file without them the sound
    is compared with the audio files of the songs, so that copies, excerpts, other formats and loudness are recognised;
    states whose audio is no longer there are not. folders: songs, or folders of songs. SongError if one of them does
    not exist, AudioError for a file that cannot be read as audio.
    """
    place = user_path(path)
    if not place.is_file():
        raise AudioError(f"there is no file {path}.")
    songs = list(_songs(folders))
    source = read_source(place)
    if source is not None:
        return tuple(_by_tags(place, source, songs))
    return tuple(_by_sound(place, songs))


def _songs(folders: Iterable[str | Path]) -> Iterator[Song]:
    """Yield the songs in folders, each once; those that cannot be opened are left out."""
    for folder in dict.fromkeys(found.resolve() for found in find_songs([user_path(one) for one in folders])):
        with suppress(SongError):
            yield Song.open(folder)


def _by_tags(path: Path, source: Source, songs: Iterable[Song]) -> Iterator[Origin]:
    about = source.song, source.name, source.model, source.seed, source.parts
    holders = [song for song in songs if song.manifest.song_id == source.song]
    for song in holders:
        states = (name for name, levels in _states(song) if all(_has(levels, part) for part in source.parts))
        yield Origin(path, "tags", *about, song.root, tuple(states))
    if not holders:
        yield Origin(path, "tags", *about, None, ())


def _states(song: Song) -> Iterator[tuple[str, Levels]]:
    """Yield the present state of a song and its versions, the latest first; damaged ones are left out."""
    state = song.state
    with suppress(SongError):
        yield NOW, state.all_levels()
    for name in reversed(version_names(state)):
        with suppress(SongError):
            yield name, read_version(state, name)[1]


def _has(levels: Mapping[int, LevelCodes], part: Part) -> bool:
    """Return whether a state has the codes of a part, as the first of that item and level."""
    codes, count = levels[part.level], int(part.codes.split()[0])
    return part.item < len(codes.codes) and mark_of(codes.codes[part.item, :count]) == part.codes


def _by_sound(path: Path, songs: Iterable[Song]) -> Iterator[Origin]:
    """Yield the item and level of the song that sounds most like a file, and of others that sound the same."""
    recordings: dict[int, Audio] = {}
    best: list[tuple[Likeness, Song, int, int]] = []
    for song in songs:
        if song.sr not in recordings:
            recordings[song.sr] = np.asarray(read_recording(path, song.sr))
        found = _most_alike(recordings[song.sr], song)
        best += [(found[0], song, *found[1:])] if found else []
    highest = max((one[0].value for one in best), default=0.0)
    for alike, song, item, level in best:
        if alike.value >= max(ALIKE, highest - TIE):
            yield _origin(path, song, item, level, alike, len(recordings[song.sr]))


def _most_alike(recording: Audio, song: Song) -> tuple[Likeness, int, int] | None:
    """Return the likeness, item and level of a song's audio file that is most like a recording; None if it has none.

    All are compared at a low rate, and those most alike in full.
    """
    state = song.state
    looked: list[tuple[Likeness, int, int]] = []
    for item in range(song.request.items):
        for level in LEVELS:
            if tokens_heard(state, level, item):
                looked.append((rough_likeness(recording, _audio(song, item, level), song.sr), item, level))
    closer = [
        (likeness(recording, _audio(song, item, level), song.sr, rough.start), item, level)
        for rough, item, level in sorted(looked, key=lambda one: -one[0].value)[:LOOKED_CLOSER]
    ]
    return max(closer, key=lambda one: one[0].value, default=None)


def _origin(path: Path, song: Song, item: int, level: int, alike: Likeness, samples: int) -> Origin:
    codes, hop = song.level(level), song.definition.vqvae.hops[level]
    count = min(-(-max(alike.start + samples, 1) // hop), codes.made[item])
    part = Part(item, level, mark_of(codes.codes[item, :count]))
    states = tuple(name for name, levels in _states(song) if _has(levels, part))
    request, name = song.request, song.root.name
    about = song.manifest.song_id, name, song.definition.name, request.seed, (part,)
    return Origin(path, "sound", *about, song.root, states, alike.value, alike.start / song.sr)


def _audio(song: Song, item: int, level: int) -> Audio:
    audio: Audio = soundfile.read(os.fsencode(song.root / audio_name(level, item)), dtype="float32")[0]
    return audio
