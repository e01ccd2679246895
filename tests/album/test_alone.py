"""What an album decides without any launcher: who takes what, what is said, what mpi4py's absence means."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_kit.errors import RequestError
from jukebox_kit.jobs.album import launcher as ranks
from jukebox_kit.jobs.album.album import load_album
from jukebox_kit.jobs.album.launcher import Rank, launched, world
from jukebox_kit.jobs.album.rank_status import RankStatus, read_rank_statuses, write_rank_status
from jukebox_kit.jobs.album.report import as_json, lines, plan_lines, table
from jukebox_kit.jobs.album.run import AlbumStatus
from jukebox_kit.jobs.album.schedule import SongTask, Task, TaskOutcome, assign_tasks, song_tasks
from tests.conftest import Run, shell

TWO_HUNDRED = """
defaults: {seconds: 2}
songs:
  - sweep:
      artist: [glass bells, saw strings, hollow reeds, unknown]
      genre: [dance, waltz, march, lullaby, unknown]
      seed: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
"""


@pytest.fixture
def works(tmp_path: Path) -> list[SongTask]:
    path = tmp_path / "many.yaml"
    path.write_text(TWO_HUNDRED)
    return song_tasks(load_album(path, tmp_path / "songs"), 0)


def test_two_hundred_songs_are_planned_and_read_well(works: list[SongTask], tmp_path: Path, run: Run) -> None:
    assert len(works) == 200
    album = load_album(tmp_path / "many.yaml", tmp_path / "songs")
    assert len(plan_lines(works, album)) == 202
    told = run("album", tmp_path / "many.yaml", "--folder", tmp_path / "songs", "--dry-run").stdout.splitlines()
    assert told[-1].startswith("read and planned in ")
    at = ("a song, level 0", "a song", 0, 10, 100, 0, 50.0)
    statuses = tuple(RankStatus(number, f"rank {number}", *at) for number in range(8))
    found = lines(AlbumStatus(tuple(works), statuses, 1.0, {}))
    assert len(found) == 9
    assert found[0].startswith("0 of 200 songs done, 1 in progress, 0% of the tokens, 400 tokens/s, ")


@given(free=st.integers(1, 12), rows=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_free_ranks_get_songs_first_then_rows(free: int, rows: list[int]) -> None:
    class Song(SongTask):
        def __init__(self, number: int, rows: int) -> None:
            self.root, self.end, self.pending, self.levels, self.shared = Path(f"song{number}"), "", 0, [2], False
            self.song = type("Asked", (), {"request": None})()
            self.count = rows

        def rows(self) -> int:
            return self.count

    songs = [Song(number, count) for number, count in enumerate(rows)]
    found = assign_tasks(songs, free)
    assert len(found) <= free
    begun = {task.song for task in found}
    assert begun == {song.root for song in songs[: min(free, len(songs))]}
    for song in songs:
        mine = [task.rows for task in found if task.song == song.root]
        if len(mine) > 1:
            made = [row for cut in mine if cut for row in range(*cut)]
            assert made == list(range(song.count))
        assert song.pending == len(mine)
    assert len(found) == min(free, sum(rows)) or (free < len(rows) and len(found) == free)
    assert assign_tasks(songs, 0) == []


def test_levels_go_one_after_another_and_a_failure_ends_the_song(works: list[SongTask]) -> None:
    first, second = works[:2]
    (task,) = assign_tasks([first], 1)
    assert (task.level, task.rows) == (2, None)
    assert not first.ready
    first.record(TaskOutcome(task, "finished", tokens=5, seconds=1.0))
    assert [task.level for task in assign_tasks([first, second], 2)] == [1, 2]
    first.record(TaskOutcome(Task(first.root, first.song.request, 1), "failed", "the disk is full."))
    assert (first.end, first.why, first.levels) == ("failed", "the disk is full.", [1, 0])
    assert not first.retry()
    second.record(TaskOutcome(Task(second.root, second.song.request, 2), "skipped", "busy"))
    assert second.retry()
    second.record(TaskOutcome(assign_tasks([second], 1)[0], "skipped", "busy"))
    assert not second.retry()
    assert table([first, second])[-1] == "0 finished, 1 failed, 1 skipped"


def test_a_level_that_was_shared_is_taken_in_by_a_task_of_its_own(works: list[SongTask]) -> None:
    work = works[0]
    work.shared, work.pending = True, 2
    shares = [Task(work.root, work.song.request, 2, rows) for rows in ((0, 1), (1, 2))]
    for share in shares:
        work.record(TaskOutcome(share, "finished"))
    assert [(task.level, task.rows) for task in assign_tasks([work], 5)] == [(2, None)]
    work.record(TaskOutcome(Task(work.root, work.song.request, 2), "finished"))
    assert work.levels == [1, 0]


def test_what_is_left_is_known_before_anything_is_begun_and_after(tiny: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "two.yaml"
    defaults = f"defaults: {{model: {tiny}, seconds: 0.6, total_seconds: 4}}"
    path.write_text(f"{defaults}\nsongs: [{{name: a}}, {{name: b, items: 2}}]")
    folder = tmp_path / "songs"
    plan = run("album", path, "--folder", folder, "--dry-run")
    assert "tokens to sample: level_2 225  level_1 900  level_0 3,600" in plan.stdout
    assert not folder.exists()
    done = json.loads(run("album", path, "--folder", folder, "--until", "level_1", "--json").stdout)
    assert [song["tokens"] for song in done["songs"]] == [375, 750]
    plan = run("album", path, "--folder", folder, "--dry-run")
    assert "tokens to sample: level_2 0  level_1 0  level_0 3,600" in plan.stdout
    done = json.loads(run("album", path, "--folder", folder, "--json").stdout)
    assert [song["tokens"] for song in done["songs"]] == [1200, 2400]
    kept = json.loads((folder / "album.json").read_text())
    assert [song["end"] for song in kept["songs"]] == ["finished", "finished"]
    assert kept["progress"][0].startswith("2 of 2 songs done, 0 in progress, 100% of the tokens")
    assert (folder / "index.html").read_text().count("level_0/item_0.wav") >= 2


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (1, 0)),
        ({"PMI_SIZE": "3", "PMI_RANK": "2"}, (3, 2)),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"}, (4, 0)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, (1, 0)),  # a batch script, not a step of many
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, (8, 5)),
    ],
)
def test_launchers_are_known_by_what_they_set(environment: dict[str, str], found: tuple[int, int]) -> None:
    assert launched(environment) == found


@pytest.mark.parametrize("rank", [0, 1])
def test_without_mpi4py_many_processes_do_not_make_many_albums(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, rank: int
) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", str(rank))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "mpi4py" else find(name))
    album = tmp_path / "one.yaml"
    album.write_text("songs: [{name: one}]")
    assert shell(monkeypatch, "album", album, "--folder", tmp_path / "songs") == 1
    said = capsys.readouterr().err
    assert ('pip install "jukebox_kit[mpi]"' in said) == (rank == 0)
    assert not (tmp_path / "songs").exists()
    with pytest.raises(RequestError if rank == 0 else SystemExit), world(None):
        pass


@pytest.mark.parametrize(
    ("cores", "gpus", "found"),
    [
        ([{0, 1}] * 2, (), [(1, None, 2), (1, None, 2)]),
        ([{0, 1, 2, 3}, {4, 5}], (), [(4, None, 2), (2, None, 2)]),
        ([{0}] * 3, ("0", "3"), [(1, "0", 2), (1, "3", 1), (1, "0", 2)]),
    ],
)
def test_ranks_of_a_machine_share_its_cores_gpus_and_memory(
    monkeypatch: pytest.MonkeyPatch,
    cores: list[set[int]],
    gpus: tuple[str, ...],
    found: list[tuple[int, str | None, int]],
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    sets = [frozenset(some) for some in cores]
    made = [ranks._rank_of(sets, local, local, gpus) for local in range(len(sets))]
    assert [(rank.threads, rank.gpu, rank.sharing) for rank in made] == found
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert ranks._rank_of(sets, 0, 0, gpus).threads == 7


def test_a_rank_s_environment_divides_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from jukebox_kit.engine.memory import SHARED_BY, free_memory

    whole = free_memory(torch.device("cpu"))
    monkeypatch.setenv(SHARED_BY, Rank(0, "here", 1, None, 1000).environment[SHARED_BY])
    assert free_memory(torch.device("cpu")) < whole / 100


def test_what_ranks_are_at_is_told_and_read_back(tmp_path: Path) -> None:
    write_rank_status(tmp_path, RankStatus(1, "rank 1", "a song, level 2", "a song", 2, 3, 10, 0, 1.5))
    (tmp_path / "rank_0.json").write_text("{half a fi")
    (found,) = read_rank_statuses(tmp_path, 4)
    assert (found.rank, found.done, found.rate) == (1, 3, 1.5)
    assert found.when > 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--weights", "int4"), "the precision must be one of float32, float16, int8, not int4"),
        (("--engine", "warp"), "unknown engine warp"),
        (("--engine", "graph", "--device", "cpu"), "needs a GPU"),
        (("--until", "level_9"), "there is no level_9"),
    ],
)
def test_wrong_ways_are_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    option: tuple[str, ...],
    said: str,
) -> None:
    album = tmp_path / "one.yaml"
    album.write_text("songs: [{name: one}]")
    assert shell(monkeypatch, "album", album, "--folder", tmp_path / "songs", *option) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "songs").exists()


def test_json_has_what_is_left(works: list[SongTask], tmp_path: Path) -> None:
    album = load_album(tmp_path / "many.yaml", tmp_path / "songs")
    found = as_json(album, works[:1], 2.0)
    assert found["songs"][0]["levels_left"] == [2, 1, 0]
    assert found["seconds"] == 2.0
