"""What can be heard and seen of a level: its audio files and the picture of the levels."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from jukebox_kit.audio import audio_samples, spectrogram_png, wav_bytes
from jukebox_kit.models import Model
from jukebox_kit.song import LEVELS, Song


def finish_sounds(song: Song, level: int, model: Model) -> None:
    """Write the audio of a level that is made, unless it is there: a step may have been stopped just before."""
    if not sounds_stand(song, level):
        write_sounds(song, level, model)
        song.keep(replace(song.manifest, sounds={**song.manifest.sounds, str(level): _sound(song, level)}))
    song.store.publish()


def sounds_stand(song: Song, level: int) -> bool:
    """Return whether the audio files of a level are whole and those of its codes."""
    items = song.items(level)
    lengths = [audio_samples(song.root / audio_name(level, item)) for item in items]
    known = song.manifest.sounds.get(str(level)) == _sound(song, level)
    return known and lengths == [song.resolved.samples] * len(items)


def write_sounds(song: Song, level: int, model: Model) -> None:
    """Write every item's audio of a level so far, and the picture of the levels."""
    items = song.items(level)
    for item in items:
        song.store.write(audio_name(level, item), wav_bytes(song.audio(level, item, model), song.sr))
    levels = {higher: song.audio(higher, items[0], model) for higher in LEVELS if higher >= level}
    title = f"{song.request.artist}, {song.request.genre} ({song.request.model})"
    song.store.write("spectrogram.png", spectrogram_png(levels, song.sr, title))


def audio_name(level: int, item: int) -> str:
    """Return the name of an item's audio file of a level in the song's folder."""
    return f"level_{level}/item_{item}.wav"


def _sound(song: Song, level: int) -> str:
    return hashlib.sha256(song.codes(level)[list(song.items(level))].tobytes()).hexdigest()
