"""Albums started as a person starts them: a process, or ranks of a real MPI."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL

import numpy as np

from jukebox_kit.model import LEVELS
from jukebox_kit.song.song import Song, find_songs

BESIDE = Path(sys.executable).parent / "mpiexec"  # of the mpich wheel
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")


def words(ranks: int, *arguments: object, before: tuple[str, ...] = ()) -> list[str]:
    """Return the command that makes an album on so many ranks; `before` goes before it on each."""
    launcher = [] if ranks == 0 else [str(MPIEXEC), "-n", str(ranks)]
    return [*launcher, *before, sys.executable, "-m", "jukebox_kit", "album", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Return what the processes run in: one thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def made(ranks: int, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Make an album on so many ranks, 0 for no launcher; its exit code has to be `code`."""
    done = subprocess.run(
        words(ranks, *arguments),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        stdin=DEVNULL,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done


@contextmanager
def under_way(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a session of its own, whose processes all end with it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment(), start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to this"
        time.sleep(0.02)


def doing(folder: Path, rank: int) -> dict[str, object]:
    """Return what a rank says that it is at, nothing where it says nothing."""
    try:
        (path,) = folder.glob(f"logs/*/rank_{rank}.json")
        found: dict[str, object] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def codes_of(folder: Path) -> dict[str, list[bytes]]:
    """Return the codes of every song and level."""
    return {path.name: [Song.open(path).codes(level).tobytes() for level in LEVELS] for path in find_songs([folder])}


def tokens_in(folder: Path) -> int:
    """Return how many tokens are saved of all songs, those of shares too."""
    from jukebox_kit.engine.windows import UNSAMPLED
    from jukebox_kit.song.codes import unpack_codes

    found = 0
    for file in folder.glob("*/**/codes.safetensors"):
        if "versions" not in file.parts:
            found += int(np.count_nonzero(unpack_codes(file.read_bytes(), str(file)).codes != UNSAMPLED))
    return found
