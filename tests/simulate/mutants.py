"""Sabotages of one line of the package each, and how many histories it takes to catch them.

    python -m tests.simulate.mutants [--histories 10000] [--only TEXT] [--keep FILE]

Each is made in a copy of the package, whose histories are then played until one breaks a promise. Exit code 1 if one is
not caught.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "jukebox_kit"

CATCH = """
import dataclasses, json, sys
from tests.simulate.run import run_seeds
outcome = run_seeds(int(sys.argv[1]), int(sys.argv[2]), 1e9)
history = outcome.history and dataclasses.asdict(outcome.history)
print(json.dumps({"histories": outcome.histories, "failure": outcome.failure, "history": history}))
"""


@dataclass(frozen=True)
class Mutant:
    """A sabotage. why: what it does, as it would be written in a history of faults."""

    why: str
    file: str
    old: str
    new: str


FILES, DRIVE = "_files.py", "song/store/drive.py"

LEASE, MARKS = "song/store/lease.py", "song/store/marks.py"

MUTANTS = (
    Mutant(
        "a folder is not flushed after a rename",
        FILES,
        "        beside.replace(path)\n        if durable:\n",
        "        beside.replace(path)\n        if not durable:\n",
    ),
    Mutant(
        "a new folder below the song is not flushed",
        FILES,
        "            flush(root / folder)\n",
        "            pass\n",
    ),
    Mutant("a new folder is not flushed", FILES, "        flush(folder.parent)\n", "        pass\n"),
    Mutant(
        "a file is written in place",
        FILES,
        "    beside = path.with_name(_part_name(path.name))\n    try:",
        "    beside = path\n    try:",
    ),
    Mutant(
        "an interrupted edit is not completed",
        "song/song.py",
        "yield self._state if self.manifest.settling is None else self.settle()",
        "yield self._state",
    ),
    Mutant(
        "an edit refers to its codes before they are written",
        "song/edits.py",
        '    write_levels(state.store, "next", levels)\n    state.song.keep(replace(manifest, settling="next"))\n',
        '    state.song.keep(replace(manifest, settling="next"))\n    write_levels(state.store, "next", levels)\n',
    ),
    Mutant(
        "an edit forgets to save the state before it",
        "song/versions.py",
        "    write_levels(state.store, name, state.all_levels())\n",
        "",
    ),
    Mutant(
        "a song is created without its lock",
        "song/song.py",
        "store.begin()\n        with store.lock():\n            if",
        "store.begin()\n        if store:\n            if",
    ),
    Mutant(
        "the checksum of a segment is ignored",
        "song/store/segments.py",
        'return segment if segment.digest == metadata["sha256"] else None',
        "return segment",
    ),
    Mutant("the journal's files are not flushed", DRIVE, "                os.fsync(file.fileno())\n", ""),
    Mutant("the journal's folder is not flushed", DRIVE, "            flush(self.path)\n", ""),
    Mutant("the journal is not read", DRIVE, "if self._journal_is_ours() else []", "if False else []"),
    Mutant(
        "what another owner wrote is not read again",
        DRIVE,
        "                self._files = None  # another owner may have changed them\n",
        "",
    ),
    Mutant("what waits is not offered to the mount again", DRIVE, "                self._push(last=True)\n", ""),
    Mutant("the system's lock is ignored", LEASE, "        yield _flock(handle, root)\n", "        yield False\n"),
    Mutant(
        "a lease is renewed by a process that slept",
        LEASE,
        "            if not self._lapsed:  # else",
        "            if True:  # else",
    ),
    Mutant(
        "the clock stops while the machine sleeps",
        LEASE,
        'getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)',
        "time.CLOCK_MONOTONIC",
    ),
    Mutant(
        "a process that slept does not look whether it was followed",
        LEASE,
        "        if others or not exists(self._path):",
        "        if others:",
    ),
    Mutant(
        "a process that slept while it took a lease does not look whether it was followed",
        LEASE,
        "        followers = self._others() if self._late else []",
        "        followers: list[Mark] = []",
    ),
    Mutant(
        "a process that slept does not look again after its renewal",
        LEASE,
        "            self._look_for_followers(lambda mark: mark.sure or mark.rank < self.mark.rank)\n",
        "            pass\n",
    ),
    Mutant("a rival is not looked for", LEASE, "        if rivals:\n", "        if rivals and has_locks:\n"),
    Mutant(
        "a lease of another machine is not waited for",
        LEASE,
        "        gone = silent or is_old(mark)",
        "        gone = True or is_old(mark)",
    ),
    Mutant(
        "a dead process keeps its lease",
        MARKS,
        "return not (has_locks or own) and _process_start(mark.process) == mark.started",
        "return True",
    ),
    Mutant(
        "a lease that cannot be deleted counts although its process is gone",
        LEASE,
        "            self._gone_marks.add(mark)\n",
        "",
    ),
    Mutant(
        "a disk that does not answer is no sentence",
        FILES,
        "    except OSError as error:\n        raise SongError(explain(path, error, done)) from None\n",
        "    except OSError:\n        raise\n",
    ),
    Mutant(
        "a shard whose process seems to live is not merged",
        "steps/shards.py",
        "            with open_store(path).lock():  # waits until its process proves gone; "
        "SongBusyError if it is alive\n                pass\n",
        '            raise SongBusyError(f"{path} is being worked on.")\n',
    ),
    Mutant(
        "a shard is deleted before it is merged",
        "steps/shards.py",
        '            shards.append(Shard(open_store(path), level, range(int(name["first"]), int(name["last"]) + 1)))\n',
        "            _remove(path)\n",
    ),
    Mutant(
        "a stale shard is merged",
        "steps/shards.py",
        'if name and name["mark"] == mark:',
        "if name:",
    ),
    Mutant(
        "what was sampled before a stop is not saved",
        "steps/level_writer.py",
        "        self.keep(self.work.cpu().numpy().astype(np.int16))\n",
        "        self.keep(self.work.cpu().numpy().astype(np.int16)[::-1].copy())\n",
    ),
    Mutant(
        "a stop is not looked for at every token",
        "steps/level_writer.py",
        "        check_stop(self.state.root, self.run)\n        now = time.monotonic()\n",
        "        now = time.monotonic()\n",
    ),
    Mutant(
        "the hash of a save of a training run is ignored",
        "training/checkpoints.py",
        "            if content is None or hashlib.sha256(content).hexdigest() != wanted:",
        "            if content is None:",
    ),
    Mutant(
        "the only save of a training run is overwritten",
        "training/checkpoints.py",
        "        self._delete(number - KEPT)\n",
        "        self._delete(number)\n",
    ),
    Mutant(
        "the hash of a download is ignored",
        "model/weights/download/sources.py",
        "            if sha256_of(part)[0] != self.release.tables[name]:",
        "            if not self.release.tables[name]:",
    ),
    Mutant(
        "a download is not flushed",
        "model/weights/download/http.py",
        "                os.fsync(file.fileno())\n",
        "                pass\n",
    ),
)


def caught(mutant: Mutant, seed: int, histories: int) -> dict[str, object]:
    """Return how many histories of a sabotaged copy were played, and the one that broke a promise, if any did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(PACKAGE, copy / "jukebox_kit", ignore=shutil.ignore_patterns("__pycache__"))
        for beside in ("configs", "tests"):
            (copy / beside).symlink_to(PACKAGE.parent / beside)
        path = copy / "jukebox_kit" / mutant.file
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-c", CATCH, str(seed), str(histories)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate.mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--only", default="", help="sabotages whose description has this text")
    parser.add_argument("--keep", type=Path, help="a JSON file for the short histories that catch them")
    given = parser.parse_args()
    missed, kept = 0, list[dict[str, object]]()
    for mutant in (one for one in MUTANTS if given.only in one.why):
        began = time.perf_counter()
        answer = caught(mutant, given.seed, given.histories)
        failure = str(answer["failure"])
        missed += not failure
        first = failure.partition("\n")[0] or "NOT CAUGHT"
        seconds = time.perf_counter() - began
        sys.stdout.write(f"{mutant.why}: {answer['histories']} histories, {seconds:.0f} s: {first}\n")
        sys.stdout.flush()
        if failure:
            kept.append({"found": mutant.why, "history": answer["history"]})
    sys.stdout.write(f"{missed} of {len(MUTANTS)} were not caught\n" if missed else "all were caught\n")
    if given.keep:
        given.keep.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
