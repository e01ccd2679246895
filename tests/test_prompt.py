"""Recordings as prompts: any format, rate and channels; what the song starts with, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.errors import AudioError
from jukebox_kit.song.audio import Note, read_recording
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.edits import extend, fork, trim
from jukebox_kit.song.sampled_audio import SampledAudio
from jukebox_kit.song.song import Song
from tests.conftest import shell

SR = 16000


def tone(seconds: float, sr: int, channels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A 440 Hz tone on the first channel, 880 Hz on the second."""
    time = np.arange(int(seconds * sr)) / sr
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * (c + 1) * time) for c in range(channels)], 1)


def raw() -> bytes:
    """Samples without a header."""
    return (tone(0.1, SR, 1) * 30000).astype("<i2").tobytes()


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("silent", "is silent"),
        ("empty", "no usable audio: its header states no samples, in a file of .* empty or incomplete"),
        ("no bytes", "cannot be read as audio|no usable audio"),
        ("corrupt", "cannot be read as audio"),
        ("headerless", "riff.wav cannot be read as audio: it has no header of a known format; convert it to WAV"),
        ("folder", "is a folder; choose a recording"),
        ("missing", "there is no recording"),
        ("tiny", r"the prompt of 0.0050 seconds is shorter than one token, 0.0080 seconds; use more"),
        ("long", "leaves nothing of 0.6 seconds"),
        ("nan", "no usable audio: 16000 of its 16000 samples are NaN or infinite"),
        ("infinities", "no usable audio: 16000 of"),
        ("inf", "no usable audio: 1 of its 16000 samples are NaN or infinite"),
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
        "inf": np.append(np.zeros(SR - 1), np.inf),
        "infinities": np.array([[np.inf, -np.inf]] * SR),
    }
    others = {"corrupt": b"RIFF" + bytes(range(256)) * 8, "no bytes": b"", "headerless": raw()}
    if content in samples:
        soundfile.write(path, samples[content], SR, subtype="FLOAT")
    elif content in others:
        path.write_bytes(others[content])
    elif content == "folder":
        path.mkdir()
    with pytest.raises(AudioError, match=sentence):
        Song.create(tmp_path / "song", model=tiny, seconds=0.6, prompt=path)
    assert not (tmp_path / "song").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
@pytest.mark.parametrize(
    "name", ["take.raw", "take.RAW", "take.pcm", "take", "take.wav", "take.mp3", "take.au", "take.vox", "take.gsm"]
)
def test_headerless_recordings_are_refused_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(raw())
    with pytest.raises(AudioError, match=f"{name} cannot be read as audio: it has no header .* convert it to WAV"):
        read_recording(tmp_path / name, SR)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_the_content_says_the_format_not_the_name(tmp_path: Path, ending: str) -> None:
    soundfile.write(tmp_path / f"a.{ending}", tone(1, SR, 2), SR)
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.raw")
    assert len(read_recording(tmp_path / "a.raw", SR)) == SR


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_of_a_download_that_broke_off_the_start_is_read_or_it_is_called_incomplete(
    tmp_path: Path, ending: str, share: float
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * SR)
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise, SR)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    notes: list[str] = []
    try:
        length = len(read_recording(path, SR, note=notes.append)) / len(noise)
    except AudioError as error:
        assert "incomplete" in str(error)  # noqa: PT017 an error is one of two good ends
        assert share < 0.1
    else:
        assert 0.3 * share <= length <= share + 0.05
        if ending in ("flac", "mp3"):  # the others state their length at the end, or are corrected by libsndfile
            assert notes == [
                f"{path} breaks off after {length * 20:.1f} seconds, although its header states more; it is incomplete "
                f"or damaged, and only these are used."
            ]
    assert len(read_recording(path, SR, 0.1, notes.append)) == 1600 if share > 0.1 else True


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_minutes_are_read_as_soundfile_does(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    with soundfile.SoundFile(path, "w", SR, 1) as file:
        for _ in range(120):
            file.write(np.random.default_rng(0).normal(0, 0.1, SR))
    wanted = np.clip(soundfile.read(path, dtype="float32")[0], -1, 1)
    assert np.abs(read_recording(path, SR) - wanted).max() < 1e-6


@pytest.mark.parametrize("place", [0.5, 0.8])
def test_of_a_damaged_file_what_precedes_the_damage_is_read(tmp_path: Path, place: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SR)
    path = tmp_path / "a.flac"
    soundfile.write(path, noise, SR)
    content = bytearray(path.read_bytes())
    middle = int(len(content) * place)
    content[middle : middle + 20000] = bytes(20000)
    path.write_bytes(content)
    notes: list[str] = []
    audio = read_recording(path, SR, note=notes.append)
    assert place - 0.3 < len(audio) / len(noise) <= place
    assert np.abs(audio - noise[: len(audio)]).max() < 1e-4
    assert [note for note in notes if "breaks off after" in note] == notes != []


def test_many_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((SR, 200), 0.5), SR)
    assert np.allclose(read_recording(tmp_path / "a.wav", SR), 0.5, atol=1e-4)


@pytest.mark.parametrize("stated", [0, 2**32 - 1, 2**31 - 1])
def test_a_wav_file_whose_header_was_never_completed(tmp_path: Path, stated: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1, SR, 1), SR)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    if stated:
        assert len(read_recording(path, SR)) == SR
        return
    with pytest.raises(AudioError, match=r"its header states no samples, in a file of 32044 bytes; it is .*incomplete"):
        read_recording(path, SR)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
@pytest.mark.parametrize(
    ("stated", "sentence"), [(0, "a rate of 0 Hz"), (2**32 - 1, "a rate of 4294967295 Hz"), (1, None)]
)
def test_odd_rates_in_headers(tiny: Path, tmp_path: Path, stated: int, sentence: str | None) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(60, SR, 1), SR)
    content = bytearray(path.read_bytes())
    content[24:28] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    # soundfile refuses an impossible rate; whether audioread then takes the file depends on the version of Python.
    refused = f"{sentence}|cannot be read as audio: it is incomplete or damaged"
    with pytest.raises(AudioError, match=refused if sentence else "leaves nothing of 2.5 seconds"):
        Song.create(tmp_path / "song", model=tiny, seconds=2.5, prompt=path)


def test_no_more_of_a_long_recording_is_read_than_the_song_is_long(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[float | None] = []

    def reading(path: Path, sr: int, seconds: float | None, note: Note) -> SampledAudio:
        read.append(seconds)
        return read_recording(path, sr, seconds, note)

    monkeypatch.setattr("jukebox_kit.song.creation.read_recording", reading)
    soundfile.write(tmp_path / "long.wav", tone(10, SR, 1), SR)
    for seconds in (None, 9.0, 0.5):
        fields: dict[str, Any] = {"model": tiny, "seconds": 2.5, "prompt": tmp_path / "long.wav"}
        if seconds == 0.5:
            Song.create(tmp_path / "song", prompt_seconds=seconds, **fields)
            continue
        with pytest.raises(AudioError, match=r"the prompt leaves nothing of 2\.5 seconds to sample; request"):
            Song.create(tmp_path / "song", prompt_seconds=seconds, **fields)
    assert read == [3.5, 3.5, 0.5]


def test_a_silent_start_is_not_a_silent_recording(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "riff.wav"
    soundfile.write(path, np.concatenate([np.zeros((SR, 1)), tone(1, SR, 1)]), SR)
    with pytest.raises(
        AudioError,
        match=r"the first 0\.5 seconds of .*riff.wav are silent as mono at .*; cut them",
    ):
        Song.create(tmp_path / "song", model=tiny, seconds=2.5, prompt=path, prompt_seconds=0.5)
    assert not (tmp_path / "song").exists()
    assert len(read_recording(path, SR, 1.5)) == 1.5 * SR
    soundfile.write(path, np.zeros(SR), SR)
    with pytest.raises(
        AudioError, match=r"riff.wav is silent as mono at 16000 Hz; choose a recording with sound in it"
    ):
        read_recording(path, SR, 5)


def test_a_stretch_shorter_than_a_token(tiny: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "riff.wav", np.full(SR, 0.5), SR)
    for seconds in (1e-9, 0.001):
        with pytest.raises(AudioError, match=r"the prompt of 0\.00\d\d seconds is shorter than one token"):
            Song.create(
                tmp_path / "song", model=tiny, seconds=2.5, prompt=tmp_path / "riff.wav", prompt_seconds=seconds
            )


@pytest.mark.parametrize(("factor", "decibels"), [(2, 6.0), (32768, 90.3), (1e30, 600)])
def test_a_recording_above_full_scale_is_turned_down_with_a_note(
    tiny: Path, tmp_path: Path, factor: float, decibels: float
) -> None:
    path, plain = tmp_path / "loud.wav", tmp_path / "plain.wav"
    full = tone(0.5, SR, 1) / np.abs(tone(0.5, SR, 1)).max()
    for place, audio in ((path, full * factor), (plain, full)):
        soundfile.write(place, audio, SR, subtype="FLOAT")
    notes: list[str] = []
    assert np.allclose(read_recording(path, SR, note=notes.append), full[:, 0], atol=1e-6)
    assert notes == [f"{path} exceeds full scale by {decibels:.1f} dB and was turned down by as much."]
    read_recording(plain, SR, note=notes.append)
    assert len(notes) == 1
    song = Song.create(tmp_path / "song", model=tiny, seconds=1, prompt=path)
    assert notes[0] in song.resolved.notes
    assert notes[0] in Song.open(song.root).resolved.notes


def test_little_above_full_scale_is_clipped_as_players_do(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "riff.wav", np.full(SR, 1.1), SR, subtype="FLOAT")
    notes: list[str] = []
    assert (read_recording(tmp_path / "riff.wav", SR, note=notes.append) == 1).all()
    assert not notes


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("riff\udcff.wav", r"the path '.*riff\\udcff\.wav' is not UTF-8; rename the recording"),
        (f"{'x' * 300}.wav", "there is no recording"),
        ("a\0b.wav", "there is no recording"),
    ],
)
def test_impossible_names(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(AudioError, match=sentence):
        read_recording(tmp_path / name, SR)


def test_a_recording_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    soundfile.write(tmp_path / "riff.wav", tone(0.1, SR, 1), SR)
    monkeypatch.setattr("jukebox_kit.song.audio.os.open", refuse)
    with pytest.raises(AudioError, match=r"riff.wav cannot be opened \(Permission denied\)"):
        read_recording(tmp_path / "riff.wav", SR)


@pytest.mark.parametrize("seconds", [1e300, float("inf"), 1e15])
def test_more_seconds_than_there_are_read_the_whole(tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "riff.wav", tone(0.1, SR, 1), SR)
    assert len(read_recording(tmp_path / "riff.wav", SR, seconds)) == 1600


@pytest.mark.parametrize("seconds", [float("inf"), 1e308, 1e300, float("nan"), -1.0])
def test_absurd_seconds_are_refused(tiny: Path, tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "riff.wav", tone(0.1, SR, 1), SR)
    prompt = {"prompt": tmp_path / "riff.wav", "prompt_seconds": seconds}
    wrong: list[dict[str, Any]] = [{"seconds": seconds}, {"total_seconds": seconds}, prompt]
    for fields in wrong:
        with pytest.raises(jk.JukeboxKitError, match=r"second.*\.$"):
            Song.create(tmp_path / "song", model=tiny, **fields)
    assert not (tmp_path / "song").exists()
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.5)
    before = (song.root / "song.json").read_bytes()
    edits: list[Callable[[], object]] = [
        lambda: extend(song, seconds),
        lambda: trim(song, seconds),
        lambda: fork(song, tmp_path / "fork", at=seconds),
        lambda: fork(song, tmp_path / "fork", seconds=seconds),
    ]
    for edit in edits:
        with pytest.raises(jk.JukeboxKitError, match=r"^(at must|.*second).*\.$"):
            edit()
    assert (song.root / "song.json").read_bytes() == before
    assert not (tmp_path / "fork").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
def test_a_headerless_recording_in_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "take.raw").write_bytes(raw())
    assert shell(monkeypatch, "sample", tmp_path / "song", "--prompt", tmp_path / "take.raw") == 1
    assert capsys.readouterr().err.count("take.raw cannot be read as audio") == 1
    assert not (tmp_path / "song").exists()
