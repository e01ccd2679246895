"""A song's state: each file of codes is read once while the song is locked, and what is written is seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import StoppedError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.edits import trim, undo
from jukebox_kit.song.song import Song
from jukebox_kit.steps import shards
from jukebox_kit.steps.steps import level_0, level_1, level_2
from tests.test_song import REQUEST


@pytest.fixture
def song(tiny: Path, tmp_path: Path) -> Song:
    return Song.create(tmp_path / "song", model=tiny, **REQUEST)


def count_reads(song: Song, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each file of codes is read from here on."""
    reads, read = Counter[str](), song.store.read

    def counted(name: str) -> bytes | None:
        if name.endswith("codes.safetensors"):
            reads[name] += 1
        return read(name)

    monkeypatch.setattr(song.store, "read", counted)
    return reads


def test_a_step_reads_each_file_of_codes_twice_at_most(song: Song, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(song, monkeypatch)
    for step in (level_2, level_1, level_0):
        reads.clear()
        step(song)
        assert len(reads) == 3
        assert max(reads.values()) <= 2, reads


def test_so_does_a_step_that_is_resumed(song: Song, monkeypatch: pytest.MonkeyPatch) -> None:
    level_2(song)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) >= 30

    with pytest.raises(StoppedError):
        level_1(song, run=jk.RunSettings(stop=stop))
    resumed = Song.open(song.root)
    reads = count_reads(resumed, monkeypatch)
    level_1(resumed, run=jk.RunSettings(save_every=0.0))
    assert max(reads.values()) <= 2, reads


def test_a_state_holds_what_was_written_and_ends_with_the_lock(song: Song) -> None:
    total = song.resolved.plans[2].total
    whole = LevelCodes.whole(np.ones((1, total), np.int16))
    with song.locked() as before:
        assert before.missing(2) == total
        song.write_level(2, whole)
        assert song.state.finished(2)
        assert not before.finished(2)
        assert np.array_equal(song.codes(2), whole.codes)
    other = Song.open(song.root)
    other.write_level(2, LevelCodes.blank(1, total))
    assert not song.state.finished(2)
    with song.locked() as state:
        assert not state.finished(2)


def test_edits_are_seen_under_the_lock_that_made_them(song: Song) -> None:
    level_2(song)
    before = song.codes(2)
    trim(song, 0.3)
    assert song.codes(2).shape[1] < before.shape[1]
    undo(song)
    assert np.array_equal(song.codes(2), before)


def test_nothing_is_hashed_where_a_song_has_no_shards(song: Song, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(song, monkeypatch)
    monkeypatch.setattr(shards, "_mark", lambda *_: pytest.fail("hashed"))
    with song.locked() as state:
        assert all(shards.merge_shards(state, level) is state for level in LEVELS)
    assert not reads


def test_steps_without_a_model_load_it_once(song: Song, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = Model._loaded

    def counted(self: Model, blank: nn.Module, name: str) -> nn.Module:
        loaded.append(name)
        return load(self, blank, name)

    monkeypatch.setattr(Model, "_loaded", counted)
    for step in (level_2, level_1, level_0):
        step(song)
    song.audio()
    assert loaded.count("vqvae") == 1
    assert max(Counter(loaded).values()) == 1


def test_generate_follows_the_plan_of_memory(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[tuple[str, float, int]] = []

    def load_for(model: str, seconds: float, items: int, *, lora_scale: float) -> Model:
        planned.append((model, seconds, items))
        return Model.load(model, weights="float16")

    monkeypatch.setattr("jukebox_kit.steps.steps.load_for", load_for)
    jk.generate(str(tiny), **REQUEST)
    assert planned == [(str(tiny), REQUEST["seconds"], 1)]


def test_a_folder_with_nothing_but_shards_left_is_free(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "song" / "shares").mkdir(parents=True)
    assert Song.create(tmp_path / "song", model=tiny, **REQUEST).manifest.request.seed == REQUEST["seed"]
