"""Datasets: which recordings a folder holds, what is refused and why, and what is encoded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import ConfigurationError, JukeboxKitError, RequestError
from jukebox_kit.song.audio import read_recording, save_audio
from jukebox_kit.song.lyrics.lrc import Phrase, phrases_of
from jukebox_kit.training.dataset import Dataset, Preparation, prepare
from jukebox_kit.training.dataset.recordings import find_recordings
from tests.conftest import Run

SR = 16000


def noise(seconds: float, seed: int = 0, channels: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    audio = np.random.default_rng(seed).uniform(-0.5, 0.5, (int(seconds * SR), channels)).astype(np.float32)
    return audio[:, 0] if channels == 1 else audio


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Return a folder with recordings of two artists in folders of their own."""
    for number, artist in enumerate(("Zac Brown Band", "the new ones")):
        folder = tmp_path / "music" / artist / "album"
        folder.mkdir(parents=True)
        save_audio(noise(9 + number, number), folder / f"{number}.wav", SR)
    (tmp_path / "music" / "notes.txt").write_text("not a recording")
    return tmp_path / "music"


def prepared(folder: Path, out: Path, tiny: Path, held_out: float = 0.1) -> tuple[Dataset, list[str]]:
    said: list[str] = []
    return prepare(folder, out, Preparation(str(tiny), held_out), said.append), said


def table(folder: Path, text: str | bytes) -> Path:
    (folder / "metadata.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_folders_name_the_artists(music: Path, tmp_path: Path, tiny: Path) -> None:
    (music / "the new ones" / "album" / "1.lrc").write_text("[ar:x]\n[00:01.20]La la\n[00:03.00]lo\n")
    data, _ = prepared(music, tmp_path / "data", tiny)
    assert [(song.artist, song.genre) for song in data.songs] == [
        ("Zac Brown Band", "unknown"),
        ("the new ones", "unknown"),
    ]
    assert phrases_of(data.songs[1].lyrics)[0] == Phrase(1.2, 3.0, "La la\n")
    save_audio(noise(9), music / "loose.wav", SR)
    assert {recording.artist for recording in find_recordings(music)} == {"Zac Brown Band", "the new ones", "music"}


def test_codes_are_those_of_the_whole_recording(music: Path, tmp_path: Path, tiny: Path) -> None:
    data, _ = prepared(music, tmp_path / "data", tiny)
    model = Model.load(tiny, "cpu")
    for song in data.songs:
        audio = read_recording(Path(song.file) if Path(song.file).is_absolute() else Path.cwd() / song.file, SR)
        whole = torch.from_numpy(np.asarray(audio[: len(audio) // 128 * 128]))[None, :, None]
        for level, codes in enumerate(model.vqvae.encode(whole)):
            (held,) = data.load_codes([song], level)
            assert (held == codes[0]).float().mean() > 0.999  # rounding may decide otherwise
    assert Dataset.open(data.root) == data


def test_preparing_again_encodes_only_what_is_new(music: Path, tmp_path: Path, tiny: Path) -> None:
    data, _ = prepared(music, tmp_path / "data", tiny)
    files = {path: path.stat().st_mtime_ns for path in (data.root / "codes").iterdir()}
    save_audio(noise(9, 7), music / "third.flac", SR)
    damaged = data.root / data.songs[0].codes
    damaged.write_bytes(damaged.read_bytes()[:100])
    again, _ = prepared(music, tmp_path / "data", tiny)
    kept = {path: path.stat().st_mtime_ns for path in (data.root / "codes").iterdir()}
    assert len(again.songs) == 3
    assert {path for path in files if files[path] == kept[path]} == set(files) - {damaged}
    assert again.load_codes([again.songs[0]], 0)[0].dtype == torch.int16


def test_songs_are_held_out_and_stay_so(music: Path, tmp_path: Path, tiny: Path) -> None:
    for number in range(8):
        save_audio(noise(9, 20 + number), music / f"{number}.wav", SR)
    data, _ = prepared(music, tmp_path / "data", tiny, 0.25)
    held = {song.file for song in data.split(held_out=True)}
    assert len(held) == 2
    assert held | {song.file for song in data.split(held_out=False)} == {song.file for song in data.songs}
    assert prepared(music, tmp_path / "other", tiny, 0)[0].split(held_out=True) == ()


BAD = {
    "silent.wav": "is silent as mono",
    "short.wav": "is 1.0 s long; songs of tiny last at least 2 s.",
    "corrupt.flac": "cannot be read as audio",
    "double.wav": "it is the same recording as",
    "empty.ogg": "cannot be read as audio",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
def test_recordings_that_cannot_be_used_are_listed_with_the_reason(music: Path, tmp_path: Path, tiny: Path) -> None:
    save_audio(np.zeros(9 * SR, np.float32), music / "silent.wav", SR)
    save_audio(noise(1, 5), music / "short.wav", SR)
    (music / "corrupt.flac").write_bytes(b"fLaC" + bytes(200))
    (music / "empty.ogg").write_bytes(b"")
    shutil.copy(music / "Zac Brown Band" / "album" / "0.wav", music / "double.wav")
    dead = noise(9, 6, channels=2)
    dead[:, 1] = 0
    save_audio(dead, music / "dead.wav", SR)
    data, said = prepared(music, tmp_path / "data", tiny)
    refused = {Path(one.file).name: one.why for one in data.refused}
    assert set(refused) == set(BAD)  # of two that are the same, the one that comes first is kept
    for name, why in refused.items():
        assert BAD[name] in why
        assert f"refused: {why}" in said
    assert any("1 of its 2 channels are silent and were left out" in line for line in said)
    (song,) = (song for song in data.songs if song.file.endswith("dead.wav"))
    assert song.samples == 9 * SR


def test_long_recordings_become_several_songs(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "music").mkdir()
    save_audio(noise(70), tmp_path / "music" / "long.wav", SR)
    data, said = prepared(tmp_path / "music", tmp_path / "data", tiny)
    assert [round(song.seconds, 1) for song in data.songs] == [35.0, 35.0]
    assert len({song.held_out for song in data.songs}) == 1
    assert "it became 2 songs" in " ".join(said)


ROWS = "a.wav,Me,pop,la la\nb.wav,Me,,\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets_are_read(delimiter: str, encoding: str, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").touch()
    text = f"File,Artist,Genre,Lyrics\r\n{ROWS}".replace(",", delimiter)
    quoted = text.replace("la la", f'"la, ""la""{delimiter}\nlo"').replace("\n\n", "\n")
    table(tmp_path, quoted.encode(encoding))
    first, second = find_recordings(tmp_path)
    assert (first.artist, first.genre, first.lyrics) == ("Me", "pop", f'la, "la"{delimiter}\nlo')
    assert (second.artist, second.genre, second.lyrics) == ("Me", "unknown", "")
    assert second.line.endswith("metadata.csv, line 4")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "artist,genre\nMe,pop\n",
            ["line 1: the column file is missing; the columns are file, artist, genre, lyrics."],
        ),
        ("file,singer\na.wav,Me\n", ["line 1: there is no column 'singer'; the columns are"]),
        ("file,artst\na.wav,Me\n", ["line 1: there is no column 'artst'; did you mean artist?"]),
        ("file,file\na.wav,a.wav\n", ["line 1: the column 'file' appears twice"]),
        ("file\nc.wav\n", ["line 2: there is no file c.wav in"]),
        ("file\na.wav\na.wav\n", ["line 3: a.wav is in line 2 already; remove one of the two."]),
        ("file,artist\na.wav,Me,too\nb.wav\n", ["line 2: it has 3 cells", "line 3: it has 1 cells"]),
        ("file,lyrics\na.wav,words.txt\n", ["line 2: there is no lyrics file words.txt in"]),
        ('file,artist\na.wav,"Me\n', ["line 2: it cannot be read as CSV"]),
        ("file,artist\n,Me\n", ["line 2: the column file is empty"]),
        ("", ["line 1: it is empty; its first line names the columns"]),
        (b"file,artist\na.wav,Bj\xf6rk\n", ["line 2: it is not in UTF-8"]),
        (b"file\n\x00.wav\n", ["line 2: "]),
    ],
)
def test_faults_of_a_table_are_named_with_their_lines(
    text: str | bytes, sentences: Sequence[str], tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").touch()
    with pytest.raises(ConfigurationError) as caught:
        find_recordings(table(tmp_path, text))
    for sentence in sentences:
        assert sentence in str(caught.value)


def test_ten_thousand_rows_are_read_quickly_and_all_faults_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    rows = "".join(f"{number}.wav,artist {number % 700}\n" for number in range(10_000))
    with pytest.raises(ConfigurationError, match="has 10000 faults"):
        find_recordings(table(tmp_path, f"file,artist\n{rows}"))


def test_lyrics_that_the_model_cannot_read_are_left_out(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "music").mkdir()
    for number, lyrics in enumerate(("ΛΑ ☃☃☃☃☃☃☃☃", "La ☃ la", "Ça va")):
        save_audio(noise(9, number), tmp_path / "music" / f"{number}.wav", SR)
        (tmp_path / "music" / f"{number}.txt").write_text(lyrics)
    data, said = prepared(tmp_path / "music", tmp_path / "data", tiny)
    assert [song.lyrics for song in data.songs] == ["", "La ☃ la", "Ça va"]
    assert any("cannot read 8 characters of the lyrics, so they were left out" in line for line in said)
    assert any("1 characters of the lyrics cannot be read: ☃" in line for line in said)
    (tmp_path / "music" / "0.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RequestError, match=r"0\.txt cannot be read as text"):
        find_recordings(tmp_path / "music")


def test_a_dataset_is_of_one_model_and_has_its_folder_for_itself(
    music: Path, tmp_path: Path, tiny: Path, run: Run
) -> None:
    data, _ = prepared(music, tmp_path / "data", tiny)
    with pytest.raises(RequestError, match="holds codes of the model"):
        prepare(music, data.root, Preparation("demo"))
    with pytest.raises(RequestError, match="contains other files"):
        prepare(music, music, Preparation(str(tiny)))
    with pytest.raises(RequestError, match="there is no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "x", Preparation(str(tiny)))
    with pytest.raises(RequestError, match="contains no recordings"):
        prepare(data.root, tmp_path / "x", Preparation(str(tiny)))
    with pytest.raises(RequestError, match="is not a dataset"):
        Dataset.open(music)
    (data.root / "dataset.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ConfigurationError, match="is damaged"):
        Dataset.open(data.root)
    for wrong in ({"held_out": 0.9}, {"held_out": float("nan")}, {"processes": 0}):
        with pytest.raises(JukeboxKitError):
            Preparation(**wrong)


def test_the_command_prepares_and_shows(music: Path, tmp_path: Path, tiny: Path, run: Run) -> None:
    done = run("dataset", "prepare", music, tmp_path / "data", "--model", tiny, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert "training: 1 songs" in done.stderr
    assert "jukebox-kit finetune" in done.stdout
    shown = run("dataset", "show", tmp_path / "data")
    assert "artists: Zac Brown Band (1), the new ones (1)" in shown.stdout
    wrong = run("dataset", "prepare", tmp_path / "nowhere", tmp_path / "x", "--model", tiny)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
