"""Recordings as prompts: any format, rate and channels; what the song starts with, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.errors import AudioError
from jukebox_kit.song.audio import read_recording
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.song import Song

SR = 16000


def tone(seconds: float, sr: int, channels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A 440 Hz tone on the first channel, 880 Hz on the second."""
    time = np.arange(int(seconds * sr)) / sr
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * (c + 1) * time) for c in range(channels)], 1)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
@pytest.mark.parametrize(("sr", "channels"), [(8000, 1), (16000, 2), (44100, 2), (48000, 1)])
def test_recordings_are_read_as_they_sound(tmp_path: Path, ending: str, sr: int, channels: int) -> None:
    path = tmp_path / f"riff.{ending}"
    soundfile.write(path, tone(1.0, sr, channels), sr)
    audio = read_recording(path, SR)
    assert abs(len(audio) - SR) < 0.12 * SR  # MP3 pads
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    peaks = {round(float(f) / 20) * 20 for f in np.fft.rfftfreq(len(audio), 1 / SR)[spectrum > 0.4 * spectrum.max()]}
    assert peaks == ({440} if channels == 1 else {440, 880})
    assert len(read_recording(path, SR, 0.25)) <= 0.26 * SR


@pytest.mark.parametrize("sr", [11025, 96000])
def test_unusual_rates(tmp_path: Path, sr: int) -> None:
    soundfile.write(tmp_path / "riff.wav", tone(0.5, sr, 1), sr, subtype="PCM_24")
    assert len(read_recording(tmp_path / "riff.wav", SR)) == pytest.approx(SR / 2, abs=2)


def test_the_song_starts_with_the_prompt(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "riff.wav"
    soundfile.write(path, tone(0.3, SR, 1), SR)
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.6, items=2, prompt=path, prompt_seconds=0.2)
    samples = int(0.2 * SR) // 128 * 128
    given = torch.from_numpy(read_recording(path, SR)[:samples])[None, :, None]
    wanted = jk.Model.load(tiny).vqvae.encode(given)
    jk.sample(song)
    for level, codes in enumerate(wanted):
        found, (primed, also) = Song.open(song.root).codes(level), song.level(level).given
        assert primed == also == codes.shape[1] == samples // (8, 32, 128)[level]
        assert np.array_equal(found[:, :primed], np.repeat(codes.numpy(), 2, 0))
        assert not np.array_equal(found[0, primed:], found[1, primed:])
    assert len(soundfile.read(song.root / "prompt.wav")[0]) == samples


def test_a_primed_song_goes_on_exactly(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "riff.wav"
    soundfile.write(path, tone(0.2, SR, 1), SR)
    fields: dict[str, Any] = {"model": tiny, "seconds": 0.9, "prompt": path}
    whole = jk.level_2(Song.create(tmp_path / "whole", **fields))
    codes, given = whole.codes(2), whole.level(2).given
    song = Song.create(tmp_path / "song", **fields)
    song.write_level(2, LevelCodes(np.where(np.arange(codes.shape[1]) < 60, codes, -1).astype(np.int16), given))
    assert np.array_equal(jk.level_2(song).codes(2), codes)
    assert len(song.manifest.history) == 1  # no token came out otherwise than saved


def test_a_prompt_shorter_than_asked_is_used_whole(tiny: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "riff.wav", tone(0.1, SR, 1), SR)
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.6, prompt=tmp_path / "riff.wav", prompt_seconds=5.0)
    assert song.level(2).given == (1600 // 128,)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("silent", "is silent"),
        ("empty", "no usable audio|cannot be read"),
        ("corrupt", "cannot be read as audio"),
        ("missing", "there is no recording"),
        ("tiny", "shorter than one token"),
        ("long", "leaves nothing of 0.6 seconds"),
        ("nan", "no usable audio"),
    ],
)
def test_useless_prompts_are_refused_and_nothing_is_written(
    tiny: Path, tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "riff.wav"
    samples = {
        "silent": np.zeros(SR),
        "empty": np.zeros(0),
        "tiny": tone(0.005, SR, 1),
        "long": tone(1.0, SR, 1),
        "nan": np.full(SR, np.nan),
    }
    if content in samples:
        soundfile.write(path, samples[content], SR, subtype="FLOAT")
    elif content == "corrupt":
        path.write_bytes(b"RIFF" + bytes(range(256)) * 8)
    with pytest.raises(AudioError, match=sentence):
        Song.create(tmp_path / "song", model=tiny, seconds=0.6, prompt=path)
    assert not (tmp_path / "song").exists()
