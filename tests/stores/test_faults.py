"""Disks that fill up, become read-only or go away, memory that runs out, processes that are asked to end."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jukebox_kit as jk
from jukebox_kit.engine.sampling import sample_level
from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import unpack_codes
from jukebox_kit.song.song import Song
from jukebox_kit.song.store.detect import examine_disk, file_system
from jukebox_kit.steps.progress import Progress
from tests.conftest import Run, same_audio

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "seconds": 0.6, "items": 2, "seed": 3}


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """The song, never stopped."""
    return jk.sample(Song.create(tmp_path_factory.mktemp("songs") / "whole", model=tiny, **REQUEST))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of one megabyte.

    Really mounted: what a system does on a full or closed disk, to each call of each process, is then not our guess.
    """
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")  # test_a_disk_that_refuses_a_save stands in for it
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def assert_same(song: Song, whole: Song) -> None:
    for level in LEVELS:
        assert np.array_equal(song.codes(level), whole.codes(level))
        for item in range(2):
            name = f"level_{level}/item_{item}.wav"
            assert same_audio(song.root / name, whole.root / name)


def at_half_of_level_1(deed: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a progress callback that does something once, in the middle of level 1."""
    monkeypatch.setattr("jukebox_kit.steps.level_writer.REPORTS_PER_SECOND", 1e9)
    done: list[bool] = []

    def progress(now: Progress) -> None:
        if now.level == 1 and now.done > now.total // 2 and not done:
            done.append(True)
            deed()

    return progress


@pytest.mark.parametrize("kind", ["local", "segments"])
def test_a_full_disk(
    whole: Song, tiny: Path, disk: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", kind)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    song = jk.level_2(Song.create(disk / "song", model=tiny, **REQUEST))
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 1000)
        except OSError:
            pass
    stopped = run("resume", song.root)
    assert stopped.returncode == 1
    assert "the disk is full; free some space" in stopped.stderr
    filler.unlink()
    assert run("resume", song.root).returncode == 0
    assert_same(Song.open(song.root), whole)


def test_a_disk_that_becomes_read_only(
    whole: Song, tiny: Path, disk: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = Song.create(disk / "song", model=tiny, **REQUEST)
    close = at_half_of_level_1(lambda: subprocess.run(["mount", "-o", "remount,ro", disk], check=True), monkeypatch)
    with pytest.raises(SongError, match="the disk is read-only; make it writable"):
        jk.sample(song, run=jk.RunSettings(progress=close, save_every=0.0))
    refused = run("resume", song.root)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert Song.open(song.root).status()[1].done > 0
    assert run("resume", song.root).returncode == 0
    assert_same(song, whole)


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no file can be flushed to any disk, and what was written of it is cut short."""

    def fsync(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("kind", ["local", "segments"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EROFS, "the disk is read-only; make it writable or choose another folder"),
        (errno.EIO, "the disk does not answer; connect it again"),
    ],
)
def test_a_disk_that_refuses_a_save(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, kind: str
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", kind)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    song = Song.create(tmp_path / "song", model=tiny, **REQUEST)
    with monkeypatch.context() as disk:
        halfway = at_half_of_level_1(lambda: refuse(number, disk), disk)
        with pytest.raises(SongError) as stopped:
            jk.sample(song, run=jk.RunSettings(progress=halfway, save_every=0.0))
    assert re.fullmatch(rf"/\S+ could not be written: {reason}\.", str(stopped.value))
    found = Song.open(song.root)
    made = found.codes(1) >= 0
    assert made.any()
    assert not made.all()
    assert np.array_equal(found.codes(1)[made], whole.codes(1)[made])
    assert_same(jk.sample(found), whole)


@pytest.mark.parametrize("kind", ["local", "segments"])
def test_a_folder_taken_away_in_the_middle(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", kind)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    song = Song.create(tmp_path / "song", model=tiny, **REQUEST)
    away = at_half_of_level_1(lambda: song.root.rename(tmp_path / "aside"), monkeypatch)
    with pytest.raises(SongError, match="the folder is gone; bring it back"):
        jk.sample(song, run=jk.RunSettings(progress=away, save_every=0.0))
    assert not song.root.exists(), "nothing was begun again in its place"
    (tmp_path / "aside").rename(song.root)
    assert_same(jk.sample(Song.open(song.root)), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_told_to_end_saves_and_says_how_to_go_on(
    tiny: Path, tmp_path: Path, run: Run, number: signal.Signals
) -> None:
    folder = tmp_path / "song"
    longer = ["--seconds", "30", "--total-seconds", "40"]
    command = [sys.executable, "-m", "jukebox_kit", "sample", str(folder), "--model", str(tiny), *longer]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--save-every", "0.2"], env=environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (folder / "level_1" / "codes.safetensors").exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert f"stopped. Everything is saved; resume with: jukebox-kit resume {folder}" in errors
    assert "Traceback" not in errors
    level_1 = Song.open(folder).status()[1]
    assert 0 < level_1.done < level_1.total
    assert run("resume", folder, "--until", "level_1").returncode == 0
    assert [event.kind for event in Song.open(folder).manifest.history] == ["created"]


def test_out_of_memory_halves_the_batch_and_goes_on(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = sample_level
    sizes: list[int] = []

    def scarce(prior: Any, job: Any, codes: torch.Tensor, made: Any, loop: Any) -> list[int]:
        sizes.append(len(job.items))
        if len(job.items) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return enough(prior, job, codes, made, loop)

    monkeypatch.setattr("jukebox_kit.steps.steps.sample_level", scarce)
    song = jk.sample(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    assert sizes == [2, 1, 1] * 3
    assert_same(song, whole)
    assert "out of memory with 2 items in a batch, which was halved" in song.manifest.history[1].sentence

    def none(*_: Any) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("jukebox_kit.steps.steps.sample_level", none)
    with pytest.raises(SongError, match="not enough memory to sample even one item"):
        jk.sample(Song.create(tmp_path / "other", model=tiny, **REQUEST))


def test_what_bits_depend_on_is_recorded_where_it_changes(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = Song.create(tmp_path / "song", model=tiny, **REQUEST)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jk.sample(song, run=jk.RunSettings(progress=at_half_of_level_1(stop, monkeypatch)))
    jk.sample(Song.open(song.root), run=jk.RunSettings(batch_size=1))
    seams = [event for event in Song.open(song.root).manifest.history if event.kind == "resumed_elsewhere"]
    assert [seam.facts["changed"] for seam in seams] == [{"batch": [2, 1]}]
    assert_same(song, whole)
    assert whole.manifest.runs["2"]["weights"] == "float32"
    assert len(whole.manifest.history) == 1


def cannot(number: int, *_arguments: object) -> None:
    raise OSError(number, os.strerror(number))


def test_the_store_follows_from_what_the_disk_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_system(Path("/proc")) == "proc"
    assert examine_disk(Path("/proc")).kind == "segments"
    assert examine_disk(tmp_path / "not" / "there").kind == "local"
    monkeypatch.setattr("jukebox_kit.song.store.detect.file_system", lambda _path: "fuse.drive")
    assert examine_disk(tmp_path).kind == "segments"
    monkeypatch.setattr("jukebox_kit.song.store.detect.file_system", lambda _path: None)
    monkeypatch.setattr(Path, "replace", lambda *_: None)
    assert examine_disk(tmp_path).why == "a rename does not replace a file here"
    assert list(tmp_path.iterdir()) == []
    for number, kind in ((errno.EDQUOT, "local"), (errno.EROFS, "local"), (errno.ENOTSUP, "segments")):
        monkeypatch.setattr(Path, "replace", partial(cannot, number))
        assert examine_disk(tmp_path).kind == kind
    monkeypatch.setattr(Path, "replace", partial(cannot, errno.EIO))
    with pytest.raises(jk.JukeboxKitError, match="the disk does not answer; connect it again"):
        examine_disk(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "cloud")
    with pytest.raises(jk.JukeboxKitError, match="set it to local or segments"):
        examine_disk(tmp_path)


def test_a_song_on_a_mount_can_be_read_without_the_toolkit_and_anywhere(
    whole: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "segments")
    song = jk.sample(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    monkeypatch.delenv("JUKEBOX_KIT_STORE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    again = Song.open(song.root)
    assert_same(again, whole)
    assert again.store.safety().summary.startswith("all ")
    for level in LEVELS:
        name = f"level_{level}/codes.safetensors"
        read = unpack_codes((song.root / name).read_bytes(), name)
        assert np.array_equal(read.codes, whole.codes(level))


def test_reading_a_song_on_a_mount_leaves_nothing_on_this_machine(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "segments")
    song = Song.create(tmp_path / "song", model=tiny, **REQUEST)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    read = Song.open(song.root)
    assert [level.done for level in read.status()] == [0, 0, 0]
    assert read.store.safety().summary == "all 1 saves read back from the mount"
    assert not (tmp_path / "another machine").exists()


def test_a_song_may_take_the_place_of_one_that_was_taken_away(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "segments")
    jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    shutil.rmtree(tmp_path / "song")
    other = jk.level_2(Song.create(tmp_path / "song", model=tiny, **{**REQUEST, "seed": 4}))
    assert Song.open(other.root).request.seed == 4
    assert len(list((tmp_path / "state" / "jukebox_kit" / "journals").iterdir())) == 2, "the journal of the first stays"
