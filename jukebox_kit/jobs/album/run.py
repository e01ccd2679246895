"""Samples an album: gives tasks to other ranks through mpi4py.futures, and to this rank's worker, until all is done."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from jukebox_kit.jobs.album.album import Album
from jukebox_kit.jobs.album.launcher import World
from jukebox_kit.jobs.album.rank_status import STOP, RankStatus, create_run_folder, read_rank_statuses
from jukebox_kit.jobs.album.schedule import AlbumSettings, SongTask, Task, TaskOutcome, assign_tasks, song_tasks
from jukebox_kit.jobs.album.supervisor import Supervisor
from jukebox_kit.model import LEVELS

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between two checks of the ranks' progress

GRACE_SECONDS = 60.0  # beyond its own patience in which a rank reports the outcome of a task

_own_supervisor: list[Supervisor] = []  # this rank's, for the function that mpi4py calls here


@dataclass(frozen=True)
class AlbumStatus:
    """The progress of an album.

    ranks: what each rank is doing.
    seconds: since the run began.
    costs: seconds per token of each level, of those levels where it is known.
    """

    works: tuple[SongTask, ...]
    ranks: tuple[RankStatus, ...]
    seconds: float
    costs: Mapping[int, float]

    def count(self, *ends: str) -> int:
        """Return how many songs ended in one of these ways; "" stands for those that are not finished."""
        return sum(work.end in ends for work in self.works)

    @property
    def busy(self) -> tuple[RankStatus, ...]:
        """The ranks that have a task."""
        return tuple(status for status in self.ranks if status.task)

    @property
    def rate(self) -> float:
        """Tokens per second of all ranks together."""
        return sum(status.rate for status in self.busy)

    @property
    def share(self) -> float:
        """The share, 0 to 1, of the tokens missing at the start of the run that is sampled."""
        whole = sum(sum(work.left) for work in self.works)
        return 1 - sum(self._tokens_left().values()) / whole if whole else 1.0

    @property
    def left(self) -> float | None:
        """Seconds left at the speed of this run so far, None until that can be estimated."""
        costs = {status.level: 1 / status.rate for status in self.busy if status.rate} | dict(self.costs)
        if not costs:
            return None
        usual = sum(costs.values()) / len(costs)
        work = sum(count * costs.get(level, usual) for level, count in self._tokens_left().items())
        return work / max(1, len(self.busy))

    def _tokens_left(self) -> dict[int, int]:
        left = dict.fromkeys(LEVELS, 0)
        for work in self.works:
            for level in work.levels:
                ranks = [rank for rank in self.busy if (rank.song, rank.level) == (work.root.name, level)]
                sampled = sum(max(0, rank.done - rank.sampled_before) for rank in ranks)
                left[level] += max(0, work.left[level] - sampled)
        return left


@contextmanager
def sampled_album(
    album: Album, settings: AlbumSettings, world: World, report: Callable[[AlbumStatus], None] = lambda _: None
) -> Iterator[tuple[SongTask, ...] | None]:
    """Sample what is missing of an album on all ranks; every rank enters this, and rank 0 gets the songs' outcomes.

    report: called on rank 0 about twice a second. Songs that other processes work on are tried once more at the end.
    Ctrl-C and SIGTERM, on rank 0 or on all, save everything and end the run: its songs end as "stopped". If a rank has
    stopped responding, leaving the context ends all ranks and this process.
    """
    folder = world.from_rank_0(lambda: create_run_folder(album.folder))
    with ExitStack() as held:
        supervisor = Supervisor(world.rank, folder, settings)
        held.callback(supervisor.close)
        held.enter_context(_graceful_stop(supervisor))
        _own_supervisor[:] = [supervisor]
        if world.mpi is None:
            yield _Run(album, settings, world, supervisor, None, report).run()
            return
        from mpi4py.futures import MPICommExecutor

        with MPICommExecutor(world.mpi, root=0) as executor:
            if executor is None:
                yield None
                return
            run = _Run(album, settings, world, supervisor, executor, report)
            yield run.run()
            if run.silent:  # MPI would wait for them; the others have nothing left to do
                supervisor.close()
                world.mpi.Abort(1)


def do_here(task: Task) -> TaskOutcome:
    """Do a task on this rank."""
    return _own_supervisor[0].do(task)


class _Run:
    """What rank 0 knows: what is left of each song, and which rank has which task."""

    def __init__(
        self,
        album: Album,
        settings: AlbumSettings,
        world: World,
        supervisor: Supervisor,
        executor: Any,
        report: Callable[[AlbumStatus], None],
    ) -> None:
        self.album, self.settings, self.world, self.report = album, settings, world, report
        self.supervisor, self.others = supervisor, executor
        self.works = song_tasks(album, settings.until)
        self.running: dict[Future[TaskOutcome], Task] = {}
        self.local_task: Future[TaskOutcome] | None = None
        # The last status of each task's rank, and when it was first seen by this machine's clock.
        self.last_seen: dict[Task, tuple[RankStatus | None, float]] = {}
        self.silent = 0  # number of ranks given up
        self.spent = dict.fromkeys(LEVELS, (0.0, 0))  # seconds and tokens of each level
        self.began = time.monotonic()

    def run(self) -> tuple[SongTask, ...]:
        """Sample everything that can be sampled; returns the songs with their outcomes."""
        by_root = {work.root: work for work in self.works}
        with ThreadPoolExecutor(1) as home:
            while True:
                self._submit(home)
                if not self.running and not self._retry():
                    break
                done, _ = wait(self.running, POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    task = self.running.pop(future)
                    outcome = self._outcome(future, task)
                    seconds, tokens = self.spent[task.level]
                    self.spent[task.level] = seconds + outcome.seconds, tokens + outcome.tokens
                    by_root[task.song].record(outcome)
                self._drop_silent_ranks(by_root)
                self.report(self.status())
        self.report(self.status())
        return tuple(self.works)

    def status(self) -> AlbumStatus:
        """Return the progress of all songs and ranks."""
        statuses = read_rank_statuses(self.supervisor.folder, self.world.size)
        costs = {level: seconds / tokens for level, (seconds, tokens) in self.spent.items() if tokens}
        return AlbumStatus(tuple(self.works), statuses, time.monotonic() - self.began, costs)

    def _submit(self, home: ThreadPoolExecutor) -> None:
        if self.supervisor.stopping.is_set():
            with suppress(OSError):  # then each rank stops on its own signal
                (self.supervisor.folder / STOP).touch()
            for work in self.works:
                if work.ready:
                    work.end, work.why = "stopped", "the run was stopped before it reached this song."
            return
        for task in assign_tasks(self.works, self.world.size - self.silent - len(self.running)):
            if self.local_task in self.running:
                self.running[self.others.submit(do_here, task)] = task
            else:
                self.local_task = home.submit(self.supervisor.do, task)
                self.running[self.local_task] = task

    def _retry(self) -> bool:
        retried = [work.retry() for work in self.works]
        return any(retried)

    def _outcome(self, future: Future[TaskOutcome], task: Task) -> TaskOutcome:
        error = future.exception()
        if error is None:
            return future.result()
        log.error("%s: %s: %s", task.summary, type(error).__name__, error)
        return TaskOutcome(task, "lost", f"its rank failed ({type(error).__name__}: {error}).")

    def _drop_silent_ranks(self, by_root: dict[Any, SongTask]) -> None:
        """Stop waiting for ranks that have not responded for longer than their own patience."""
        statuses = {status.task: status for status in read_rank_statuses(self.supervisor.folder, self.world.size)}
        now = time.monotonic()
        for future, task in list(self.running.items()):
            status = statuses.get(task.summary)
            seen = self.last_seen.get(task)
            if seen is None or seen[0] != status:
                self.last_seen[task] = (status, now)
            elif now - seen[1] > self.settings.patience + GRACE_SECONDS and future is not self.local_task:
                del self.running[future]
                self.silent += 1
                why = f"its rank has not responded for {now - seen[1]:.0f} seconds."
                by_root[task.song].record(TaskOutcome(task, "lost", why))


@contextmanager
def _graceful_stop(supervisor: Supervisor) -> Iterator[None]:
    """Treat Ctrl-C, SIGTERM and SIGHUP as a request to save and exit, unless they are ignored, as under nohup."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    names = [name for name in ending if signal.getsignal(name) is not signal.SIG_IGN]
    before = [signal.signal(name, lambda *_: supervisor.stopping.set()) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
