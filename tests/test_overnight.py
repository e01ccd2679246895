"""Many songs in one night: where they stand, in which order, and that none of them stops the others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.jobs.queue import QueueReport, SongOutcome, SongStatus, import_old, order, song_statuses, work_through
from jukebox_kit.model import LEVELS
from jukebox_kit.song.interop.exporting import export_2020
from jukebox_kit.song.interop.importing import ImportOverrides
from jukebox_kit.song.song import Song
from jukebox_kit.steps import steps
from tests.conftest import shell

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "seconds": 0.1, "items": 1}


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the songs their spectrograms, which would take half of the time."""
    monkeypatch.setattr("jukebox_kit.song.render.spectrogram_png", lambda *_: b"")


@pytest.fixture
def begin(tiny: Path, model: Model, tmp_path: Path) -> Callable[..., Song]:
    """Create a song in the folder `songs`, sampled down to a level; 3 stands for nothing sampled."""

    def song(name: str, until: int = 3, **fields: Any) -> Song:
        made = Song.create(tmp_path / "songs" / name, model, **({"model": tiny, **REQUEST} | fields))
        return jk.sample(made, until, model) if until < 3 else made

    return song


def work(tmp_path: Path, model: Model, **options: Any) -> QueueReport:
    return work_through(tmp_path / "songs", lambda _, __: model, **options)


def names(found: tuple[SongStatus, ...] | tuple[SongOutcome, ...]) -> list[str]:
    return [one.song.name for one in found]


def test_where_songs_stand(begin: Callable[..., Song], tmp_path: Path) -> None:
    begin("a", seconds=0.2, items=2)
    begin("b", until=1)
    begin("c", until=0)
    silent = begin("d", until=0)
    (silent.root / "level_1" / "item_0.wav").unlink()
    damaged = begin("e", until=2)
    (damaged.root / "level_2" / "codes.safetensors").write_bytes(b"no")
    strange = begin("f")
    content = json.loads((strange.root / "song.json").read_text())
    (strange.root / "song.json").write_text(json.dumps(content | {"history": []}))
    (tmp_path / "songs" / "no song").mkdir()
    with begin("g").store.lock():
        found = {s.song.name: s for s in song_statuses(tmp_path / "songs")}
    assert {name: s.state for name, s in found.items()} == {
        "a": "unfinished", "b": "unfinished", "c": "done", "d": "unfinished", "e": "unreadable", "f": "unreadable",
        "g": "busy",
    }  # fmt: skip
    tokens = int(0.1 * 16000) // 128
    assert found["b"].left == (tokens * 16, 0, 0)
    assert found["b"].sampled == pytest.approx((0, 0.096, 0.096))
    assert found["a"].total == pytest.approx((0.2,) * 3)
    assert found["a"].left[2] == int(0.2 * 16000) // 128 * 2
    assert found["b"].model == found["a"].model != ""
    assert found["c"].created.startswith("20")
    assert found["d"].why == "the audio of level 1 has not been written yet."
    assert "is damaged; put back a copy of it" in found["e"].why
    assert "cannot be read (IndexError" in found["f"].why
    assert found["g"].why.startswith(f"process {os.getpid()} on")
    assert {s.song.name for s in song_statuses(tmp_path / "songs", until=1) if s.state == "done"} == {"b", "c"}
    with pytest.raises(SongError, match="there is no folder"):
        song_statuses(tmp_path / "nowhere")


def test_orders() -> None:
    a = SongStatus(Path("a"), "unfinished", left=(10, 5, 0), created="2024-02-01")
    b = SongStatus(Path("b"), "unfinished", left=(0, 0, 14), created="2024-03-01")
    c = SongStatus(Path("c"), "unfinished", left=(16, 0, 0), created="2024-01-01")
    assert names(order([a, b, c])) == ["b", "a", "c"]
    assert names(order([a, b, c], seconds_per_token={0: 1, 1: 1, 2: 5})) == ["a", "c", "b"]
    assert names(order([c, b, a], "name")) == ["a", "b", "c"]
    assert names(order([a, b, c], "oldest")) == ["c", "a", "b"]
    assert names(order([replace(a, left=b.left), b])) == ["a", "b"], "of those alike the first by name"
    with pytest.raises(RequestError, match="unknown order newest; choose soonest, name, oldest"):
        order([a], "newest")


def test_soonest_finishes_most_songs_at_any_time(begin: Callable[..., Song], tmp_path: Path, model: Model) -> None:
    begin("long", seconds=0.2)
    begin("short")
    begin("nearly", until=1)
    begin("done", until=0)
    told: list[SongOutcome] = []
    report = work(tmp_path, model, on_outcome=told.append)
    assert names(report.ended("finished")) == ["nearly", "short", "long"]
    assert [(o.song.name, o.end) for o in told] == [
        (name, end) for name in ("nearly", "short", "long") for end in ("working", "finished")
    ]
    assert all(o.seconds > 0 and o.began for o in report.outcomes)
    assert report.seconds >= sum(o.seconds for o in report.outcomes)
    assert {s.state for s in song_statuses(tmp_path / "songs")} == {"done"}
    assert work(tmp_path, model).outcomes == ()


def test_failing_songs_do_not_stop_the_others(
    begin: Callable[..., Song],
    tmp_path: Path,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    songs = [begin(name) for name in "abcdefg"]
    (songs[1].root / "song.json").write_text("{")
    failing = {
        "c": ZeroDivisionError("by night"),
        "d": MemoryError(),
        "e": torch.OutOfMemoryError("no"),
        "f": OSError("gone"),
    }
    sample, loads = steps.sample, list[str]()

    def broken(song: Song, *arguments: Any) -> Song:
        if song.root.name in failing:
            raise failing[song.root.name]
        return sample(song, *arguments)

    def load(song: Song, held: Model | None) -> Model:
        if held is None:
            loads.append(song.request.model)
        return model

    monkeypatch.setattr("jukebox_kit.jobs.queue.sample", broken)
    report = work_through([song.root for song in songs], load)
    assert names(report.outcomes) == list("abcdefg")
    assert names(report.ended("finished")) == ["a", "g"]
    why = {o.song.name: o.why for o in report.ended("failed")}
    assert "song.json is damaged" in why["b"]
    assert "failed unexpectedly (ZeroDivisionError: by night)" in why["c"]
    assert "not enough memory" in why["d"]
    assert "not enough memory" in why["e"]
    assert "OSError: gone" in why["f"]
    assert "ZeroDivisionError: by night" in caplog.text
    assert len(loads) == 3, "once, and again where memory had run out, as the next song needs it"


def test_a_model_is_held_while_songs_share_it(
    begin: Callable[..., Song], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny.parent, tmp_path / "other")
    other = tmp_path / "other" / tiny.name
    for name, source in (("a", tiny), ("b", tiny), ("c", other), ("d", tiny)):
        begin(name, model=source)
    loads: list[str] = []

    load_model = Model.load

    def load(source: str, *arguments: Any) -> Model:
        loads.append(source)
        if source == str(other):
            raise jk.JukeboxKitError("its files are not on this machine.")
        return load_model(source, *arguments)

    monkeypatch.setattr(Model, "load", load)
    report = work_through([tmp_path / "songs" / name for name in "abcd"])
    assert loads == [str(tiny), str(other)], "what is held serves the last song too"
    assert [(o.song.name, o.why) for o in report.ended("failed")] == [("c", "its files are not on this machine.")]


def test_busy_songs_are_tried_again_at_the_end(begin: Callable[..., Song], tmp_path: Path, model: Model) -> None:
    held = [begin(name) for name in "ab"]
    begin("c")
    locks = [song.store.lock() for song in held]
    for lock in locks:
        lock.__enter__()
    told: list[tuple[str, str]] = []

    def listen(outcome: SongOutcome) -> None:
        told.append((outcome.song.name, outcome.end))
        if told[-1] == ("c", "finished"):
            locks[0].__exit__(None, None, None)

    try:
        report = work(tmp_path, model, on_outcome=listen)
    finally:
        locks[1].__exit__(None, None, None)
    assert [(o.song.name, o.end) for o in report.outcomes] == [("c", "finished"), ("a", "finished"), ("b", "skipped")]
    assert "is being worked on by process" in report.outcomes[2].why
    assert told[:4] == [("a", "working"), ("a", "skipped"), ("b", "working"), ("b", "skipped")]


def test_a_stop_ends_all_at_once_and_loses_nothing(begin: Callable[..., Song], tmp_path: Path, model: Model) -> None:
    for name in "abc":
        begin(name)
    wanted = begin("../whole", until=0).codes(0)
    tokens = sum(status.total for status in Song.open(tmp_path / "songs" / "a").status())
    asked = iter(range(10**9))
    stopped = work(tmp_path, model, run=jk.RunSettings(stop=lambda: next(asked) > tokens * 1.5))
    assert [(o.song.name, o.end) for o in stopped.outcomes] == [("a", "finished"), ("b", "stopped"), ("c", "stopped")]
    assert "Everything is saved" in stopped.outcomes[1].why
    assert "before it reached this song" in stopped.outcomes[2].why
    assert sum(s.done for s in Song.open(tmp_path / "songs" / "b").status()) == pytest.approx(tokens / 2, abs=5)
    assert [o.end for o in work(tmp_path, model).outcomes] == ["finished", "finished"]
    for name in "abc":
        assert np.array_equal(Song.open(tmp_path / "songs" / name).codes(0), wanted)


def test_killed_and_begun_again(begin: Callable[..., Song], tmp_path: Path, model: Model) -> None:
    songs = [begin("a", until=1), begin("b", seconds=0.2, items=2)]
    whole = begin("../whole", until=0, seconds=0.2, items=2)
    command = [sys.executable, "-m", "jukebox_kit", "overnight", str(tmp_path / "songs"), "--save-every", "0"]
    slow = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=slow, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (songs[1].root / "level_1" / "codes.safetensors").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [s.state for s in song_statuses(tmp_path / "songs")] == ["done", "unfinished"]
    assert names(work(tmp_path, model).outcomes) == ["b"]
    assert all(np.array_equal(songs[1].codes(level), whole.codes(level)) for level in LEVELS)
    assert soundfile.info(songs[1].root / "level_0" / "item_1.wav").frames == whole.resolved.samples


def test_old_runs_are_brought_first(begin: Callable[..., Song], tiny: Path, tmp_path: Path, model: Model) -> None:
    songs = tmp_path / "songs"
    begin("new")
    assert import_old(songs) == ()
    export_2020(begin("../other", until=2), songs / "old run")
    (sentence,) = [note for note in import_old(songs) if "model" in note]
    assert "does not say which model" in sentence
    answers = ImportOverrides(model=str(tiny))
    assert f"{songs / 'old run'} is now {songs / 'imported' / 'old run'}." in import_old(songs, answers=answers)
    assert [s.song.relative_to(songs).as_posix() for s in song_statuses(songs)] == ["new", "imported/old run"]
    report = work(tmp_path, model)
    assert len(report.ended("finished")) == 2
    assert any("was imported before" in note for note in import_old(songs, answers=answers))


def test_overnight_in_the_shell(
    begin: Callable[..., Song], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = tmp_path / "songs"
    begin("a", until=0)
    begin("b")
    (begin("c").root / "song.json").write_text("{")
    assert shell(monkeypatch, "overnight", songs, "--until", "level_1") == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("1 finished, 1 failed, 0 skipped, 1 done before; ")
    assert f"{songs / 'b'}: started." in said.err
    assert "level 1: 100%" in said.err
    shutil.rmtree(songs / "c")
    assert shell(monkeypatch, "overnight", songs, "--order", "oldest", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(Path(o["song"]).name, o["end"]) for o in report["outcomes"]] == [("b", "finished")]
    assert report["done_before"] == [str(songs / "a")]
    (tmp_path / "empty").mkdir()
    for folder, options, sentence in (
        (tmp_path / "empty", [], "contains no songs; pass the folder that contains them"),
        (tmp_path / "nowhere", [], "there is no folder"),
        (songs, ["--order", "newest"], "unknown order newest"),
        (songs, ["--until", "level_7"], "there is no level_7"),
    ):
        assert shell(monkeypatch, "overnight", folder, *options) == 1
        said = capsys.readouterr()
        assert sentence in said.err
        assert said.err.count("\n") == 1


def test_ctrl_c_in_the_shell_is_130(
    begin: Callable[..., Song], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin("a")

    def interrupted(*_: Any) -> Song:
        raise KeyboardInterrupt

    monkeypatch.setattr("jukebox_kit.jobs.queue.sample", interrupted)
    assert shell(monkeypatch, "overnight", tmp_path / "songs") == 130
    assert (
        f"stopped. Everything is saved; resume with: jukebox-kit overnight {tmp_path / 'songs'}"
        in capsys.readouterr().err
    )
