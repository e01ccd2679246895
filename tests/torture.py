"""Kill a demo song's process many times at random moments, go on each time, and compare with the song never stopped.

    python tests/torture.py FOLDER --kills 60 --store local
    python tests/torture.py FOLDER --kills 60 --store segments

Prints a line for each kill and, at the end, how many codes and audio files differ and how old the last save was at most
when a process was killed. Exit code 1 where anything differs or was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import typer

from jukebox_kit.song import LEVELS, Song, is_song
from jukebox_kit.stores.drive import journal_folder

REQUEST = ["--artist", "glass bells", "--genre", "march", "--lyrics", "la mo di nu", "--items", "3", "--seconds", "8"]
SAVE_EVERY = 1.0


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


def differing_audio(song: Song, whole: Song) -> int:
    names = [f"level_{level}/item_{item}.wav" for level in LEVELS for item in range(3)]
    return sum((song.root / name).read_bytes() != (whole.root / name).read_bytes() for name in names)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--store", default="local")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_STATE_HOME"] = str(given.folder / "state")
    os.environ["JUKEBOX_KIT_STORE"] = given.store
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command("sample", given.folder / "whole", *REQUEST), env=environment, check=True)
    whole = Song.open(given.folder / "whole")
    chance, kills, turn, bad, ages = random.Random(given.kills), 0, 0, 0, list[float]()
    while kills < given.kills:
        turn += 1
        folder = given.folder / f"song-{turn}"
        before = [0, 0, 0]
        sums = [np.prod(whole.codes(level).shape) for level in LEVELS]
        while kills < given.kills and before != sums:
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
        subprocess.run(command("resume", folder), env=environment, check=True, stdout=subprocess.DEVNULL)
        song = Song.open(folder)
        codes, audio = faults(song, whole), differing_audio(song, whole)
        bad += codes + audio + (made(song) != sums)
        typer.echo(
            f"{folder.name} finished: {codes} codes differ, {audio} audio files differ, {song.store.safety().words}"
        )
    typer.echo(
        f"{kills} kills; {bad} faults; the last save was at most {max(ages):.2f} s old (saved every {SAVE_EVERY} s)"
    )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
