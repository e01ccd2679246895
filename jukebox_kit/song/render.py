"""A level's audio files, their pictures, and the song's page."""

from __future__ import annotations

import io
from dataclasses import replace

import soundfile

from jukebox_kit._files import exists, read_file
from jukebox_kit.engine import Model
from jukebox_kit.model import LEVELS, TOP
from jukebox_kit.song.audio import Audio, wav_bytes
from jukebox_kit.song.audio_files import mark_of, tokens_heard
from jukebox_kit.song.chunks import level_audio
from jukebox_kit.song.files import SPECTROGRAM, audio_name, picture_name, words_name
from jukebox_kit.song.lyrics.alignment import ensure_alignments, read_alignments
from jukebox_kit.song.page.page import write_page
from jukebox_kit.song.pictures import heat_map_png, spectrogram_png, strip_png
from jukebox_kit.song.provenance import tags_of
from jukebox_kit.song.song import Song
from jukebox_kit.song.state import SongState


def finish_sounds(state: SongState, level: int, model: Model) -> SongState:
    """Write what is missing of a sampled level's audio, pictures and page, and publish the song's files.

    Returns the state after that.
    """
    written = write_sounds(state, level, model)
    state.store.publish()
    return written


def sounds_complete(state: SongState, level: int) -> bool:
    """Return whether the audio files of a level are complete and match its codes."""
    total = state.resolved.plans[level].total
    return all(tokens_heard(state, level, item) == total for item in state.items(level))


def write_sounds(state: SongState, level: int, model: Model) -> SongState:
    """Write every item's audio of a level so far with its picture, the picture of the levels, and the page.

    Files that match the present codes are left as they are. Returns the state after that.
    """
    codes, marks = state.level(level), dict(state.manifest.sounds)
    for item in state.items(level):
        made = codes.codes[item, : codes.made[item]]
        if len(made) and tokens_heard(state, level, item) != len(made):
            _write_sound(state, level, item, model)
            marks[audio_name(level, item)] = mark_of(made)
        elif len(made) and not exists(state.root / picture_name(level, item)):
            state.store.write(picture_name(level, item), strip_png(_read(state, level, item), state.sr))
    changed = {name for name, mark in marks.items() if state.manifest.sounds.get(name) != mark}
    if changed:
        state = state.song.keep(replace(state.manifest, sounds=marks))
    first = state.items(0)[0]
    if audio_name(level, first) in changed or not exists(state.root / SPECTROGRAM):
        _write_spectrogram(state, first)
    if level == TOP:
        _write_words(state, changed)
    write_page(state)
    return state


def add_alignments(song: Song, model: Model) -> None:
    """Find out when the lyrics are sung if that is unknown, as after an undo or an import, and show it on the page.

    Loads the top prior. Raises as `ensure_alignments` does.
    """
    ensure_alignments(song, model)
    with song.locked() as state:
        _write_words(state, {audio_name(TOP, item) for item in state.items(TOP)})
        write_page(state)
        state.store.publish()


def _write_sound(state: SongState, level: int, item: int, model: Model) -> None:
    audio = level_audio(model.vqvae, level, state.level(level), item)
    tags = tags_of(state, f"item {item}, level {level}", [(item, level)])
    state.store.write(audio_name(level, item), wav_bytes(audio, state.sr, tags))
    state.store.write(picture_name(level, item), strip_png(audio, state.sr))


def _write_words(state: SongState, changed: set[str]) -> None:
    """Write the pictures of the attention to the lyrics for items whose audio has changed or that have no picture."""
    wanted = [i for i in state.items(TOP) if audio_name(TOP, i) in changed or not exists(state.root / words_name(i))]
    for item, alignment in read_alignments(state) if wanted else ():
        if item in wanted:
            seconds, lines = len(alignment.weights) * alignment.frame_seconds, alignment.text.split("\n")
            picture = heat_map_png(alignment.weights, seconds, lines, f"what item {item} attends to")
            state.store.write(words_name(item), picture)


def _write_spectrogram(state: SongState, item: int) -> None:
    """Write the picture of those levels of an item whose audio matches the current codes."""
    levels = {level: _read(state, level, item) for level in LEVELS if tokens_heard(state, level, item)}
    if levels:
        title = f"{state.request.artist}, {state.request.genre} ({state.request.model})"
        state.store.write(SPECTROGRAM, spectrogram_png(levels, state.sr, title))


def _read(state: SongState, level: int, item: int) -> Audio:
    content = read_file(state.root / audio_name(level, item))
    audio: Audio = soundfile.read(io.BytesIO(content or b""), dtype="float32")[0]
    return audio
