"""Songs: created, stopped, resumed, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import SongBusyError, SongError, StoppedError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.song import Song
from tests.conftest import WAV_STEP, Run, in_wav

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": "la la la", "seconds": 0.6, "seed": 3}


def all_codes(song: Song) -> list[np.ndarray[Any, Any]]:
    return [song.codes(level) for level in LEVELS]


def same_codes(a: Song, b: Song) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(all_codes(a), all_codes(b), strict=True))


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """A song of two items, never stopped."""
    return jk.sample(Song.create(tmp_path_factory.mktemp("songs") / "whole", model=tiny, items=2, **REQUEST))


def test_a_finished_song_has_codes_and_audio_of_every_level(whole: Song) -> None:
    samples = int(0.6 * 16000) // 128 * 128
    for level, hop in enumerate((8, 32, 128)):
        codes, given = whole.codes(level), whole.level(level).given
        assert codes.shape == (2, samples // hop)
        assert given == (0, 0)
        assert codes.min() >= 0
        for item in range(2):
            audio, sr = soundfile.read(whole.root / f"level_{level}" / f"item_{item}.wav", dtype="float32")
            assert (sr, len(audio)) == (16000, samples)
            assert np.abs(audio - in_wav(whole.audio(level, item))).max() <= WAV_STEP
    assert not np.array_equal(whole.codes(2)[0], whole.codes(2)[1])
    assert (whole.root / "spectrogram.png").read_bytes().startswith(b"\x89PNG")
    assert [(s.level, s.done == s.total) for s in whole.status()] == [(2, True), (1, True), (0, True)]


def test_song_json_tells_request_and_what_became_of_it(whole: Song) -> None:
    manifest = json.loads((whole.root / "song.json").read_text())
    assert manifest["request"]["artist"] == "The Beatles"
    assert manifest["resolved"]["labels"][2]["artist"] == 1
    assert set(manifest["checkpoints"]) == {"vqvae", "level_0", "level_1", "level_2"}
    assert manifest["licence"] == "MIT"


@pytest.mark.parametrize("batch", [1, 2])
def test_batch_splits_and_engines_make_the_same_song(whole: Song, tiny: Path, tmp_path: Path, batch: int) -> None:
    song = Song.create(tmp_path / "song", model=tiny, items=2, **REQUEST)
    jk.level_2(song, jk.Model.load(tiny, engine="plain"), jk.RunSettings(batch_size=batch))
    jk.level_1(song, run=jk.RunSettings(batch_size=batch))
    assert np.array_equal(song.codes(2), whole.codes(2))
    assert np.array_equal(song.codes(1), whole.codes(1))


@pytest.mark.parametrize("tokens", [1, 70])
def test_who_asks_for_a_stop_gets_it_at_the_next_token_with_everything_saved(
    whole: Song, tiny: Path, tmp_path: Path, tokens: int
) -> None:
    song = Song.create(tmp_path / "song", model=tiny, items=2, **REQUEST)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) >= tokens

    with pytest.raises(StoppedError, match="Everything is saved"):
        jk.level_2(song, run=jk.RunSettings(stop=stop))
    assert song.level(2).made == (tokens, tokens)
    assert same_codes(jk.sample(Song.open(song.root)), whole)


def test_an_interrupt_in_the_middle_of_a_save_loses_nothing(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = Song.create(tmp_path / "song", model=tiny, items=2, **REQUEST)
    write, interrupted = song.write_level, list[int]()

    def interrupt_once(level: int, codes: LevelCodes) -> None:
        if not interrupted:
            interrupted.append(min(codes.made))
            raise KeyboardInterrupt
        write(level, codes)

    monkeypatch.setattr(song, "write_level", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        jk.level_2(song, run=jk.RunSettings(save_every=0.0))
    assert song.level(2).made == (interrupted[0],) * 2
    assert interrupted[0] > 0
    assert same_codes(jk.sample(Song.open(song.root)), whole)


class ThrownError(Exception):
    """What a test throws into the middle of a level."""


def test_an_exception_in_the_middle_keeps_what_is_made(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukebox_kit.steps.level_writer.REPORTS_PER_SECOND", 1e9)
    song = Song.create(tmp_path / "song", model=tiny, items=2, **REQUEST)

    def stop(progress: jk.Progress) -> None:
        if progress.level == 1 and progress.done > progress.total // 2:
            raise ThrownError

    with pytest.raises(ThrownError):
        jk.sample(song, run=jk.RunSettings(progress=stop))
    half = song.status()[1]
    assert half.total // 3 < half.done < half.total
    assert same_codes(jk.sample(Song.open(song.root)), whole)


def test_previews_can_be_heard_on_the_way_and_give_way_to_the_whole(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukebox_kit.steps.level_writer.REPORTS_PER_SECOND", 1e9)
    song = Song.create(tmp_path / "song", model=tiny, items=2, **REQUEST)
    jk.level_2(song)

    def stop(progress: jk.Progress) -> None:
        if progress.done > progress.total // 4:
            raise ThrownError

    with pytest.raises(ThrownError):
        jk.level_1(song, run=jk.RunSettings(progress=stop, preview_every=0.01))
    preview = soundfile.info(song.root / "level_1" / "item_1.wav").frames
    assert 0 < preview < song.resolved.samples
    song.write_level(1, whole.level(1))  # as if it had been stopped after the last token and before the audio
    jk.level_1(song)
    assert soundfile.info(song.root / "level_1" / "item_1.wav").frames == song.resolved.samples


@pytest.mark.parametrize("level", [2, 1, 0])
def test_kill_9_in_the_middle_of_a_level(whole: Song, tiny: Path, tmp_path: Path, level: int, run: Run) -> None:
    """The process is killed for real once the level has saved something; resume gives the song never stopped."""
    folder = tmp_path / "song"
    fields = ["--artist", "The Beatles", "--genre", "pop", "--lyrics", "la la la", "--seconds", "0.6", "--seed", "3"]
    command = [
        sys.executable,
        "-m",
        "jukebox_kit",
        "sample",
        str(folder),
        "--model",
        str(tiny),
        "--items",
        "2",
        *fields,
    ]
    slow = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--save-every", "0"], env=slow, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    saved = folder / f"level_{level}" / "codes.safetensors"
    while process.poll() is None and not saved.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if level != 0:
        assert not (folder / "level_0").exists()
    song = Song.open(folder)
    assert song.status()[2 - level].done < song.status()[2 - level].total
    assert run("resume", folder).returncode == 0
    assert same_codes(song, whole)


def test_two_processes_never_work_on_one_song(whole: Song) -> None:
    with whole.store.lock(), pytest.raises(SongBusyError, match=f"process {os.getpid()} on"):
        jk.level_0(Song.open(whole.root))


def test_another_request_for_the_same_folder_is_refused(whole: Song, tiny: Path) -> None:
    assert same_codes(Song.create(whole.root, model=tiny, items=2, **REQUEST), whole)
    with pytest.raises(SongError, match="seed 3, not 4"):
        Song.create(whole.root, model=tiny, items=2, **{**REQUEST, "seed": 4})


def test_other_checkpoints_are_refused(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    song = Song.create(tmp_path / "song", model=tmp_path / "tiny.yaml", **REQUEST)
    part = tmp_path / "level_1.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    with pytest.raises(SongError, match="other level_1 weights"):
        jk.level_2(song)


def test_steps_out_of_order_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SongError, match="needs level 1 finished"):
        jk.level_0(Song.create(tmp_path / "song", model=tiny, **REQUEST))


def test_damaged_files_are_told_not_used(tiny: Path, tmp_path: Path) -> None:
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    path = song.root / "level_2" / "codes.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(SongError, match="damaged"):
        song.codes(2)
    path.write_bytes(bytes(content[:40]))
    with pytest.raises(SongError, match="damaged"):
        song.codes(2)
    (song.root / "song.json").write_text("{")
    with pytest.raises(SongError, match="damaged"):
        Song.open(song.root)


def test_codes_travel_whole() -> None:
    codes = np.array([[1, 2, -1], [3, -1, -1]], np.int16)
    read = unpack_codes(pack_codes(LevelCodes(codes, (1, 0))), "codes")
    assert np.array_equal(read.codes, codes)
    assert (read.given, read.made) == ((1, 0), (2, 1))


def test_a_creation_cut_short_is_begun_again(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "song"
    (folder / "level_2").mkdir(parents=True)
    (folder / "prompt.wav").write_bytes(b"half")
    assert Song.create(folder, model=tiny, **REQUEST).status()[0].done == 0


def test_codes_without_their_song_json_are_neither_used_nor_lost(tiny: Path, tmp_path: Path) -> None:
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    kept = (song.root / "level_2" / "codes.safetensors").read_bytes()
    (song.root / "song.json").unlink()
    with pytest.raises(SongError, match=r"holds codes but no song\.json"):
        Song.create(song.root, model=tiny, **{**REQUEST, "seed": 9})
    assert (song.root / "level_2" / "codes.safetensors").read_bytes() == kept


def test_very_short_and_not_quite_whole_lengths(tiny: Path, tmp_path: Path) -> None:
    for number, seconds in enumerate((0.008, 0.02, 0.1, 0.257)):
        song = jk.sample(Song.create(tmp_path / str(number), model=tiny, **{**REQUEST, "seconds": seconds}))
        assert len(song.audio(0)) == int(seconds * 16000) // 128 * 128


def test_generate_and_save_audio(whole: Song, tiny: Path, tmp_path: Path) -> None:
    audio = jk.generate(model=str(tiny), **REQUEST)
    assert audio.sr == 16000
    assert np.array_equal(audio, whole.audio(0, 0))
    for ending in ("wav", "flac", "mp3", "ogg"):
        read, sr = soundfile.read(jk.save_audio(audio, tmp_path / f"out.{ending}"))
        assert sr == 16000
        assert abs(len(read) - len(audio)) < 3000
    with pytest.raises(jk.JukeboxKitError, match="wav, flac, mp3 or ogg"):
        jk.save_audio(audio, tmp_path / "out.xyz")


def test_model_parts_can_be_used_alone(tiny: Path, whole: Song) -> None:
    model = Model.load(tiny)
    codes = model.vqvae.encode(torch.zeros(1, 1280, 1))
    assert [c.shape[1] for c in codes] == [160, 40, 10]
    labels = torch.tensor([whole.resolved.labels[2].row(model.top.config, 128, 0)])
    assert model.top.logits(codes[2], labels).shape == (1, 8 + 10, 79 + 32)


def test_temperature_alone_is_the_top_level_s(tiny: Path, tmp_path: Path) -> None:
    song = Song.create(tmp_path / "one", model=tiny, temperature=0.5, **REQUEST)
    assert song.request.temperature == (0.99, 0.99, 0.5)
    song = Song.create(tmp_path / "three", model=tiny, temperature=(0.7, 0.8, 0.9), **REQUEST)
    assert song.request.sampling_params(0, song.definition).temperature == 0.7
