"""An album on ranks of a real MPI: the same songs on any number of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jukebox_kit.model.weights.definition import CONFIGS
from tests.album.launching import MPIEXEC, codes_of, environment, made, tokens_in

pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec: the mpich wheel has none for this system")

SIX = """
defaults: {seconds: 1, genre: dance}
songs:
  - {name: bells, artist: glass bells, lyrics: la mo}
  - {name: trio, artist: saw strings, genre: waltz, items: 3}
  - {artist: hollow reeds, sweep: {seed: [1, 2, 3]}}
  - {name: chunks, artist: hollow reeds, chunks: 2, seconds: 3}
"""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("albums") / "six.yaml"
    path.write_text(SIX)
    return path


@pytest.fixture(scope="module")
def alone(six: Path) -> Path:
    """The songs as one rank makes them."""
    folder = six.parent / "alone"
    checked(made(1, six, "--folder", folder, "--json").stdout, folder, 1)
    return folder


def checked(out: str, folder: Path, ranks: int) -> None:
    """Check what a run that made six songs on so many ranks says of itself."""
    done = json.loads(out)
    assert done["ranks"] == ranks
    assert [song["end"] for song in done["songs"]] == ["finished"] * 6
    assert sum(song["tokens"] for song in done["songs"]) == tokens_in(folder)
    logs = [path.read_text() for path in folder.glob("logs/*/rank_*.log")]
    assert len(logs) == ranks  # each took part, and loaded its model once
    assert [log.count("loaded model demo") for log in logs] == [1] * ranks


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_makes_the_same_songs(six: Path, alone: Path, tmp_path: Path, ranks: int) -> None:
    checked(made(ranks, six, "--folder", tmp_path / "songs", "--json").stdout, tmp_path / "songs", ranks)
    assert len(codes_of(alone)) == 6
    assert codes_of(tmp_path / "songs") == codes_of(alone)


def test_an_album_that_is_made_is_not_made_again(six: Path, alone: Path) -> None:
    before = codes_of(alone)
    again = made(2, six, "--folder", alone)
    assert "6 finished" in again.stdout
    assert len(re.findall(r" 0 tokens", again.stdout)) == 6
    assert codes_of(alone) == before


def test_a_song_alone_is_shared_out_in_items_and_chunks(tmp_path: Path) -> None:
    album = tmp_path / "one.yaml"
    album.write_text("songs: [{name: one, artist: glass bells, seconds: 3, items: 2, chunks: 2}]")
    made(0, album, "--folder", tmp_path / "alone")
    made(3, album, "--folder", tmp_path / "shared")
    assert codes_of(tmp_path / "shared") == codes_of(tmp_path / "alone")
    history = json.loads((tmp_path / "shared" / "one" / "song.json").read_text())["history"]
    for level in (2, 1, 0):
        assert any(event["kind"] == "shard_merged" and event["level"] == level for event in history)
    assert not (tmp_path / "shared" / "one" / "shares").exists()


@pytest.mark.parametrize("number", ["0", "1"])
def test_another_mpi_s_launcher_does_not_make_many_albums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", number)
    album = tmp_path / "one.yaml"
    album.write_text("songs: [{name: one}]")
    said = made(0, album, "--folder", tmp_path / "songs", code=1).stderr
    assert ("2 processes were started, but mpi4py sees 1" in said) == (number == "0")
    assert not (tmp_path / "songs").exists()


def test_the_example_for_ssh_starts_a_process_for_each_line_of_its_hosts(tmp_path: Path) -> None:
    script = CONFIGS / "albums" / "over_ssh.sh"
    assert (script.parent / "hosts.txt").read_text().split() == ["localhost"] * 2
    done = started_by(script, tmp_path, "--folder", tmp_path / "songs", "--dry-run")
    assert done.stdout.count("6 songs into") == 1
    assert len(list((tmp_path / "started").iterdir())) == 2


def test_the_example_for_slurm_is_a_step_of_its_processes(tmp_path: Path) -> None:
    srun = tmp_path / "bin" / "srun"  # as Slurm's, which takes its options and starts the rest
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nSLURM_STEP_NUM_TASKS=1 exec "$@"\n')
    srun.chmod(0o755)
    done = started_by(CONFIGS / "albums" / "slurm.sh", tmp_path, "--folder", tmp_path / "songs", "--dry-run")
    assert done.stdout.count("6 songs into") == 1


def started_by(script: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example on its own album; each jukebox-kit that it starts leaves a file in folder/started."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "started").mkdir()
    shim = folder / "bin" / "jukebox-kit"
    shim.write_text(f'#!/bin/sh\ntouch {folder}/started/$$\nexec {sys.executable} -m jukebox_kit "$@"\n')
    shim.chmod(0o755)
    places = f"{folder / 'bin'}:{Path(str(MPIEXEC)).parent}:{os.environ['PATH']}"
    words = ["sh", str(script), str(script.parent / "demo.yaml"), *map(str, arguments)]
    inside, nothing = environment() | {"PATH": places}, subprocess.DEVNULL
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=folder, env=inside, stdin=nothing, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_wrong_albums_are_told_once_by_rank_0(tmp_path: Path) -> None:
    album = tmp_path / "wrong.yaml"
    album.write_text("songs:\n  - {name: one, artits: glass bells}\n")
    done = made(3, album, code=1)
    assert done.stderr.count("artits") == 1
    assert "line 2" in done.stderr
    assert not (tmp_path / "songs").exists()
