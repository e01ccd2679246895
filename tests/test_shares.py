"""Rows of a level made beside each other: the same song, whoever makes which, whatever is stopped in between."""

from __future__ import annotations

import shutil
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.errors import SongBusyError, SongError, StoppedError
from jukebox_kit.song.codes import pack_codes
from jukebox_kit.song.song import Song
from jukebox_kit.steps.shards import held_shard
from jukebox_kit.steps.steps import sample_shard
from tests.test_song import REQUEST, same_codes

CHUNKED: dict[str, Any] = REQUEST | {"seconds": 0.8, "items": 3, "chunks": 2}


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny, "cpu")


@pytest.fixture(scope="module")
def whole(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """A song of three items in two chunks, made by one process."""
    root = tmp_path_factory.mktemp("songs") / "whole"
    return jk.sample(Song.create(root, model, model=model.source, **CHUNKED), model=model)


def fresh(model: Model, root: Path) -> Song:
    return Song.create(root, model, model=model.source, **CHUNKED)


def shares_of(song: Song) -> list[str]:
    return sorted(path.name for path in (song.root / "shares").glob("*"))


def test_a_song_of_shares_is_the_song(whole: Song, model: Model, tmp_path: Path) -> None:
    song = fresh(model, tmp_path / "song")
    for level, cuts in ((2, (0, 1, 3)), (1, (0, 4, 6)), (0, (0, 1, 2, 6))):
        for first, end in pairwise(cuts):
            sample_shard(Song.open(song.root), level, range(first, end), model)
        assert (song.codes(level) == UNSAMPLED).all()
        assert len(shares_of(song)) == len(cuts) - 1
        jk.sample(Song.open(song.root), until=level, model=model)
        assert np.array_equal(song.codes(level), whole.codes(level))
        assert not (song.root / "shares").exists()
    assert same_codes(song, whole)
    for name in ("level_2/alignment.safetensors", "level_0/item_2.wav", "spectrogram.png", "index.html"):
        assert (song.root / name).exists() == (whole.root / name).exists()
    history = [event.sentence for event in Song.open(song.root).manifest.history]
    assert "level 1, rows 0-3 were sampled by a separate worker" in history
    assert Song.open(song.root).manifest.runs.keys() == whole.manifest.runs.keys()


@pytest.mark.parametrize("store", ["local", "segments"])
def test_a_share_that_was_stopped_goes_on_alone_or_with_its_level(
    whole: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", store)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("jukebox_kit.song.store.drive.SETTLE_SECONDS", 0.0)
    for again in ("share", "level"):
        song, asked = fresh(model, tmp_path / again), list[int]()

        def stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) >= 30

        with pytest.raises(StoppedError):
            sample_shard(song, 2, range(1, 3), model, jk.RunSettings(stop=stop))
        assert len(shares_of(song)) == 1
        made = list[int]()
        counted = jk.RunSettings(progress=lambda progress, made=made: made.append(progress.done))  # type: ignore[misc]
        if again == "share":
            sample_shard(song, 2, range(1, 3), model, counted)
        song = jk.level_2(Song.open(song.root), model)
        assert np.array_equal(song.codes(2), whole.codes(2))
        assert not (song.root / "shares").exists()


def test_nobody_works_on_what_another_does(model: Model, tmp_path: Path) -> None:
    song = fresh(model, tmp_path / "song")
    with held_shard(song, 2, range(0, 2)):
        with (
            pytest.raises(SongBusyError, match=r"rows_0-1.* is being worked on by process"),
            held_shard(Song.open(song.root), 2, range(0, 2)),
        ):
            pass
        with pytest.raises(SongBusyError, match=r"rows_0-1.* is being worked on by process"):
            jk.level_2(Song.open(song.root), model)
        with held_shard(Song.open(song.root), 2, range(2, 3)) as (beside, _):
            assert beside.rows == range(2, 3)


def test_shares_begun_at_once_wait_for_each_other(model: Model, tmp_path: Path) -> None:
    song, begun = fresh(model, tmp_path / "song"), list[range]()
    together = threading.Barrier(3, timeout=30)

    def begin(row: int) -> None:
        with held_shard(Song.open(song.root), 2, range(row, row + 1)) as (share, _):
            begun.append(share.rows)
            together.wait()

    threads = [threading.Thread(target=begin, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row.start for row in begun) == [0, 1, 2]


def test_a_share_waits_only_so_long_for_a_song_at_which_somebody_is_at_work(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = fresh(model, tmp_path / "song")
    monkeypatch.setattr("jukebox_kit.steps.shards.PATIENCE", 0.3)
    with song.locked(), pytest.raises(SongBusyError), held_shard(Song.open(song.root), 2, range(1)):
        pass
    assert shares_of(song) == []


def test_a_share_of_what_the_song_no_longer_is_is_thrown_away(whole: Song, model: Model, tmp_path: Path) -> None:
    song = fresh(model, tmp_path / "song")
    jk.level_2(song, model)
    sample_shard(song, 1, range(0, 6), model)
    changed = song.level(2)
    codes = (changed.codes + 1) % 32  # as if another process had sampled level 2 otherwise
    song.store.write("level_2/codes.safetensors", pack_codes(type(changed)(codes, changed.given)))
    jk.level_1(Song.open(song.root), model)
    assert not np.array_equal(song.codes(1), whole.codes(1))
    assert not (song.root / "shares").exists()


def test_what_stands_in_the_level_is_not_made_again(whole: Song, model: Model, tmp_path: Path) -> None:
    root = tmp_path / "song"
    shutil.copytree(whole.root, root)
    song = Song.open(root)
    made = list[int]()
    sample_shard(song, 0, range(0, 6), model, jk.RunSettings(progress=lambda progress: made.append(progress.done)))
    assert made == []
    assert jk.sample(song, model=model) is song
    assert same_codes(song, whole)


@pytest.mark.parametrize("rows", [range(0), range(-1, 2), range(0, 4), range(0, 3, 2)])
def test_rows_that_a_level_has_not_are_refused(model: Model, tmp_path: Path, rows: range) -> None:
    song = fresh(model, tmp_path / "song")
    with pytest.raises(SongError, match=r"level 2 of .* has rows 0 to 2"):
        sample_shard(song, 2, rows, model)


def test_a_share_needs_the_level_above_whole(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SongError, match="needs level 2 finished"):
        sample_shard(fresh(model, tmp_path / "song"), 1, range(0, 3), model)


def test_alignment_is_told_where_level_2_is_taken_in(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = fresh(model, tmp_path / "song")
    sample_shard(song, 2, range(0, 3), model)
    tried = list[Song]()
    monkeypatch.setattr("jukebox_kit.steps.steps.try_alignments", lambda state, *_: tried.append(state.song))
    jk.level_2(song, model)
    assert tried == [song]
