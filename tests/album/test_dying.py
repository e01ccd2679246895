"""An album of which something dies, hangs or is stopped: the others go on, and a rerun makes the rest, once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.album.launching import MPIEXEC, codes_of, doing, made, tokens_in, under_way, until, words

pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec: the mpich wheel has none for this system")

LONG = """
defaults: {seconds: 6, genre: dance, artist: glass bells}
songs:
  - {name: first}
  - {name: second, seed: 1}
  - {name: third, seed: 2, seconds: 1}
"""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Songs of some seconds of work, and a folder in which they are made."""
    path = tmp_path_factory.mktemp("albums") / "long.yaml"
    path.write_text(LONG)
    made(0, path, "--folder", path.parent / "alone")
    return path, path.parent / "alone"


def test_a_worker_that_is_killed_costs_its_own_task_only(long: tuple[Path, Path], tmp_path: Path) -> None:
    album, alone = long
    folder = tmp_path / "songs"
    with under_way(words(2, album, "--folder", folder, "--json", "--save-every", "0.2")) as process:
        until(lambda: doing(folder, 1).get("level") == 0 and int(str(doing(folder, 1)["done"])) > 2000)
        lost = str(doing(folder, 1)["song"])
        os.kill(int(str(doing(folder, 1)["process"])), signal.SIGKILL)
        out, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    ends = {song["name"]: song for song in json.loads(out)["songs"]}
    assert ends.pop(lost)["end"] == "lost"
    assert {song["end"] for song in ends.values()} == {"finished"}
    assert f"its process was ended by SIGKILL; see {next(folder.glob('logs/*/rank_1.log'))}." in out
    stood = tokens_in(folder)
    again = json.loads(made(3, album, "--folder", folder, "--json").stdout)
    assert codes_of(folder) == codes_of(alone)
    assert stood > tokens_in(alone) / 2
    assert sum(song["tokens"] for song in again["songs"]) == tokens_in(alone) - stood


def test_a_rank_that_is_killed_ends_the_launcher_or_not_and_the_rerun_does_the_rest(
    long: tuple[Path, Path], tmp_path: Path
) -> None:
    album, alone = long
    folder = tmp_path / "songs"
    with under_way(words(2, album, "--folder", folder, "--save-every", "0.2")) as process:
        until(lambda: all(doing(folder, rank).get("level") == 0 for rank in (0, 1)))
        worker = int(str(doing(folder, 1)["process"]))
        os.kill(parent_of(worker), signal.SIGKILL)
        process.communicate(timeout=120)
    assert process.returncode != 0
    until(lambda: not Path(f"/proc/{worker}").exists(), 20)  # it saves and ends
    stood = tokens_in(folder)
    again = json.loads(made(2, album, "--folder", folder, "--json").stdout)
    assert codes_of(folder) == codes_of(alone)
    assert sum(song["tokens"] for song in again["songs"]) == tokens_in(alone) - stood


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_worker_that_hangs_is_given_up(long: tuple[Path, Path], tmp_path: Path) -> None:
    album, _ = long
    folder = tmp_path / "songs"
    # Longer than a worker takes to begin on a busy machine, of which nothing is heard either.
    with under_way(words(2, album, "--folder", folder, "--patience", "12")) as process:
        until(lambda: doing(folder, 1).get("level") == 0)
        hung = str(doing(folder, 1)["song"])
        os.kill(int(str(doing(folder, 1)["process"])), signal.SIGSTOP)
        out, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert re.search(rf"{hung} +lost .* its process has not responded for 12 seconds", out)
    assert "2 finished, 1 lost" in out


def test_ctrl_c_saves_everything_everywhere(long: tuple[Path, Path], tmp_path: Path) -> None:
    album, alone = long
    folder = tmp_path / "songs"
    with under_way(words(2, album, "--folder", folder)) as process:
        until(lambda: int(str(doing(folder, 0).get("done", 0))) > 100)
        until(lambda: doing(folder, 1).get("song"))
        os.kill(process.pid, signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped" in out
    assert tokens_in(folder) > 0
    made(0, album, "--folder", folder)
    assert codes_of(folder) == codes_of(alone)


def namespaces(host: str) -> tuple[str, ...]:
    """Return what makes a command run on a machine of its own, as far as a kernel can tell, of this name."""
    into = ("unshare", "--uts", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
    return (*into, "sh", "-c", f'hostname {host}; ip link set lo up 2>/dev/null; exec "$0" "$@"')


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*namespaces("elsewhere"), "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="this user may not make namespaces")
def test_two_hosts_share_a_folder_and_no_song(long: tuple[Path, Path], tmp_path: Path) -> None:
    album, alone = long
    folder = tmp_path / "songs"
    commands = [words(0, album, "--folder", folder, "--json", before=namespaces(host)) for host in ("alpha", "beta")]
    with under_way(commands[0]) as first, under_way(commands[1]) as second:
        told = [process.communicate(timeout=120) for process in (first, second)]
    found = [json.loads(out)["songs"] for out, _ in told]
    ends: list[Any] = [{song["end"] for song in songs} for songs in found]
    assert all(end <= {"finished", "skipped"} for end in ends), told
    made(0, album, "--folder", folder)  # what the one skipped and the other had not done yet
    assert codes_of(folder) == codes_of(alone)
    twice = sum(song["tokens"] for songs in found for song in songs) - tokens_in(alone)
    assert twice <= 0
    hosts = {line["host"] for path in folder.glob("*/song.json") for line in history_of(path) if "host" in line}
    assert socket.gethostname() not in hosts


def history_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["history"]
    return found
