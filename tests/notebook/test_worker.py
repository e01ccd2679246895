"""Work in a thread: told of at most twice a second, stopped, one at a time, and its errors as sentences."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import jukebox_kit as jk
from jukebox_kit.errors import RequestError
from jukebox_kit.notebook.background import State, Worker
from jukebox_kit.song.song import Song
from jukebox_kit.steps.progress import Progress
from tests.test_song import REQUEST


def test_its_end_is_told_and_only_one_piece_runs_at_a_time(tmp_path: Path) -> None:
    worker, go, told = Worker(), threading.Event(), list[State]()
    worker.watch(told.append)

    def piece(_: Worker) -> str:
        assert go.wait(10)
        return "Done."

    assert worker.start("first", piece, tmp_path, tmp_path / "song")
    assert not worker.start("second", piece, tmp_path)
    assert (worker.state.what, worker.state.subject, worker.state.busy) == ("first", tmp_path / "song", True)
    go.set()
    assert worker.wait(10).message == "Done."
    assert [state.phase for state in told] == ["running", "done"]
    assert worker.start("second", lambda _: "Again.", tmp_path)
    assert worker.wait(10).message == "Again."


def test_progress_is_told_twice_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, told, clock = Worker(), list[State](), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    worker.watch(told.append)
    for done in range(1, 400):
        worker.note(Progress(2, done, 1000))
        clock[0] += 0.01
    assert len(told) == 8
    assert told[-1].progress is not None
    assert told[-1].speed.startswith("100 tokens/s, ")


def test_a_stop_ends_a_song_where_it_is_with_everything_saved(tiny: Path, tmp_path: Path) -> None:
    worker = Worker()
    song = Song.create(tmp_path / "song", model=tiny, **REQUEST)
    worker.watch(lambda state: worker.stop() if state.progress is not None and state.phase == "running" else None)

    def piece(worker: Worker) -> str:
        jk.sample(song, run=worker.options())
        return "Done."

    worker.start("a song", piece, tmp_path)
    state = worker.wait(60)
    assert state.phase == "stopped"
    assert "Everything is saved" in state.message
    made = song.level(2).made[0]
    assert made > 0
    assert not (tmp_path / "jukebox_kit-error.txt").exists()
    undisturbed = jk.sample(Song.create(tmp_path / "other", model=tiny, **REQUEST))
    resumed = jk.sample(Song.open(song.root))
    assert all((resumed.codes(level) == undisturbed.codes(level)).all() for level in range(3))


def test_a_users_mistake_is_its_sentence(tmp_path: Path) -> None:
    def wrong(_: Worker) -> str:
        raise RequestError("seconds must be above 0.")

    worker = Worker()
    worker.start("a song", wrong, tmp_path)
    assert worker.wait(10) == State("failed", "a song", None, "seconds must be above 0.")


def test_an_error_that_nobody_foresaw_says_what_to_do_and_leaves_its_trace_in_a_file(tmp_path: Path) -> None:
    def broken(_: Worker) -> str:
        raise ZeroDivisionError("division by zero")

    worker = Worker()
    worker.start("a song", broken, tmp_path / "songs")
    message = worker.wait(10).message
    assert "ZeroDivisionError" in message
    assert "progress is saved. Try again; if it happens again, report it with the file" in message
    assert "Traceback" in (tmp_path / "songs" / "jukebox_kit-error.txt").read_text()


def test_a_widget_that_breaks_does_not_end_the_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: State) -> None:
        raise KeyError("widget")

    worker = Worker()
    worker.watch(broken)
    worker.start("a song", lambda _: "Done.", tmp_path)
    assert worker.wait(10).phase == "done"
    assert "a widget could not be updated" in caplog.text
