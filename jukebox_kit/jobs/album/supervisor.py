"""The process of a rank: gives tasks to its worker process, watches it, and survives it."""

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

from jukebox_kit._files import shown_path
from jukebox_kit.jobs.album.launcher import Rank
from jukebox_kit.jobs.album.rank_status import STOP, RankStatus, write_rank_status
from jukebox_kit.jobs.album.schedule import AlbumSettings, Task, TaskOutcome
from jukebox_kit.steps import Progress, Speed

POLL_SECONDS = 0.2  # between two checks of whether this rank was asked to stop

STOP_POLL_SECONDS = 2.0  # between two checks of whether rank 0 was


class Supervisor:
    """Does tasks in a worker process, which is started for the first task, and again after it has died.

    folder: the folder of the run, for the rank's log and status.
    """

    def __init__(self, rank: Rank, folder: Path, settings: AlbumSettings) -> None:
        self.rank, self.folder, self.settings = rank, folder, settings
        self.stopping = threading.Event()
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None

    def do(self, task: Task) -> TaskOutcome:
        """Do a task; returns its outcome even if the worker dies."""
        began = time.monotonic()
        if self.stopping.is_set():
            return TaskOutcome(task, "stopped", "the run was stopped before it reached this task.", self.rank.number)
        pipe = self._worker()
        try:
            pipe.send(task)
            outcome = self._watch(task, pipe)
        except (EOFError, OSError):
            stopped = self.stopping.is_set()  # it may be stopped before it handles signals
            outcome = TaskOutcome(task, "stopped" if stopped else "lost", self._death_cause())
        self._report(RankStatus(self.rank.number, self.rank.summary))
        seconds = time.monotonic() - began
        return TaskOutcome(task, outcome.end, outcome.why, self.rank.number, outcome.tokens, outcome.seconds or seconds)

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

            context = multiprocessing.get_context("spawn")  # it inherits nothing of MPI or CUDA
            self.pipe, worker_end = context.Pipe()
            log_file = self.folder / f"rank_{self.rank.number}.log"
            self.process = context.Process(target=work, args=(worker_end, self.settings, log_file))
            # Libraries read the environment as they are loaded; Ctrl-C is the rank's, which passes it on.
            with _environment(self.rank.environment), _blocked(signal.SIGINT, signal.SIGHUP):
                self.process.start()
            worker_end.close()
        return self.pipe

    def _watch(self, task: Task, pipe: Connection) -> TaskOutcome:
        assert self.process is not None
        last_message, speed, terminated, last_poll = time.monotonic(), Speed(), False, 0.0
        self._report(self._status(task, Progress(task.level, 0, 0), 0.0))
        while True:
            if time.monotonic() - last_poll > STOP_POLL_SECONDS:
                last_poll = time.monotonic()
                if (self.folder / STOP).exists():
                    self.stopping.set()
            if self.stopping.is_set() and not terminated:
                self.process.terminate()  # it saves and exits
                terminated = True
            if time.monotonic() - last_message > self.settings.patience:
                self.process.kill()
                self._forget_worker()
                return TaskOutcome(
                    task, "lost", f"its process has not responded for {self.settings.patience:.0f} seconds."
                )
            if not pipe.poll(POLL_SECONDS):
                continue
            message = pipe.recv()
            last_message = time.monotonic()
            if isinstance(message, TaskOutcome):
                return message
            speed.note(message)
            self._report(self._status(task, message, speed.rate or 0.0))

    def _status(self, task: Task, progress: Progress, rate: float) -> RankStatus:
        counts = progress.done, progress.total, progress.sampled_before
        return RankStatus(self.rank.number, self.rank.summary, task.summary, task.song.name, task.level, *counts, rate)

    def _report(self, status: RankStatus) -> None:
        pid = 0 if self.process is None else self.process.pid or 0
        write_rank_status(self.folder, replace(status, process=pid))

    def _forget_worker(self) -> int:
        """Clear the worker that has died; returns its exit code."""
        assert self.process is not None
        assert self.pipe is not None
        self.process.join()
        self.pipe.close()
        code, self.process, self.pipe = self.process.exitcode or 0, None, None
        return code

    def _death_cause(self) -> str:
        code = self._forget_worker()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"its process {how}; see {shown_path(self.folder)}/rank_{self.rank.number}.log."


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
    """Give processes that are started in the context these environment variables."""
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
