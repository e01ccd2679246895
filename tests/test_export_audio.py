"""Audio for the world: the best level at each moment, formats, loudness, stereo, stems; heard by numbers."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import AudioError, JukeboxKitError, RequestError, SongError
from jukebox_kit.song.audio import Audio, audio_bytes, wav_bytes
from jukebox_kit.song.export import CEILING, Exported, best_audio, export_audio, loudness
from jukebox_kit.song.song import Song
from tests.conftest import WAV_STEP, in_wav, shell

SR, SECONDS = 16000, 1.0
SAMPLES = int(SECONDS * SR) // 128 * 128
REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "seconds": SECONDS, "items": 3, "seed": 5}
FADE = int(0.05 * SR)


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny)


@pytest.fixture(scope="module")
def made(tiny: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """Level 2 whole, 0.8 seconds of level 1, 0.4 of level 0; of item 2 level 2 alone."""
    song = jk.sample(Song.create(tmp_path_factory.mktemp("songs") / "made", model, model=tiny, **REQUEST), model=model)
    for level, seconds in ((1, 0.8), (0, 0.4)):
        found = song.level(level)
        found.codes[:2, int(seconds * SR) // (8, 32)[level] :] = -1
        found.codes[2] = -1
        song.write_level(level, found)
    return song


@pytest.fixture
def song(made: Song, tmp_path: Path) -> Song:
    shutil.copytree(made.root, tmp_path / "song")
    return Song.open(tmp_path / "song")


def tones(song: Song, model: Model, monkeypatch: pytest.MonkeyPatch, *peaks: float) -> list[Audio]:
    """Put tones of 500, 1000, 1500 … Hz in the place of the items' audio; returns them."""
    time = np.arange(SAMPLES) / SR
    found = [(p * np.sin(2 * np.pi * 500 * (i + 1) * time)).astype(np.float32) for i, p in enumerate(peaks)]
    monkeypatch.setattr(Song, "audio", lambda _song, level, item, _model: found[item])
    return found


def level_at(audio: Audio, hertz: float) -> float:
    """Return the amplitude of a tone in audio (samples,)."""
    return float(2 * np.abs(np.mean(audio * np.exp(-2j * np.pi * hertz * np.arange(len(audio)) / SR))))


def exported(song: Song, model: Model, target: Path | None = None, format: str = "wav", **options: Any) -> Exported:
    return export_audio(song, target, format, model=model, **options)


def test_the_best_level_at_each_moment(song: Song, model: Model) -> None:
    found = best_audio(song, 0, model)
    levels = [song.audio(level, 0, model) for level in range(3)]
    ends = [int(seconds * SR) // hop * hop for seconds, hop in ((0.4, 8), (0.8, 32), (1.0, 128))]
    assert [len(audio) for audio in levels] == ends
    assert len(found) == ends[2]
    assert np.array_equal(found[: ends[0] - FADE], levels[0][:-FADE])
    assert np.array_equal(found[ends[0] : ends[1] - FADE], levels[1][ends[0] : -FADE])
    assert np.array_equal(found[ends[1] :], levels[2][ends[1] :])
    assert not np.array_equal(levels[0][-FADE:], levels[1][ends[0] - FADE : ends[0]])
    assert np.array_equal(best_audio(song, 2, model), song.audio(2, 2, model))


def test_the_cross_fade_has_equal_power_and_no_click(song: Song, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [np.sin(2 * np.pi * f * np.arange(SAMPLES) / SR).astype(np.float32) for f in (440, 777, 1234)]
    samples = [sum(song.level(n).made[:1]) * hop for n, hop in enumerate((8, 32, 128))]
    monkeypatch.setattr(Song, "audio", lambda _song, level, item, _model: whole[level][: samples[level]])
    found = best_audio(song, 0, model)
    steepest = max(float(np.abs(np.diff(tone)).max()) for tone in whole)
    assert np.abs(np.diff(found)).max() < 1.5 * steepest, "a click would be a step"
    for end, low, high in ((samples[0], 440, 777), (samples[1], 777, 1234)):
        middle = found[end - FADE : end]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(np.sqrt(0.5), rel=0.1), "as loud as before and after"
        assert level_at(found[end - FADE - 1600 : end - FADE], low) == pytest.approx(1, abs=0.02)
        assert level_at(found[end : end + 1600], high) == pytest.approx(1, abs=0.02)
        assert level_at(middle[: FADE // 8], high) < 0.25 < 0.75 < level_at(middle[: FADE // 8], low)
        assert level_at(middle[-FADE // 8 :], low) < 0.25 < 0.75 < level_at(middle[-FADE // 8 :], high)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_formats_are_read_back(song: Song, model: Model, format: str) -> None:
    done = exported(song, model, None, format, items=(1,))
    assert done.paths == (song.root / "exports" / f"item_1.{format}",)
    with soundfile.SoundFile(done.paths[0]) as file:
        assert (file.samplerate, file.channels) == (SR, 1)
        assert file.title == "song, item 1"
        assert file.artist == "Jukebox in the style of The Beatles"
        assert file.comment == "made with jukebox_kit, model tiny, seed 5; licence: MIT"
        audio = file.read(dtype="float32")
    wanted = np.clip(best_audio(song, 1, model), -1, 1)
    assert len(audio) == SAMPLES
    if format in ("wav", "flac"):
        assert np.abs(audio - in_wav(wanted)).max() <= WAV_STEP
    else:
        # The tiny model makes noise, of which these formats keep the loud parts; a shift would leave nothing alike.
        assert np.corrcoef(audio, wanted)[0, 1] > 0.7
    assert Song.open(song.root).status() == song.status()


def test_minutes_of_ogg(tmp_path: Path) -> None:
    """Handed over in one piece these end libsndfile's process."""
    noise = np.random.default_rng(0).normal(0, 0.1, 44100 * 120).astype(np.float32)
    path = jk.save_audio(noise, tmp_path / "long.ogg", 44100)
    assert soundfile.info(path).frames == len(noise)
    assert len(audio_bytes(noise, 44100, "ogg")) > path.stat().st_size * 0.9


def test_loudness_is_that_of_the_standard() -> None:
    """BS.1770: a sine of 997 Hz at full scale in one channel is -3.01 LUFS; in two it is 3.01 more."""
    for sr in (16000, 44100):
        tone = np.sin(2 * np.pi * 997 * np.arange(2 * sr) / sr).astype(np.float32)
        assert loudness(tone, sr) == pytest.approx(-3.01, abs=0.1)
        assert loudness(np.stack([tone, tone], 1) / np.float32(10), sr) == pytest.approx(-20.0, abs=0.1)
        assert loudness(tone[: sr // 10], sr) == pytest.approx(-3.0, abs=0.7), "one block, shorter than the standard's"
        for length in (1, 2, 13, 26, int(0.4 * sr) - 1, int(0.4 * sr), int(0.4 * sr) + 1):
            assert (loudness(tone[:length], sr) or 0) <= 0
        assert loudness(np.zeros(sr, np.float32), sr) is None
        assert loudness(np.zeros(0, np.float32), sr) is None


@pytest.mark.parametrize(
    ("format", "wanted", "within"), [("wav", -23.0, 0.1), ("flac", -30.5, 0.1), ("ogg", -20.0, 0.3), ("mp3", -18, 0.3)]
)
def test_loudness_after_export(
    song: Song, model: Model, monkeypatch: pytest.MonkeyPatch, format: str, wanted: float, within: float
) -> None:
    tones(song, model, monkeypatch, 0.3, 0.02, 0.9)
    done = exported(song, model, None, format, normalise=wanted)
    assert done.notes == ()
    for path in done.paths:
        audio, sr = soundfile.read(path)
        assert pyloudnorm.Meter(sr).integrated_loudness(audio) == pytest.approx(wanted, abs=within)


def test_a_gain_stops_below_full_scale_and_says_so(song: Song, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, loud = tones(song, model, monkeypatch, 0.05, 0.0, 1.7)
    first[8000] = 0.5  # a peak far above the rest
    done = exported(song, model, None, "wav", normalise=-14)
    audio, sr = soundfile.read(done.paths[0])
    assert np.abs(audio).max() == pytest.approx(CEILING, abs=1e-4)
    reached = pyloudnorm.Meter(sr).integrated_loudness(audio)
    assert done.notes == (
        f"item_0 is at {reached:.1f} LUFS, not -14: louder, its peaks would be above -1 dBFS.",
        "item_1 is too quiet for its loudness to be measured, and is left as it is.",
    )
    assert soundfile.read(done.paths[1])[0].max() == 0
    turned_down, _ = soundfile.read(done.paths[2])
    assert np.corrcoef(turned_down, loud)[0, 1] > 0.9999, "what is above full scale is turned down, not cut off"


def test_stereo_is_left_centre_right(song: Song, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tones(song, model, monkeypatch, 0.4, 0.3, 0.2)
    done = exported(song, model, None, "wav", stereo=True)
    assert [path.name for path in done.paths] == ["stereo.wav"]
    assert done.notes == ()
    audio, _ = soundfile.read(done.paths[0], dtype="float32")
    assert audio.shape == (SAMPLES, 2)
    wanted = [[0.4, 0.3 * np.sqrt(0.5), 0.0], [0.0, 0.3 * np.sqrt(0.5), 0.2]]
    for channel, amplitudes in enumerate(wanted):
        found = [level_at(audio[:8000, channel], hertz) for hertz in (500, 1000, 1500)]
        assert found == pytest.approx(amplitudes, abs=1e-3)
    (turned,) = exported(song, model, None, "wav", items=(2, 1, 0), stereo=True).paths
    assert level_at(soundfile.read(turned)[0][:8000, 0], 1500) == pytest.approx(0.2, abs=1e-3), "the order chosen"

    tones(song, model, monkeypatch, 0.9, 0.9, 0.9)
    loud = exported(song, model, None, "wav", stereo=True)
    assert loud.notes[0].startswith("stereo was turned down by ")
    audio, _ = soundfile.read(loud.paths[0])
    assert np.abs(audio).max() == pytest.approx(1, abs=1e-4)
    assert level_at(audio[:8000, 0], 500) / level_at(audio[:8000, 0], 1000) == pytest.approx(np.sqrt(2), rel=1e-3)
    normal = exported(song, model, None, "wav", stereo=True, normalise=-20)
    audio, sr = soundfile.read(normal.paths[0])
    assert pyloudnorm.Meter(sr).integrated_loudness(audio) == pytest.approx(-20, abs=0.1)


def test_items_of_different_length_end_in_silence(song: Song, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    audios = [np.full(n, 0.25, np.float32) for n in (100, 300, 200)]
    monkeypatch.setattr(Song, "audio", lambda _song, level, item, _model: audios[item])
    (path,) = exported(song, model, None, "wav", level=2, stereo=True).paths
    audio, _ = soundfile.read(path)
    assert audio.shape == (300, 2)
    assert audio[150] == pytest.approx([0.25 * np.sqrt(0.5), 0.25 + 0.25 * np.sqrt(0.5)], abs=1e-4)
    assert audio[250] == pytest.approx([0.25 * np.sqrt(0.5)] * 2, abs=1e-4)


def test_stems_lie_over_each_other(song: Song, model: Model, tmp_path: Path) -> None:
    done = exported(song, model, tmp_path / "studio", "stems")
    names = [f"item_{item}_level_{level}.wav" for item in (0, 1) for level in (0, 1, 2)] + ["item_2_level_2.wav"]
    assert [path.name for path in done.paths] == names
    for path in done.paths:
        assert (soundfile.info(path).subtype, soundfile.info(path).frames) == ("PCM_24", SAMPLES)
    audio, _ = soundfile.read(tmp_path / "studio" / "item_1_level_1.wav", dtype="float32")
    wanted = song.audio(1, 1, model)
    assert np.abs(audio[: len(wanted)] - np.clip(wanted, -1, 1)).max() < 1e-6
    assert not audio[len(wanted) :].any()
    assert len(exported(song, model, tmp_path / "some", "stems", items=(1,), level=1).paths) == 1


def test_files_are_replaced_whole_and_the_song_is_left_alone(song: Song, model: Model, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in song.root.rglob("*") if p.is_file()}
    for target in (None, song.root / "exports" / "loud", tmp_path / "elsewhere"):
        for wanted in (-20, -30):
            paths = exported(song, model, target, "wav", normalise=wanted).paths
            audio, sr = soundfile.read(paths[0])
            assert pyloudnorm.Meter(sr).integrated_loudness(audio) == pytest.approx(wanted, abs=0.1)
            assert sorted(p.name for p in paths[0].parent.iterdir() if p.is_file()) == [
                f"item_{i}.wav" for i in range(3)
            ]
    assert {p: p.read_bytes() for p in before} == before
    jk.sample(Song.open(song.root), model=model)


@pytest.mark.parametrize("loud", [1.0, -1.0, 1.5, -1.5, 0.99999])
def test_a_file_holds_all_but_full_scale(loud: float) -> None:
    """Where a sample clips, what another build computed may round to the step below."""
    audio = np.linspace(loud - 4e-6, loud + 4e-6, 9, dtype=np.float32)
    held, _ = soundfile.read(io.BytesIO(wav_bytes(audio, SR)))
    assert held.max() <= 1 - WAV_STEP
    assert np.abs(held - in_wav(audio)).max() <= WAV_STEP
    assert np.ptp(held) <= WAV_STEP


def test_refusals(song: Song, model: Model, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fresh = Song.create(tmp_path / "fresh", model, model=tiny, **REQUEST)
    wrong: list[tuple[Song, dict[str, Any], type[JukeboxKitError], str]] = [
        (song, {"format": "m4a"}, RequestError, "there is no format m4a; format takes wav, flac, mp3, ogg, stems"),
        (song, {"normalise": 3}, RequestError, "at most 0, not 3; -14 is usual"),
        (song, {"normalise": float("nan")}, RequestError, "normalise must be a number, not nan"),
        (song, {"format": "stems", "stereo": True}, RequestError, "leave out stereo and loudness"),
        (song, {"format": "stems", "normalise": -14}, RequestError, "leave out stereo and loudness"),
        (song, {"stereo": True, "items": (0, 1)}, RequestError, "three items, left, centre and right, not 2"),
        (song, {"items": (0, 3)}, SongError, r"has items 0 to 2, not \[3\]; choose of those"),
        (song, {"items": ()}, SongError, "has items 0 to 2, not none"),
        (song, {"level": 3}, RequestError, "there is no level 3"),
        (
            song,
            {"items": (2,), "level": 1},
            SongError,
            "item 2 of .* has nothing sampled at level 1 yet; sample it with",
        ),
        (song, {"target": song.root}, SongError, "is the song's own; choose another folder, or .*exports"),
        (song, {"target": song.root / "level_2"}, SongError, "is the song's own"),
        (song, {"target": tmp_path / "file"}, SongError, "is a file; choose a folder"),
        (fresh, {}, SongError, "fresh has nothing sampled yet; sample it with: jukebox-kit resume"),
    ]
    for one, options, error, sentence in wrong:
        with pytest.raises(error, match=sentence):
            exported(one, model, **options)
    assert not list(tmp_path.rglob("exports"))
    assert best_audio(fresh, 0, model).shape == (0,)
    with pytest.raises(AudioError, match="mp3 cannot be written at 17000 Hz on this machine; choose wav or flac"):
        audio_bytes(np.zeros(10, np.float32), 17000, "mp3")


def test_a_song_with_exports_is_still_a_song_s_folder(song: Song, model: Model, tiny: Path) -> None:
    exported(song, model)
    for name in ("song.json", *(f"level_{level}" for level in range(3)), "versions"):
        path = song.root / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    assert Song.create(song.root, model, model=tiny, **REQUEST).status()[0].done == 0


def test_export_in_the_shell(
    song: Song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--format", "mp3", "--items", "0,1", "--level", "level_1", "--loudness", "-3"]
    assert shell(monkeypatch, "export", song.root, *options) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(song.root / "exports" / f"item_{item}.mp3") for item in (0, 1)]
    assert said.err.count("note: item_") == 2
    assert "LUFS, not -3: louder, its peaks would be above -1 dBFS" in said.err
    assert shell(monkeypatch, "export", song.root, tmp_path / "out", "--format", "flac", "--stereo") == 0
    assert str(tmp_path / "out" / "stereo.flac") in capsys.readouterr().out
    assert soundfile.info(tmp_path / "out" / "stereo.flac").channels == 2
    assert shell(monkeypatch, "export", song.root, "--format", "tape") == 1
    assert "there is no format tape" in capsys.readouterr().err
