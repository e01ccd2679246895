"""A level's audio files, their pictures, and the song's page."""

from __future__ import annotations

import os
from dataclasses import replace

import soundfile

from jukebox_kit.engine import Model
from jukebox_kit.model import LEVELS, TOP
from jukebox_kit.song.audio import Audio, wav_bytes
from jukebox_kit.song.audio_files import mark_of, tokens_heard
from jukebox_kit.song.files import SPECTROGRAM, audio_name, picture_name, words_name
from jukebox_kit.song.lyrics.alignment import ensure_alignments, read_alignment
from jukebox_kit.song.page.page import write_page
from jukebox_kit.song.pictures import heat_map_png, spectrogram_png, strip_png
from jukebox_kit.song.song import Song


def finish_sounds(song: Song, level: int, model: Model) -> None:
    """Write what is missing of a sampled level's audio, pictures and page, and publish the song's files."""
    write_sounds(song, level, model)
    song.store.publish()


def sounds_stand(song: Song, level: int) -> bool:
    """Return whether the audio files of a level are complete and match its codes."""
    codes = song.codes(level)
    return all(tokens_heard(song, level, item, codes[item]) == codes.shape[1] for item in song.items(level))


def write_sounds(song: Song, level: int, model: Model) -> None:
    """Write every item's audio of a level so far with its picture, the picture of the levels, and the page.

    Files that match the present codes are left as they are.
    """
    found, marks = song.level(level), dict(song.manifest.sounds)
    for item in song.items(level):
        made = found.codes[item, : found.made[item]]
        if len(made) and tokens_heard(song, level, item, made) != len(made):
            _write_sound(song, level, item, model)
            marks[audio_name(level, item)] = mark_of(made)
        elif len(made) and not (song.root / picture_name(level, item)).exists():
            song.store.write(picture_name(level, item), strip_png(_read(song, level, item), song.sr))
    changed = {name for name, mark in marks.items() if song.manifest.sounds.get(name) != mark}
    if changed:
        song.keep(replace(song.manifest, sounds=marks))
    first = song.items(0)[0]
    if audio_name(level, first) in changed or not (song.root / SPECTROGRAM).exists():
        _write_spectrogram(song, first)
    if level == TOP:
        _write_words(song, changed)
    write_page(song)


def add_words(song: Song, model: Model) -> None:
    """Find out when the lyrics are sung if that is unknown, as after an undo or an import, and show it on the page.

    Loads the top prior. Raises as `ensure_alignments` does.
    """
    ensure_alignments(song, model)
    with song.locked():
        _write_words(song, {audio_name(TOP, item) for item in song.items(TOP)})
        write_page(song)
        song.store.publish()


def _write_sound(song: Song, level: int, item: int, model: Model) -> None:
    audio = song.audio(level, item, model)
    song.store.write(audio_name(level, item), wav_bytes(audio, song.sr))
    song.store.write(picture_name(level, item), strip_png(audio, song.sr))


def _write_words(song: Song, changed: set[str]) -> None:
    """Write the pictures of which words were attended to, of items whose audio has changed or that have none."""
    for item in song.items(TOP):
        missing = not (song.root / words_name(item)).exists()
        alignment = read_alignment(song, item) if missing or audio_name(TOP, item) in changed else None
        if alignment is not None:
            seconds, lines = len(alignment.weights) * alignment.frame_seconds, alignment.text.split("\n")
            picture = heat_map_png(alignment.weights, seconds, lines, f"what item {item} attends to")
            song.store.write(words_name(item), picture)


def _write_spectrogram(song: Song, item: int) -> None:
    """Write the picture of an item's levels, of those whose audio matches the present codes."""
    found = {level: song.level(level) for level in LEVELS}
    made = {level: codes.codes[item, : codes.made[item]] for level, codes in found.items()}
    levels = {level: _read(song, level, item) for level in LEVELS if tokens_heard(song, level, item, made[level])}
    if levels:
        title = f"{song.request.artist}, {song.request.genre} ({song.request.model})"
        song.store.write(SPECTROGRAM, spectrogram_png(levels, song.sr, title))


def _read(song: Song, level: int, item: int) -> Audio:
    audio: Audio = soundfile.read(os.fsencode(song.root / audio_name(level, item)), dtype="float32")[0]
    return audio
