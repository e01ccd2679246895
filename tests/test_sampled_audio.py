"""Audio knows its rate: what keeps it, what has none, and what `save_audio` takes, scales and refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal  # type: ignore[import-untyped]  # it ships no types
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.errors import AudioError
from jukebox_kit.song import SampledAudio

SR, LENGTH = 16000, 4000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(LENGTH) / SR)).astype(np.float32)


@pytest.fixture
def made() -> SampledAudio:
    return SampledAudio.of(TONE.copy(), SR)


def stereo(made: SampledAudio) -> Any:
    return np.stack([made, made / 2], 1)


KEEP: dict[str, Callable[[SampledAudio], Any]] = {
    "slice": lambda a: a[100:200],
    "reversed": lambda a: a[::-1],
    "new axis": lambda a: a[None],
    "reshaped to a column": lambda a: a.reshape(-1, 1),
    "times a number": lambda a: 0.5 * a,
    "plus an array": lambda a: np.zeros(LENGTH) + a,
    "into another array": lambda a: a + np.float64(1),
    "in place": lambda a: np.multiply(a, 0.5, out=a),
    "panned": lambda a: a[:, None] * np.array([0.3, 0.7]),
    "negative": lambda a: -a,
    "function": lambda a: np.tanh(a),
    "clip": lambda a: np.clip(a, -0.1, 0.1),
    "clip method": lambda a: a.clip(-0.1, 0.1),
    "copy": lambda a: a.copy(),
    "deep copy": copy.deepcopy,
    "numpy's copy": lambda a: np.copy(a, subok=True),
    "other type": lambda a: a.astype(np.float16),
    "rounded": lambda a: a.round(),
    "16 bits": lambda a: (a * 32767).astype(np.int16),
    "pickle": lambda a: pickle.loads(pickle.dumps(a)),  # noqa: S301 its own
    "old pickle": lambda a: pickle.loads(pickle.dumps(a, protocol=2)),  # noqa: S301
    "joined": lambda a: np.concatenate([a, a]),
    "joined with silence": lambda a: np.concatenate([np.zeros(5), a]),
    "joined with itself cut": lambda a: np.hstack((a[:10], a[10:])),
    "appended": lambda a: np.append(a, a),
    "stereo": stereo,
    "channels first": lambda a: np.vstack([a, a]),
    "columns": lambda a: np.column_stack([a, a]),
    "transposed": lambda a: stereo(a).T,
    "one channel": lambda a: stereo(a)[:, 0],
    "mixed down": lambda a: stereo(a).mean(axis=1),
    "mixed by numpy": lambda a: np.mean(stereo(a), axis=1),
    "sum": lambda a: stereo(a).sum(1),
    "padded": lambda a: np.pad(a, 8),
    "padded on one side": lambda a: np.pad(stereo(a), ((0, 9), (0, 0))),
    "tiled": lambda a: np.tile(a, 3),
    "rolled": lambda a: np.roll(a, 7),
    "flipped": lambda a: np.flip(a),
    "chosen": lambda a: np.where(np.abs(a) > 0.1, a, 0),
    "NaN replaced": lambda a: np.nan_to_num(a),
    "split": lambda a: np.array_split(a, 3)[1],
    "squeezed": lambda a: np.squeeze(a[None]),
    "filtered": lambda a: np.convolve(a, np.ones(3) / 3),
    "running sum": lambda a: np.cumsum(a),
    "difference": lambda a: np.diff(a),
}


@pytest.mark.parametrize("name", KEEP)
def test_what_is_as_far_apart_in_time_keeps_its_rate(made: SampledAudio, tmp_path: Path, name: str) -> None:
    audio = KEEP[name](made)
    assert isinstance(audio, SampledAudio)
    assert audio.sr == SR
    assert soundfile.info(jk.save_audio(audio, tmp_path / "x.wav")).samplerate == SR


LOSE: dict[str, Callable[[SampledAudio], Any]] = {
    "every second sample": lambda a: a[::2],
    "every second, backwards": lambda a: a[::-2],
    "picked samples": lambda a: a[np.arange(0, LENGTH, 2)],
    "taken": lambda a: a.take(range(0, LENGTH, 3)),
    "taken by numpy": lambda a: np.take(a, range(0, LENGTH, 3)),
    "repeated": lambda a: a.repeat(2),
    "repeated by numpy": lambda a: np.repeat(a, 2),
    "zeros between": lambda a: np.insert(a, slice(None, None, 2), 0),
    "stretched": lambda a: np.interp(np.linspace(0, LENGTH, 2 * LENGTH), np.arange(LENGTH), a),
    "folded": lambda a: a.reshape(-1, 2).mean(1),
    "interleaved": lambda a: stereo(a).ravel(),
    "interleaved by reshaping": lambda a: stereo(a).reshape(-1),
    "every second frame": lambda a: stereo(a)[::2],
    "means of blocks": lambda a: np.add.reduceat(a, np.arange(0, LENGTH, 2)),
    "blown up": lambda a: np.kron(a, np.ones(2)),
    "numpy's array": np.asarray,
    "plain copy": lambda a: np.array(a),
    "list": lambda a: a.tolist(),
    "from bytes": lambda a: np.frombuffer(a.tobytes(), np.float32),
    "other view": lambda a: a.view(np.int16)[::2],
    "tensor": torch.from_numpy,
    "tensor and back": lambda a: torch.from_numpy(a).numpy(),
    "librosa's resampling": lambda a: librosa.resample(a, orig_sr=SR, target_sr=2 * SR),
    "scipy's resampling": lambda a: scipy.signal.resample_poly(a, 2, 1),
    "scipy's resampling by Fourier": lambda a: scipy.signal.resample(a, 2 * LENGTH),
    "scipy's decimation": lambda a: scipy.signal.decimate(a, 2),
}


@pytest.mark.parametrize("name", LOSE)
def test_no_rate_is_guessed(made: SampledAudio, tmp_path: Path, name: str) -> None:
    audio = LOSE[name](made)
    assert not hasattr(audio, "sr")
    with pytest.raises(AudioError, match=r"no sample rate of its own; pass it, such as sr=song\.sr"):
        jk.save_audio(audio, tmp_path / "new" / "x.wav")
    assert not (tmp_path / "new").exists()
    assert soundfile.info(jk.save_audio(np.asarray(audio), tmp_path / "x.wav", sr=8000)).samplerate == 8000


def test_files_of_numpy_have_no_rate(made: SampledAudio, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", made)
    assert not hasattr(np.load(tmp_path / "a.npy"), "sr")


def test_answers_and_numbers_are_plain(made: SampledAudio) -> None:
    assert type(made > 0) is np.ndarray
    assert type(np.isfinite(made)) is np.ndarray
    assert isinstance(made.max(), np.float32)
    assert isinstance(made[3], np.float32)
    assert np.array_equal(made, TONE)


def test_two_rates_are_not_combined(made: SampledAudio) -> None:
    other = SampledAudio.of(made, 44100)
    combinations: list[Callable[[], object]] = [
        lambda: made + other,
        lambda: np.add(made, other),
        lambda: np.concatenate([made, other]),
        lambda: np.stack([made, other], 1),
        lambda: np.hstack([made, other]),
        lambda: np.where(made > 0, made, other),
        lambda: made.__iadd__(other),
        lambda: made.__setitem__(slice(0, 10), other[:10]),
        lambda: np.copyto(made, other),
    ]
    for combine in combinations:
        with pytest.raises(AudioError, match="audio at 16000 Hz and at 44100 Hz cannot be combined; resample one"):
            combine()
    assert np.array_equal(made, TONE), "nothing was written before"
    assert (made == other).all()


def test_a_song_s_audio_has_its_rate(tiny: Path, tmp_path: Path) -> None:
    song = jk.Song.create(tmp_path / "song", model=tiny, seconds=0.1)
    assert len(song.audio()) == 0
    assert song.audio().sr == SR
    jk.sample(song)
    path = jk.save_audio(song.audio(level=0, item=0), tmp_path / "x.wav")
    assert soundfile.info(path).samplerate == SR
    assert soundfile.info(path).frames == song.resolved.samples


RAMP = np.linspace(-1, 1, 256, dtype=np.float64)


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize(
    "samples",
    [
        RAMP,
        RAMP.astype(np.float32),
        RAMP.astype(np.float16),
        RAMP.astype(np.longdouble),
        RAMP.astype(">f4"),
        RAMP.tolist(),
        (RAMP * 127).round().astype(np.int8),
        (RAMP * 32767).astype(np.int16),
        (RAMP * 32767).astype(">i2"),
        (RAMP * (2**31 - 1)).astype(np.int32),
        (RAMP * 127 + 128).round().astype(np.uint8),
        torch.from_numpy(RAMP),
        torch.from_numpy(RAMP).bfloat16(),
        torch.from_numpy(RAMP).half(),
        torch.from_numpy(RAMP).requires_grad_(),
        (torch.from_numpy(RAMP) * 32767).to(torch.int16),
        RAMP[None],
        RAMP[:, None],
        torch.from_numpy(RAMP)[None, :, None],
    ],
    ids=lambda samples: f"{getattr(samples, 'dtype', type(samples))} {getattr(samples, 'shape', '')}",
)
def test_samples_of_any_type_are_saved_as_they_sound(tmp_path: Path, samples: Any, ending: str) -> None:
    read, sr = soundfile.read(jk.save_audio(samples, tmp_path / f"x.{ending}", sr=np.int64(SR)))
    assert sr == SR
    assert read.shape == RAMP.shape
    assert np.abs(read - RAMP).max() < 0.009


def test_16_bits_come_back_exactly(tmp_path: Path) -> None:
    samples = np.arange(-(2**15), 2**15, dtype=np.int16)
    for ending in ("wav", "flac"):
        assert np.array_equal(
            soundfile.read(jk.save_audio(samples, tmp_path / f"x.{ending}", sr=8000), dtype="int16")[0], samples
        )


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_channels_may_be_either_axis(tmp_path: Path, ending: str) -> None:
    both = np.stack([TONE, 0 * TONE], 1)
    for audio in (both, both.T, np.asfortranarray(both), both[None]):
        read, _ = soundfile.read(jk.save_audio(audio, tmp_path / f"x.{ending}", SR))
        assert read.shape[1] == 2
        assert np.abs(read[:, 0]).max() == pytest.approx(0.5, abs=0.1)
        assert np.abs(read[:, 1]).max() < 0.01


@pytest.mark.parametrize(
    ("audio", "sentence"),
    [
        (np.array([0.1, np.nan, np.inf]), "2 of 3 samples are NaN or infinite"),
        (np.zeros(0), "is empty"),
        (np.zeros((0, 2)), "is empty"),
        ([], "is empty"),
        (np.zeros((2, 2)), r"the shape \(2, 2\) cannot be saved; pass \(samples,\), or \(samples, 2\)"),
        (np.zeros((100, 6)), r"the shape \(100, 6\)"),
        (np.zeros((3, 2, 50)), r"the shape \(3, 2, 50\)"),
        (0.5, r"the shape \(\)"),
        (TONE * np.complex64(1j), "type complex64 cannot be saved"),
        (TONE > 0, "type bool cannot be saved"),
        (np.zeros(5, np.int64), "type int64 cannot be saved; convert them to float32"),
        (np.zeros(5, np.uint16), "type uint16 cannot be saved"),
        (np.array([None]), "type object cannot be saved"),
        ("x.wav", "cannot be saved"),
        (None, "cannot be saved"),
        ([[1.0], [2.0, 3.0]], "not an array of samples"),
        (torch.zeros(5, device="meta"), "not an array of samples"),
        (torch.zeros(5).to_sparse(), "not an array of samples"),
    ],
)
def test_what_is_no_audio_is_refused(tmp_path: Path, audio: Any, sentence: str) -> None:
    with pytest.raises(AudioError, match=sentence):
        jk.save_audio(audio, tmp_path / "new" / "x.wav", sr=SR)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "sr",
    [
        *(0, -1, 44100.5, 44100.0, True, np.True_, torch.tensor(True), "44100", float("nan"), [44100], 2**31),
        *(torch.tensor(1.5), (1, 2), np.array([44100])),
    ],
)
def test_a_rate_is_a_whole_number(tmp_path: Path, sr: Any) -> None:
    with pytest.raises(AudioError, match="sr must be a whole number of samples a second above 0, such as 44100"):
        jk.save_audio(TONE, tmp_path / "x.wav", sr=sr)
    with pytest.raises(AudioError, match="sr must be a whole number"):
        SampledAudio.of(TONE, sr)


@pytest.mark.parametrize(
    ("ending", "sr", "others"),
    [
        ("mp3", 17000, "wav or flac"),
        ("mp3", 96000, "wav or flac"),
        ("mp3", 1, "wav or flac"),
        ("ogg", 200_001, "wav or flac"),  # libsndfile would crash
        ("ogg", 1_000_000, "wav"),
        ("flac", 655_351, "wav"),
    ],
)
def test_rates_that_a_format_cannot_hold(tmp_path: Path, ending: str, sr: int, others: str) -> None:
    with pytest.raises(AudioError, match=f"{ending} cannot be written at {sr} Hz on this machine; choose {others}\\."):
        jk.save_audio(TONE, tmp_path / f"x.{ending}", sr=sr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("ending", "sr"), [("mp3", 8000), ("ogg", 200_000), ("flac", 655_350), ("wav", 2**31 - 1)])
def test_rates_at_the_limit(tmp_path: Path, ending: str, sr: int) -> None:
    assert soundfile.info(jk.save_audio(TONE, tmp_path / f"x.{ending}", sr=sr)).samplerate == sr


@pytest.mark.parametrize("name", ["x", "x.xyz", ".wav", "x.raw", "x.wav.part", "x.mat", "x.", ""])
def test_other_endings_are_refused(made: SampledAudio, tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match="use wav, flac, mp3 or ogg"):
        jk.save_audio(made, tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


def test_places_that_cannot_be_written(made: SampledAudio, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.wav").mkdir()
    for place in ("file/x.wav", "folder.wav", f"{'x' * 300}.wav", "a\0b.wav"):
        with pytest.raises(AudioError, match=r"(could not|cannot) be written.*\.$"):
            jk.save_audio(made, tmp_path / place)
    assert soundfile.info(jk.save_audio(made, tmp_path / f"{'x' * 251}.wav")).samplerate == SR
    assert jk.save_audio(made, str(tmp_path / "X.WAV")) == tmp_path / "X.WAV"


@pytest.mark.parametrize("path", [None, 5, b"x.wav"])
def test_a_path_is_a_name(made: SampledAudio, path: Any) -> None:
    with pytest.raises(AudioError, match=r"path must be the name of a file, such as song\.wav, not"):
        jk.save_audio(made, path)


def test_home_folders(made: SampledAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jk.save_audio(made, "~/x.wav") == tmp_path / "x.wav"
    assert (tmp_path / "x.wav").exists()


def test_clipping_far_above_full_scale_is_reported(
    made: SampledAudio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jk.save_audio(made * 2.2, tmp_path / "x.wav")
    assert not caplog.records
    jk.save_audio(made * 32767, tmp_path / "x.wav")
    assert "x.wav was clipped: the audio's peak is 1.64e+04, and full scale is 1." in caplog.text
