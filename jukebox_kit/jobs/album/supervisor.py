"""A rank's side of its work: it hands a task to its worker, watches it, and outlives it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from jukebox_kit.jobs.album.launcher import Rank
from jukebox_kit.jobs.album.rank_status import STOP, RankStatus, write_rank_status
from jukebox_kit.jobs.album.schedule import AlbumSettings, Outcome, Task
from jukebox_kit.steps import Progress, Speed

LOOK = 0.2  # seconds between two looks at whether to stop, as this rank was told

LOOK_FOR_STOP = 2.0  # the same as rank 0 was told


class Supervisor:
    """Does tasks in a worker process, which is begun when there is something to do and again where it died.

    folder: the run's, for its log and what it is at.
    """

    def __init__(self, rank: Rank, folder: Path, settings: AlbumSettings) -> None:
        self.rank, self.folder, self.settings = rank, folder, settings
        self.stopping = threading.Event()
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None

    def do(self, task: Task) -> Outcome:
        """Do a task; returns an outcome whatever happens to the worker."""
        began = time.monotonic()
        if self.stopping.is_set():
            return Outcome(task, "stopped", "the run was stopped before it reached this task.", self.rank.number)
        pipe = self._worker()
        try:
            pipe.send(task)
            outcome = self._watched(task, pipe)
        except (EOFError, OSError):
            stopped = self.stopping.is_set()  # it may be asked before it can listen
            outcome = Outcome(task, "stopped" if stopped else "lost", self._how_it_died())
        self._tell(RankStatus(self.rank.number, self.rank.summary))
        seconds = time.monotonic() - began
        return Outcome(task, outcome.end, outcome.why, self.rank.number, outcome.tokens, outcome.seconds or seconds)

    def close(self) -> None:
        """End the worker."""
        if self.process is not None and self.pipe is not None:
            self.pipe.close()
            self.process.join(self.settings.patience)
            if self.process.is_alive():
                self.process.kill()
            self.process = self.pipe = None

    def _worker(self) -> Connection:
        if self.pipe is None or self.process is None or not self.process.is_alive():
            from jukebox_kit.jobs.album.worker import work

            context = multiprocessing.get_context("spawn")  # nothing of MPI or CUDA goes over to it
            self.pipe, its = context.Pipe()
            log_file = self.folder / f"rank_{self.rank.number}.log"
            self.process = context.Process(target=work, args=(its, self.settings, log_file))
            # Libraries read the environment as they are loaded; Ctrl-C is the rank's, which passes it on.
            with _environment(self.rank.environment), _blocked(signal.SIGINT, signal.SIGHUP):
                self.process.start()
            its.close()
        return self.pipe

    def _watched(self, task: Task, pipe: Connection) -> Outcome:
        assert self.process is not None
        heard, speed, told, looked = time.monotonic(), Speed(), False, 0.0
        self._tell(self._doing(task, Progress(task.level, 0, 0), 0.0))
        while True:
            if time.monotonic() - looked > LOOK_FOR_STOP:
                looked = time.monotonic()
                if (self.folder / STOP).exists():
                    self.stopping.set()
            if self.stopping.is_set() and not told:
                self.process.terminate()  # which it treats as a request to save and exit
                told = True
            if time.monotonic() - heard > self.settings.patience:
                self.process.kill()
                self._bury()
                return Outcome(task, "lost", f"its process has not responded for {self.settings.patience:.0f} seconds.")
            if not pipe.poll(LOOK):
                continue
            found = pipe.recv()
            heard = time.monotonic()
            if isinstance(found, Outcome):
                return found
            speed.note(found)
            self._tell(self._doing(task, found, speed.rate or 0.0))

    def _doing(self, task: Task, progress: Progress, rate: float) -> RankStatus:
        number, words = self.rank.number, self.rank.summary
        counts = progress.done, progress.total, progress.stood
        return RankStatus(number, words, task.summary, task.song.name, task.level, *counts, rate)

    def _tell(self, status: RankStatus) -> None:
        pid = 0 if self.process is None else self.process.pid or 0
        write_rank_status(self.folder, replace(status, process=pid))

    def _bury(self) -> int:
        """Forget the worker that died; returns its exit code."""
        assert self.process is not None
        assert self.pipe is not None
        self.process.join()
        self.pipe.close()
        code, self.process, self.pipe = self.process.exitcode or 0, None, None
        return code

    def _how_it_died(self) -> str:
        code = self._bury()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"its process {how}; see {self.folder}/rank_{self.rank.number}.log."


@contextmanager
def _blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Let processes that are started meanwhile not receive these signals."""
    resource_tracker.ensure_running()  # otherwise the first process starts it, which unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Let processes that are started meanwhile have these values in their environment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
