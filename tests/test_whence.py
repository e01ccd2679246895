"""Tags of audio files, and which song a file came from: by its tags, also renamed, or else by its sound."""

from __future__ import annotations

import io
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import AudioError, SongError
from jukebox_kit.song import edits
from jukebox_kit.song.audio import audio_bytes
from jukebox_kit.song.audio_files import mark_of
from jukebox_kit.song.export import export_audio
from jukebox_kit.song.provenance import tags_of
from jukebox_kit.song.resemblance import likeness, rough_likeness
from jukebox_kit.song.song import Song
from jukebox_kit.song.tags import BEXT, KEY, Part, Source, read_source
from jukebox_kit.song.whence import whence
from tests.conftest import shell

SR = 16000
REQUEST: dict[str, Any] = {"artist": "Björk", "genre": "pop", "seconds": 1.0, "items": 3, "seed": 5}


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny)


@pytest.fixture(scope="module")
def made(tiny: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Song:
    folder = tmp_path_factory.mktemp("songs") / "made"
    return jk.sample(Song.create(folder, model, model=tiny, **REQUEST), 1, model)


@pytest.fixture
def song(made: Song, tmp_path: Path) -> Song:
    shutil.copytree(made.root, tmp_path / "songs" / "made")
    return Song.open(tmp_path / "songs" / "made")


def mark(song: Song, item: int, level: int) -> str:
    return mark_of(song.codes(level)[item])


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_tags_name_the_song_after_a_file_was_renamed(song: Song, model: Model, tmp_path: Path, format: str) -> None:
    (path,) = export_audio(song, tmp_path / "out", format, items=1, model=model).paths
    path = path.rename(tmp_path / f"zzz.{format}")
    (origin,) = whence(path, [tmp_path / "songs"])
    assert (origin.found_by, origin.folder, origin.states) == ("tags", song.root, ("now",))
    assert (origin.song, origin.model, origin.seed) == (song.manifest.song_id, "tiny", 5)
    assert origin.parts == (Part(1, 1, mark(song, 1, 1)),)
    source = read_source(path)
    assert source is not None
    assert dict(source.request) == {**REQUEST, "model": "tiny.yaml", "seconds": 1.0} | {"items": 3}
    with soundfile.SoundFile(path) as file:
        assert (file.title, file.artist, file.genre) == ("made, item 1", "Jukebox in the style of Björk", "pop")
    (elsewhere,) = whence(path, [])
    assert (elsewhere.folder, elsewhere.states, elsewhere.name) == (None, (), "made")


def test_files_of_the_song_and_of_its_versions(song: Song, model: Model, tmp_path: Path) -> None:
    kept = tmp_path / "kept.wav"
    shutil.copy(song.root / "level_2" / "item_0.wav", kept)
    assert whence(kept, [song.root])[0].states == ("now",)
    jk.level_2(edits.vary(song), model)
    (origin,) = whence(kept, [song.root])
    assert (origin.found_by, origin.states, origin.parts[0].level) == ("tags", ("1",), 2)
    shutil.copytree(song.root, tmp_path / "songs" / "copy")
    assert {one.folder for one in whence(kept, [tmp_path / "songs"])} == {song.root, tmp_path / "songs" / "copy"}
    other = edits.fork(song, tmp_path / "songs" / "fork", 0.5, model)
    assert other.manifest.song_id != song.manifest.song_id


def test_stereo_names_three_items(song: Song, model: Model, tmp_path: Path) -> None:
    (path,) = export_audio(song, tmp_path / "out", "flac", stereo=True, model=model).paths
    assert [(part.item, part.level) for part in whence(path, [song.root])[0].parts] == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(("format", "least"), [("wav", 0.9999), ("flac", 0.9999), ("mp3", 0.6)])
def test_a_file_without_tags_is_recognised_by_its_sound(song: Song, tmp_path: Path, format: str, least: float) -> None:
    audio, sr = soundfile.read(song.root / "level_1" / "item_2.wav")
    path = tmp_path / f"copy.{format}"
    soundfile.write(path, audio, sr)
    assert read_source(path) is None
    (origin,) = whence(path, [song.root])
    assert (origin.found_by, origin.parts, origin.states) == ("sound", (Part(2, 1, mark(song, 2, 1)),), ("now",))
    assert origin.likeness > least
    soundfile.write(path, 0.3 * audio[4001:], sr)
    (excerpt,) = whence(path, [song.root])
    assert [(part.item, part.level) for part in excerpt.parts] == [(2, 1)]
    assert excerpt.seconds == pytest.approx(4001 / SR, abs=1e-4)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
def test_other_sounds_are_not(song: Song, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, SR), SR)
    assert whence(tmp_path / "noise.wav", [song.root]) == ()
    (tmp_path / "text.wav").write_text("words")
    with pytest.raises(AudioError, match="cannot be read as audio"):
        whence(tmp_path / "text.wav", [song.root])
    with pytest.raises(AudioError, match="there is no file"):
        whence(tmp_path / "none.wav", [song.root])
    with pytest.raises(SongError, match="there is no folder"):
        whence(tmp_path / "noise.wav", [tmp_path / "none"])


def test_likeness_finds_the_offset() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * SR).astype(np.float32)
    for start in (0, 777, -500):
        part = noise[start : start + SR] if start >= 0 else np.concatenate([np.zeros(-start, np.float32), noise[:SR]])
        found = likeness(part, noise, SR, rough_likeness(part, noise, SR).start)
        assert found.start == start
        assert found.value == pytest.approx(1, abs=1e-5)
    assert likeness(noise[:SR], -noise, SR, 0).value < 0.1


def test_a_wav_file_has_the_chunk_of_broadcast_files_and_the_same_samples(song: Song) -> None:
    audio, tags = np.linspace(-1, 1, 999, dtype=np.float32), tags_of(song.state, "item 0", [(0, 2)])
    tagged, plain = audio_bytes(audio, SR, "wav", "PCM_16", tags), audio_bytes(audio, SR, "wav", "PCM_16")
    assert np.array_equal(soundfile.read(io.BytesIO(tagged))[0], soundfile.read(io.BytesIO(plain))[0])
    assert tagged[12:16] == b"bext"
    assert struct.unpack("<I", tagged[16:20]) == (602,)
    title, program, song_id, *_ = BEXT.unpack(tagged[20:622])
    assert title.rstrip(b"\0") == b"made, item 0"
    assert (program.rstrip(b"\0"), song_id.decode()) == (b"jukebox_kit", song.manifest.song_id)
    assert struct.unpack("<I", tagged[4:8]) == (len(tagged) - 8,)


def test_paths_stay_on_this_machine(song: Song) -> None:
    request = replace(song.request, prompt="/home/someone/riff.wav")
    state = song.state.with_manifest(replace(song.manifest, request=request))
    source = tags_of(state, "item 0", ()).source
    assert (source.request["prompt"], source.request["model"]) == ("riff.wav", "tiny.yaml")
    assert "/" not in source.to_json()


def test_a_song_from_before_ids_has_one(song: Song) -> None:
    old = replace(song.manifest, id="")
    assert len(old.song_id) == 32
    assert old.noted("extended", seconds=1.0).song_id == old.song_id


@pytest.mark.parametrize("change", [{"codes": "x"}, {"level": 7}, {"item": -1}, {"item": "a"}])
def test_a_forged_tag_does_not_count(song: Song, tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "copy.wav"
    shutil.copy(song.root / "level_2" / "item_0.wav", path)
    source = read_source(path)
    assert source is not None
    values = json.loads(source.to_json())
    values["parts"][0] |= change
    assert Source.from_json(json.dumps(values)) is None
    file: Any = mutagen.File(path)
    file.tags[f"TXXX:{KEY}"].text = [json.dumps(values)]
    file.save()
    assert whence(path, [song.root])[0].found_by == "sound"


def test_whence_in_the_shell(
    song: Song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = song.root / "level_1" / "item_2.wav"
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, SR), SR)
    assert shell(monkeypatch, "whence", file, "--songs", song.root) == 0
    said = capsys.readouterr().out
    about = f"made, item 2, level 1; model tiny, seed 5; {song.root} (as it is now); by its tags"
    assert said == f"{file}: {about}\n"
    assert shell(monkeypatch, "whence", "--json", file, tmp_path / "noise.wav", "--songs", song.root) == 1
    said_both = capsys.readouterr()
    assert [row["states"] for row in json.loads(said_both.out)] == [["now"]]
    assert "sounds like no song in these folders" in said_both.err
