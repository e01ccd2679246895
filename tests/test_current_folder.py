"""A process may change its current folder: what was named by a relative path stays where it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import jukebox_kit as jk
from jukebox_kit._files import shown_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import SongError
from jukebox_kit.jobs import order, song_statuses, work_through
from jukebox_kit.jobs.album.album import load_album
from jukebox_kit.jobs.album.page import write_album_page
from jukebox_kit.model.weights import load_definition, models_folder
from jukebox_kit.song import Song, export_audio, extend, fork, redo, undo
from tests.conftest import shell

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": "la la la", "seconds": 0.3, "seed": 3}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start in tmp_path/here; return another folder."""
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "elsewhere"


def left_nothing(folder: Path) -> bool:
    return not list(folder.iterdir())


@pytest.mark.parametrize("store", ["local", "segments"])
@pytest.mark.parametrize("folder", ["song", "songs/song", "../here/song"])
def test_a_song_survives_it(
    tiny: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, store: str
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", store)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    song, expected = Song.create(folder, model=tiny, **REQUEST), tmp_path / "here" / folder
    assert song.root == expected
    jk.level_2(song)
    opened = Song.open(folder)
    monkeypatch.chdir(elsewhere)
    for step in (jk.level_1, jk.level_0):
        step(song)
    assert [level.done == level.total for level in song.status()] == [True] * 3
    undo(extend(opened, 0.1))
    assert export_audio(opened).paths[0].is_relative_to(expected)
    (written,) = export_audio(song, "exported").paths
    monkeypatch.chdir(tmp_path)
    assert written.exists()
    shutil.rmtree(elsewhere / "exported")
    assert (expected / "level_0" / "item_0.wav").exists()
    assert left_nothing(elsewhere)


def test_a_link_is_kept_as_it_was_named(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    Path("link").symlink_to(tmp_path / "disk")
    assert Song.create("link/song", model=tiny, **REQUEST).root == tmp_path / "here" / "link" / "song"


def test_a_model_survives_it(tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny.parent, "model")
    model, definition = Model.load("model/tiny.yaml", "cpu"), load_definition(Path("model") / "tiny.yaml")
    song = Song.create("song", model="model/tiny.yaml", **REQUEST)
    assert model.source == song.request.model
    monkeypatch.chdir(elsewhere)
    assert definition.find("vqvae").exists()
    jk.sample(song, model=model)
    assert song.status()[-1].done
    assert Song.create("another", model, model=model.source, **REQUEST).request.model == song.request.model


def test_the_folder_of_models_survives_it(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_MODELS", "models")
    here = models_folder()
    monkeypatch.chdir(elsewhere)
    assert models_folder() == here == elsewhere.parent / "here" / "models"


@pytest.mark.parametrize("given", ["folder", "paths"])
def test_a_folder_of_songs_survives_it(
    tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    for name in ("a", "b"):
        Song.create(Path("songs") / name, model=tiny, **REQUEST)
    loaded = Model.load(tiny, "cpu")

    def load(song: Song, held: Model | None) -> Model:
        monkeypatch.chdir(elsewhere)
        return loaded

    found = order(song_statuses("songs"))
    report = work_through("songs" if given == "folder" else [Path("songs") / name for name in ("a", "b")], load)
    assert [outcome.end for outcome in report.outcomes] == ["finished", "finished"]
    assert [outcome.song for outcome in report.outcomes] == [standing.song for standing in found]
    assert left_nothing(elsewhere)


def test_an_album_survives_it(tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("album.yaml").write_text(f"songs: [{{name: a, model: {tiny}, artist: The Beatles, genre: pop, seconds: 0.3}}]")
    album = load_album(Path("album.yaml"))
    here = Path.cwd()
    monkeypatch.chdir(elsewhere)
    root = album.folder_of(album.songs[0])
    assert (album.path, root) == (here / "album.yaml", here / "songs" / "album" / "a")
    jk.level_2(Song.create(root, model=tiny, **REQUEST))
    page = write_album_page(album.folder, "album", "", [root])
    assert '"a/level_2/item_0.wav"' in page.read_text()
    assert left_nothing(elsewhere)


def test_a_fork_is_made_where_it_was_asked_for(tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    song = Song.create("song", model=tiny, **REQUEST)
    monkeypatch.chdir(elsewhere)
    copy = fork(song, "copy")
    assert copy.root == elsewhere / "copy"
    assert copy.manifest.came_from is not None
    assert copy.manifest.came_from["path"] == str(song.root)


def test_messages_show_what_can_be_typed(
    tiny: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    song = Song.create("songs/a", model=tiny, **REQUEST)
    with pytest.raises(SongError, match=r"^songs/a has nothing to undo\.$"):
        undo(song)
    assert shell(monkeypatch, "extend", "songs/a", "--seconds", "0.1") == 0
    assert "continue with: jukebox-kit resume songs/a\n" in capsys.readouterr().out
    monkeypatch.chdir(elsewhere)
    with pytest.raises(SongError, match=rf"^{song.root} has nothing to redo\.$"):
        redo(song)
    assert shown_path(elsewhere / "x" / "y") == "x/y"
    assert shown_path(elsewhere) == "."
