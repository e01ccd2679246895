"""Edits of a song: each can be taken back, none destroys codes, and one cut short is finished by the next."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import jukebox_kit as jk
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song import edits
from jukebox_kit.song.song import Song
from jukebox_kit.song.store.local import LocalStore
from jukebox_kit.song.versions import version_names
from tests.conftest import Run

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": "la la", "seconds": 0.6, "items": 2}


def all_codes(song: Song) -> list[Any]:
    return [song.codes(level) for level in LEVELS]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def song(tiny: Path, tmp_path: Path) -> Song:
    """A song of which levels 2 and 1 are made."""
    return jk.sample(Song.create(tmp_path / "song", model=tiny, **REQUEST), until=1)


def test_extend_keeps_what_stands_and_samples_what_is_new(song: Song) -> None:
    before = all_codes(song)
    edits.extend(song, 0.3, lyrics="other words")
    assert [s.done / s.total for s in song.status()][:2] == pytest.approx([2 / 3, 2 / 3], abs=0.01)
    jk.sample(Song.open(song.root))
    after = all_codes(Song.open(song.root))
    for level in (2, 1):
        stood = before[level].shape[1]
        assert np.array_equal(after[level][:, :stood], before[level])
        assert after[level].shape[1] > stood
        assert after[level].min() >= 0
    assert Song.open(song.root).request.lyrics == "other words"


def test_undo_and_redo_bring_back_exactly_what_was(song: Song) -> None:
    states = [all_codes(song)]
    edits.choose(song, 1)
    states.append(all_codes(song))
    edits.trim(song, 0.4)
    states.append(all_codes(song))
    assert np.array_equal(states[1][2][0], states[0][2][1])
    assert np.array_equal(states[1][2][1], states[0][2][1])
    assert states[2][2].shape[1] == int(0.4 * 16000) // 128
    for steps, turn in ((1, edits.undo), (0, edits.undo), (1, edits.redo), (2, edits.redo), (1, edits.undo)):
        turn(Song.open(song.root))
        assert same(all_codes(Song.open(song.root)), states[steps])
    edits.extend(Song.open(song.root), 0.1)
    with pytest.raises(SongError, match="nothing to redo"):
        edits.redo(Song.open(song.root))
    jk.sample(Song.open(song.root))
    history = [event.sentence for event in Song.open(song.root).manifest.history]
    assert history[:3] == ["created", "chose item 1", "trimmed to 0.4 seconds"]


def test_the_audio_follows_the_codes(song: Song) -> None:
    file = song.root / "level_2" / "item_0.wav"
    first, second = (soundfile.read(path)[0] for path in (file, song.root / "level_2" / "item_1.wav"))
    assert not np.array_equal(first, second)
    for item, wanted in ((1, second), (None, first)):
        edits.undo(song) if item is None else edits.choose(song, item)
        jk.level_2(Song.open(song.root))
        assert np.array_equal(soundfile.read(file)[0], wanted)


def test_nothing_to_undo_is_said(song: Song) -> None:
    with pytest.raises(SongError, match="nothing to undo"):
        edits.undo(song)


def test_items_part_after_a_choice(song: Song) -> None:
    edits.choose(song, 0)
    edits.extend(song, 0.3)
    stood = int(0.6 * 16000) // 128
    codes = jk.level_2(Song.open(song.root)).codes(2)
    assert np.array_equal(codes[0, :stood], codes[1, :stood])
    assert not np.array_equal(codes[0, stood:], codes[1, stood:])


def test_a_fork_begins_alike_and_goes_on_otherwise(song: Song, tmp_path: Path) -> None:
    before = all_codes(song)
    other = edits.fork(song, tmp_path / "fork", at=0.3)
    common = int(0.3 * 16000) // 128
    assert other.level(2).given == (common, common)
    assert other.request.seed == song.request.seed + 1
    assert other.manifest.came_from == {"kind": "fork", "path": str(song.root), "at": 0.3}
    jk.level_2(other)
    assert np.array_equal(other.codes(2)[:, :common], before[2][:, :common])
    assert not np.array_equal(other.codes(2), before[2])
    assert same(all_codes(song), before)
    with pytest.raises(SongError, match="already contains a song"):
        edits.fork(song, tmp_path / "fork")


class CutError(Exception):
    """What a test throws into the middle of an edit."""


def song_at_newest_version(song: Song) -> Song:
    """Return a copy of the song that went to the version kept last."""
    copy = song.root.with_name("copy")
    shutil.copytree(song.root, copy)
    other = Song.open(copy)
    return edits.visit(other, version_names(other.state)[-1])


def edit_steps(song: Song) -> list[Callable[[], Song]]:
    return [
        lambda: edits.choose(song, 1),
        lambda: edits.trim(song, 0.3),
        lambda: edits.undo(song),
        lambda: edits.vary(song),
        lambda: edits.visit(song, "1"),
    ]


@pytest.mark.parametrize("kind", range(5))
def test_an_edit_cut_short_anywhere_is_done_or_not_done(song: Song, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    if kind != 3:  # a song that is a copy of one item holds nothing that could be varied
        edits.choose(song, 0)
    before = all_codes(song)
    write = LocalStore.write
    outcomes: list[str] = []
    for cut in range(30):
        writes = iter(range(100))

        def failing(store: LocalStore, name: str, content: bytes) -> None:
            if next(writes) == cut:  # noqa: B023  # called before the loop goes on
                raise CutError
            write(store, name, content)

        monkeypatch.setattr(LocalStore, "write", failing)
        try:
            edit_steps(Song.open(song.root))[kind]()
            outcomes.append("whole")
        except CutError:
            outcomes.append("cut")
        monkeypatch.setattr(LocalStore, "write", write)
        seen = all_codes(Song.open(song.root))  # read without anybody having finished it
        with Song.open(song.root).locked():
            pass
        settled = all_codes(Song.open(song.root))
        assert same(seen, settled)
        if not same(settled, before):
            break
    assert outcomes.count("cut") > 5
    assert outcomes[-1] == "whole" or not same(settled, before)
    assert same(all_codes(song_at_newest_version(song)), before), "what stood is kept"
    if kind not in (2, 4):
        edits.undo(Song.open(song.root))
        assert same(all_codes(Song.open(song.root)), before)


def test_lengths_that_cannot_be_are_refused(song: Song, tmp_path: Path) -> None:
    before = all_codes(song)
    with pytest.raises(RequestError, match="extend by more than 0"):
        edits.extend(song, 0)
    with pytest.raises(jk.JukeboxKitError, match="60"):
        edits.extend(song, 1e4)
    with pytest.raises(RequestError, match=r"less than 0\.6"):
        edits.trim(song, 0.6)
    with pytest.raises(SongError, match="items 0 to 1"):
        edits.choose(song, 2)
    with pytest.raises(RequestError, match="fork at"):
        edits.fork(song, tmp_path / "other", at=0.7)
    assert same(all_codes(Song.open(song.root)), before)
    assert not (tmp_path / "other").exists()
    assert not (song.root / "versions").exists()


def test_chosen_items_alone_are_upsampled(song: Song) -> None:
    first = song.codes(1)
    jk.upsample(song, (1,))
    codes = Song.open(song.root).codes(0)
    assert codes[1].min() >= 0
    assert codes[0].max() == -1
    assert not (song.root / "level_0" / "item_0.wav").exists()
    jk.sample(Song.open(song.root))
    assert Song.open(song.root).codes(0)[0].max() == -1, "resume keeps to the choice"
    jk.upsample(Song.open(song.root))
    assert Song.open(song.root).codes(0).min() >= 0
    assert np.array_equal(Song.open(song.root).codes(1), first)
    with pytest.raises(SongError, match="items 0 to 1"):
        jk.upsample(song, (2,))


def test_the_same_by_the_shell(song: Song, tmp_path: Path, run: Run) -> None:
    for command in (
        ("choose", song.root, 1),
        ("extend", song.root, "--seconds", "0.2"),
        ("undo", song.root),
        ("redo", song.root),
        ("trim", song.root, "--seconds", "0.5"),
        ("fork", song.root, tmp_path / "other", "--at", "0.25"),
        ("upsample", song.root, "--items", "0"),
        ("resume", tmp_path / "other"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    assert [s.done == s.total for s in Song.open(tmp_path / "other").status()] == [True] * 3
    for wrong in (("choose", song.root, 9), ("upsample", song.root, "--items", "x"), ("undo", tmp_path / "other")):
        refused = run(*wrong)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
