"""What demo songs endure, through the shell: processes killed at random moments, and two processes at once.

    python tests/torture.py FOLDER --kills 60 --store local
    python tests/torture.py FOLDER --kills 60 --store segments
    python tests/torture.py FOLDER --pairs 50

Kills go on with a song each time and compare it with the song never stopped: a line for each kill and, at the end, how
many codes and audio files differ and how old the last save was at most when a process was killed. Pairs start two
processes on one song at the same time, also on one that is not there yet: one has to work, and nothing that stood may
change; the other has to end with 1 and say who holds the song. Exit code 1 where anything differs, was lost or failed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import typer
from numpy.typing import NDArray

from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import Codes
from jukebox_kit.song.song import Song, is_song
from jukebox_kit.song.store.drive import journal_folder

REQUEST = ["--artist", "glass bells", "--genre", "march", "--lyrics", "la mo di nu", "--items", "3", "--seconds", "8"]
SAVE_EVERY = 1.0
PATIENCE = 60.0  # seconds in which a process has come to its song


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "jukebox_kit", *map(str, words)]


def made(song: Song) -> list[int]:
    return [sum(song.level(level).made) for level in LEVELS]


def faults(song: Song, whole: Song) -> int:
    """Return how many codes stand that are not those of the song never stopped."""
    pairs = [(song.codes(level), whole.codes(level)) for level in LEVELS]
    return sum(int(((found >= 0) & (found != wanted)).sum()) for found, wanted in pairs)


def last_save(song: Path) -> float:
    journal = journal_folder(song)  # beside one, the codes under their own names are copies
    files = journal.glob("*.safetensors") if journal.is_dir() else song.glob("level_*/codes.safetensors")
    return max((file.stat().st_mtime for file in files), default=0.0)


def kill_once(folder: Path, start: list[str], chance: random.Random, environment: dict[str, str]) -> float | None:
    """Start a process and kill it: every other time anywhere, else after it has saved something new.

    Returns how old its own last save was, 0 where it had not saved yet, None where it ended before.
    """
    begun = time.time()
    process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if chance.random() < 0.5:
        while process.poll() is None and last_save(folder) < begun:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 3))
    else:
        time.sleep(chance.uniform(0, 6))
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = last_save(folder)
    return (time.time() - saved if saved > begun else 0.0) if alive else None


def samples(song: Song, name: str) -> NDArray[np.int16]:
    """Return the samples of an audio file, whose tags name its song."""
    found: NDArray[np.int16] = soundfile.read(song.root / name, dtype="int16")[0]
    return found


def differing_audio(song: Song, whole: Song) -> int:
    names = [f"level_{level}/item_{item}.wav" for level in LEVELS for item in range(3)]
    return sum(not np.array_equal(samples(song, name), samples(whole, name)) for name in names)


def kill_often(place: Path, wanted: int, environment: dict[str, str]) -> int:
    """Kill processes at songs below a folder so many times; returns how many faults there were."""
    subprocess.run(command("sample", place / "whole", *REQUEST), env=environment, check=True)
    whole = Song.open(place / "whole")
    chance, kills, turn, bad, ages = random.Random(wanted), 0, 0, 0, list[float]()
    while kills < wanted:
        turn += 1
        folder = place / f"song-{turn}"
        before = [0, 0, 0]
        sums = [np.prod(whole.codes(level).shape) for level in LEVELS]
        while kills < wanted and before != sums:
            start = command("sample", folder, *REQUEST, "--save-every", SAVE_EVERY)
            age = kill_once(folder, start, chance, environment)
            if not is_song(folder):
                kills += age is not None
                continue
            song = Song.open(folder)
            now = made(song)
            wrong, lost = faults(song, whole), any(a < b for a, b in zip(now, before, strict=True))
            bad, before = bad + wrong + lost, now
            if age is not None:
                kills += 1
                ages.append(age)
                typer.echo(
                    f"kill {kills}: {now} tokens of levels 0, 1, 2 stand, {wrong} wrong, last save {age:.2f} s old"
                )
        # Not `resume`: the last kill may have come before the song was created.
        subprocess.run(command("sample", folder, *REQUEST), env=environment, check=True, stdout=subprocess.DEVNULL)
        song = Song.open(folder)
        codes, audio = faults(song, whole), differing_audio(song, whole)
        bad += codes + audio + (made(song) != sums)
        typer.echo(
            f"{folder.name} finished: {codes} codes differ, {audio} audio files differ, {song.store.safety().summary}"
        )
    typer.echo(
        f"{kills} kills; {bad} faults; the last save was at most {max(ages):.2f} s old (saved every {SAVE_EVERY} s)"
    )
    return bad


def standing(folder: Path) -> list[Codes]:
    """Return the codes that a song holds, level 0 first; nothing where it is not begun."""
    try:
        song = Song.open(folder)
    except SongError:
        return []
    return [song.codes(level) for level in LEVELS]


def count(levels: list[Codes]) -> int:
    return sum(int((codes >= 0).sum()) for codes in levels)


def wait_until(true: Callable[[], bool]) -> bool:
    """Return whether something came true in the time that it may take."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def pair(folder: Path, environment: dict[str, str]) -> str:
    """Start two processes on a song at once, stop the one that works when it has; returns what went wrong, or nothing.

    On a song that is there, one comes to go on with it and one to make it.
    """
    before = standing(folder)
    make = command("sample", folder, *REQUEST, "--save-every", SAVE_EVERY)
    other = command("resume", folder, "--save-every", SAVE_EVERY) if before else make
    pipes: dict[str, Any] = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    two = [subprocess.Popen(words, **pipes) for words in (make, other)]
    if not wait_until(lambda: any(process.poll() is not None for process in two)):
        for process in two:
            process.kill()
            process.communicate()
        return "neither was refused"
    refused = next(process for process in two if process.poll() is not None)
    works = two[1 - two.index(refused)]
    wait_until(lambda: works.poll() is not None or count(standing(folder)) > count(before))
    works.send_signal(signal.SIGTERM)
    said, stopped = (process.communicate()[1].strip().splitlines() or [""] for process in (refused, works))
    after = standing(folder)
    if refused.returncode != 1 or f"{folder} is being worked on by process {works.pid} on " not in said[-1]:
        return f"one ended with {refused.returncode} beside process {works.pid}, and said: {said[-1]}"
    if works.returncode != 130 or count(after) <= count(before):
        return f"the other ended with {works.returncode}, and said: {stopped[-1]}"
    if any((now[then >= 0] != then[then >= 0]).any() for now, then in zip(after, before, strict=False)):
        return "codes that stood have changed"
    return ""


def pair_often(place: Path, wanted: int, environment: dict[str, str]) -> int:
    """Start so many pairs of processes at songs below a folder; returns how many faults there were."""
    bad, turn = 0, 1
    for number in range(1, wanted + 1):
        while 2 * count(here := standing(place / f"pair-{turn}")) > sum(codes.size for codes in here):
            turn += 1  # what is left of a song is to outlast a pair
        fault = pair(place / f"pair-{turn}", environment)
        bad += bool(fault)
        typer.echo(f"pair {number} on pair-{turn}: {fault or 'one worked, the other said so'}")
    typer.echo(f"{wanted - bad} of {wanted}: one worked, the other said who holds it")
    return bad


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    deeds = parser.add_mutually_exclusive_group()
    deeds.add_argument("--kills", type=int, default=60)
    deeds.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--store", default="local")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_STATE_HOME"] = str(given.folder / "state")
    os.environ["JUKEBOX_KIT_STORE"] = given.store
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    often, times = (pair_often, given.pairs) if given.pairs else (kill_often, given.kills)
    sys.exit(1 if often(given.folder, times, environment) else 0)


if __name__ == "__main__":
    main()
