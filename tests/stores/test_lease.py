"""One owner at a time: among processes, among machines, and after one of them is gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from jukebox_kit.errors import SongBusyError, SongError
from jukebox_kit.song.song import Song
from jukebox_kit.song.store import lease
from jukebox_kit.song.store.lease import Lease, hold
from jukebox_kit.song.store.marks import MAX_CLOCK_DIFFERENCE_SECONDS, marks, own_mark

FORK: Any = multiprocessing.get_context("fork")


def contend(root: Path, gate: Any, done: Any, results: Any, settle: float) -> None:
    """Try to hold a folder when the gate opens; the one that does keeps it until the other has answered."""
    gate.wait()
    try:
        with hold(root, settle):
            results.put((os.getpid(), "held"))
            done.wait(20)
    except SongBusyError as error:
        results.put((os.getpid(), str(error)))
        done.set()


@pytest.mark.parametrize("locks", [True, False])
def test_of_two_processes_at_once_exactly_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    if not locks:
        monkeypatch.setattr(lease, "_flock", lambda _handle, _root: False)
    for turn in range(50 if locks else 8):
        root = tmp_path / str(turn)
        root.mkdir()
        gate, done, results = FORK.Event(), FORK.Event(), FORK.Queue()
        two = [FORK.Process(target=contend, args=(root, gate, done, results, 0.4)) for _ in range(2)]
        for process in two:
            process.start()
        gate.set()
        answers = sorted((results.get(timeout=30), results.get(timeout=30)), key=lambda answer: answer[1] != "held")
        for process in two:
            process.join()
        (winner, held), (_, refused) = answers
        assert held == "held"
        assert f"{root} is being worked on by process {winner} on " in refused
        assert marks(root) == []


def hold_for_long(root: Path, started: Any) -> None:
    with hold(root):
        started.set()
        time.sleep(60)


def test_a_holder_killed_is_followed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for locks in (True, False):
        if not locks:
            monkeypatch.setattr(lease, "_flock", lambda _handle, _root: False)
        started = FORK.Event()
        process = FORK.Process(target=hold_for_long, args=(tmp_path, started))
        process.start()
        started.wait(20)
        with pytest.raises(SongBusyError, match=f"process {process.pid} on "):
            hold(tmp_path).__enter__()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        begun = time.monotonic()
        with hold(tmp_path):
            assert time.monotonic() - begun < 5
        assert marks(tmp_path) == []


def elsewhere(root: Path, **fields: Any) -> Path:
    """Write the lease of an owner on another machine."""
    mark = replace(own_mark(), machine="another boot", host="far-away", sure=True, **fields)
    path = root / f".lease-{mark.owner}.json"
    path.write_text(json.dumps(asdict(mark)))
    return path


def test_another_machine_that_is_gone_is_waited_for_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.5)
    path = elsewhere(tmp_path, renewed=time.time() - 3)
    begun = time.monotonic()
    with hold(tmp_path):
        assert time.monotonic() - begun > 0.4
        assert not path.exists()


def test_another_machine_s_clock_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.5)
    elsewhere(tmp_path, renewed=time.time() + 900)
    with hold(tmp_path):
        pass


def test_a_lease_of_long_ago_is_not_waited_for(tmp_path: Path) -> None:
    elsewhere(tmp_path, renewed=time.time() - 2 * MAX_CLOCK_DIFFERENCE_SECONDS)
    begun = time.monotonic()
    with hold(tmp_path):
        assert time.monotonic() - begun < 2


def test_another_machine_that_lives_keeps_it(tmp_path: Path) -> None:
    path = elsewhere(tmp_path)

    def renew() -> None:
        for _ in range(40):
            time.sleep(0.1)
            values = json.loads(path.read_text())
            path.write_text(json.dumps(values | {"renewed": values["renewed"] + 1}))

    living = threading.Thread(target=renew)
    living.start()
    with pytest.raises(SongBusyError, match="far-away"):
        hold(tmp_path).__enter__()
    living.join()


def test_a_process_that_slept_does_not_write_over_its_follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = lease._clock
    with hold(tmp_path) as own:
        own.check()
        monkeypatch.setattr(lease, "_clock", lambda: clock() + 100.0)
        own.check()
        monkeypatch.setattr(lease, "_clock", lambda: clock() + 200.0)
        elsewhere(tmp_path)
        with pytest.raises(SongBusyError, match=r"taken over by process .* on far-away"):
            own.check()


def test_a_process_that_slept_looks_for_a_follower_again_after_its_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = lease._clock
    monkeypatch.setattr(lease, "_flock", lambda _handle, _root: False)
    with hold(tmp_path, settle=0.3) as own:
        monkeypatch.setattr(lease, "_clock", lambda: clock() + 100.0)
        following = threading.Timer(0.1, elsewhere, [tmp_path])  # it saw the lease before the renewal
        following.start()
        with pytest.raises(SongBusyError, match=r"taken over by process .* on far-away"):
            own.check()
        following.join()


def test_a_lease_is_renewed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.05)
    with hold(tmp_path):
        first = marks(tmp_path)[0].renewed
        time.sleep(0.4)
        assert marks(tmp_path)[0].renewed > first


def test_a_lease_that_could_not_be_taken_to_the_end_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_flock", lambda _handle, _root: False)
    renew = Lease.renew

    def full_by_then(own: Lease) -> None:
        if own.mark.sure:
            raise SongError("the disk is full")
        renew(own)

    with monkeypatch.context() as disk:
        disk.setattr(Lease, "renew", full_by_then)
        with pytest.raises(SongError, match="the disk is full"):
            hold(tmp_path).__enter__()
    assert marks(tmp_path) == []
    with hold(tmp_path):
        pass


def test_a_lease_that_arrives_in_parts_is_somebody_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.5)
    (tmp_path / ".lease-half.json").write_text('{"owner": "ha')
    assert [mark.host for mark in marks(tmp_path)] == ["another machine"]
    with hold(tmp_path):
        pass
    with pytest.raises(SongError, match="could not be written"):
        hold(tmp_path / "nowhere").__enter__()


def create_at_once(gate: Any, results: Any, folder: Path, tiny: Path, seed: int) -> None:
    gate.wait()
    try:
        results.put(
            Song.create(folder, model=tiny, artist="The Beatles", genre="pop", seconds=0.6, seed=seed).request.seed
        )
    except SongError as error:
        results.put(str(error))


@pytest.mark.parametrize("kind", ["local", "segments"])
def test_of_two_songs_begun_at_once_in_one_folder_one_is_made(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JUKEBOX_KIT_STORE", kind)
    for turn in range(5):
        gate, results, folder = FORK.Event(), FORK.Queue(), tmp_path / str(turn)
        two = [FORK.Process(target=create_at_once, args=(gate, results, folder, tiny, seed)) for seed in (1, 2)]
        for process in two:
            process.start()
        gate.set()
        answers = [results.get(timeout=60) for _ in two]
        for process in two:
            process.join()
        (seed,) = [answer for answer in answers if isinstance(answer, int)]
        (refused,) = [answer for answer in answers if isinstance(answer, str)]
        assert "is being worked on by" in refused or f"contains a song with seed {seed}" in refused
        assert Song.open(folder).request.seed == seed
