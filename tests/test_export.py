"""The 2020 layout written back: what torch reads by itself, and what comes out the same when it is read in again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.interop.exporting import export_2020
from jukebox_kit.song.interop.importing import import_songs
from jukebox_kit.song.song import Song
from tests.conftest import WAV_STEP
from tests.old import OLD_FORMATS, OLD_RUN, codes_of, imported, one, write_mini, write_run


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


def read(folder: Path, level: int) -> dict[str, Any]:
    """Return a level's file by torch's own safe reader, without an allow-list."""
    content: dict[str, Any] = torch.load(folder / f"level_{level}" / "data.pth.tar", weights_only=True)
    return content


def codes(song: Song) -> list[np.ndarray[Any, Any]]:
    return [song.codes(level) for level in LEVELS]


def same(a: Song, b: Song) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(codes(a), codes(b), strict=True))


def test_the_recorded_run_comes_out_as_it_went_in(mini: Path, tmp_path: Path) -> None:
    song = one(OLD_RUN, tmp_path / "song", mini)
    assert export_2020(song, tmp_path / "run") == []
    for level in LEVELS:
        found, want = read(tmp_path / "run", level), codes_of(OLD_RUN / f"level_{level}" / "data.pth.tar")
        assert set(found) == {"zs", "labels", "sampling_kwargs", "x"}
        assert all(z.dtype is torch.int64 and torch.equal(z, w) for z, w in zip(found["zs"], want, strict=True))
        assert [label["y"].shape for label in found["labels"]] == [(3, 9)] * 3
        assert found["labels"][2]["y"][0].tolist() == [8820000, 0, 8192, 2, 5, -1, -1, -1, -1]  # as recorded
        assert found["labels"][2]["info"][0]["artist"] == "a"
        assert [kwargs["temp"] for kwargs in found["sampling_kwargs"]] == [0.99, 0.99, 0.98]
        assert found["x"].shape == (3, 88 * 128, 1)
        assert found["x"].dtype is torch.float32
    for item in range(3):
        want_audio, _ = soundfile.read(OLD_RUN / "level_0" / f"item_{item}.wav")
        audio, sr = soundfile.read(tmp_path / "run" / "level_0" / f"item_{item}.wav")
        assert sr == 44100
        assert np.abs(audio - want_audio).max() <= WAV_STEP
    again = one(tmp_path / "run", tmp_path / "again", mini, artist=None, genre=None)
    assert same(song, again)
    assert again.request.artist == "a"
    assert again.resolved == song.resolved


@pytest.mark.parametrize("lengths", [(0, 200, 88), (320, 80, 88), (0, 0, 60)])
def test_songs_under_way_come_back_as_they_were(mini: Path, tmp_path: Path, lengths: tuple[int, int, int]) -> None:
    write_run(tmp_path / "old", ["a", "a"], lengths)
    song = one(tmp_path / "old", tmp_path / "song", mini, seconds=0.3)
    jk.level_2(song)
    export_2020(song, tmp_path / "run")
    assert not (tmp_path / "run" / "level_0").exists()
    again = one(tmp_path / "run", tmp_path / "again", mini, seconds=0.3)
    assert same(song, again)
    assert jk.sample(again, until=1).codes(1).min() >= 0


def test_a_song_of_our_own_with_lyrics(tiny: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "artist": "The Beatles",
        "genre": "pop",
        "lyrics": "la Là\nla",
        "seconds": 0.3,
        "items": 2,
    }
    song = jk.sample(Song.create(tmp_path / "song", model=tiny, temperature=0.9, **fields))
    export_2020(song, tmp_path / "run")
    top = read(tmp_path / "run", 2)["labels"][2]
    assert top["y"].shape == (2, 4 + 1 + 8)
    assert top["info"][1]["lyrics"] == "la La\nla"
    assert len(top["info"][1]["full_tokens"]) == 8
    (again,) = imported(tmp_path / "run", tmp_path / "again", tiny, artist=None, genre=None)
    assert again.song is not None
    assert same(song, again.song)
    assert again.song.resolved == song.resolved
    assert again.song.request.temperature == (0.99, 0.99, 0.9)


def test_a_demo_song_is_known_again_without_a_word(tmp_path: Path) -> None:
    song = jk.level_2(Song.create(tmp_path / "song", artist="glass bells", genre="march", lyrics="la", seconds=0.2))
    export_2020(song, tmp_path / "run")
    (again,) = import_songs(tmp_path / "run", tmp_path / "again")
    assert again.song is not None
    assert same(song, again.song)
    assert again.notes == ()


def test_items_that_are_not_equally_far_are_cut_and_that_is_said(mini: Path, tmp_path: Path) -> None:
    song = one(OLD_FORMATS / "autosave_mid_level.pth.tar", tmp_path / "song", mini)
    found = song.level(1)
    found.codes[0, found.given[0] : found.given[0] + 50] = 1
    song.write_level(1, found)
    (note,) = export_2020(song, tmp_path / "run")
    assert "the items of level 1 differ in length; all were cut to the shortest, 200 tokens" in note


def test_refusals(mini: Path, tiny: Path, tmp_path: Path) -> None:
    song = one(OLD_RUN, tmp_path / "song", mini)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(SongError, match="is not empty; choose another folder"):
        export_2020(song, tmp_path / "full")
    with pytest.raises(SongError, match="has no codes yet"):
        export_2020(Song.create(tmp_path / "new", model=tiny, seconds=0.3), tmp_path / "run")
    assert not (tmp_path / "run").exists()
