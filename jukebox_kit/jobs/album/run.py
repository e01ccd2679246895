"""An album made: tasks handed to ranks by mpi4py.futures, and to this rank's own worker, until nothing is left."""

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
from jukebox_kit.jobs.album.rank_status import STOP, RankStatus, begin_run, read_rank_statuses
from jukebox_kit.jobs.album.schedule import AlbumSettings, Outcome, SongTask, Task, shared_out, song_tasks
from jukebox_kit.jobs.album.supervisor import Supervisor
from jukebox_kit.model import LEVELS

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between two looks at how far ranks are

GRACE = 60.0  # seconds beyond its own patience in which a rank tells what became of a task

_own: list[Supervisor] = []  # this rank's, for what mpi4py calls here by name


@dataclass(frozen=True)
class AlbumStanding:
    """How an album stands while it is made.

    statuses: what each rank is at; seconds: since the run began; costs: seconds a token of each level took, as far as
    known.
    """

    works: tuple[SongTask, ...]
    statuses: tuple[RankStatus, ...]
    seconds: float
    costs: Mapping[int, float]

    def count(self, *ends: str) -> int:
        """Return with how many songs it ended so; "" for those still running."""
        return sum(work.end in ends for work in self.works)

    @property
    def busy(self) -> tuple[RankStatus, ...]:
        """What the ranks that are not idle are at."""
        return tuple(status for status in self.statuses if status.task)

    @property
    def rate(self) -> float:
        """Tokens a second of all ranks together."""
        return sum(status.rate for status in self.busy)

    @property
    def share(self) -> float:
        """How much of the tokens that were left when the run began is made, 0 to 1."""
        whole = sum(sum(work.left) for work in self.works)
        return 1 - sum(self._tokens_left().values()) / whole if whole else 1.0

    @property
    def left(self) -> float | None:
        """Seconds to the end at the speed of this run so far, None where too little is known."""
        costs = {status.level: 1 / status.rate for status in self.busy if status.rate} | dict(self.costs)
        if not costs:
            return None
        usual = sum(costs.values()) / len(costs)
        work = sum(count * costs.get(level, usual) for level, count in self._tokens_left().items())
        return work / max(1, len(self.busy))

    def _tokens_left(self) -> dict[int, int]:
        found = dict.fromkeys(LEVELS, 0)
        for work in self.works:
            for level in work.levels:
                mine = [status for status in self.busy if (status.song, status.level) == (work.root.name, level)]
                found[level] += max(0, work.left[level] - sum(max(0, status.done - status.stood) for status in mine))
        return found


@contextmanager
def album_made(
    album: Album, settings: AlbumSettings, world: World, told: Callable[[AlbumStanding], None] = lambda _: None
) -> Iterator[tuple[SongTask, ...] | None]:
    """Do what is left of an album, with all ranks of a world; every rank enters this, and rank 0 gets what came of it.

    told: called on rank 0 once in a while. Songs that other processes work on are tried once more at the end. Ctrl-C
    and SIGTERM, on rank 0 or all, end it with everything saved: such songs end as "stopped". Where a rank fell silent,
    leaving ends all ranks, and this process.
    """
    folder = world.from_first(lambda: begin_run(album.folder))
    with ExitStack() as held:
        supervisor = Supervisor(world.rank, folder, settings)
        held.callback(supervisor.close)
        held.enter_context(_stopped_politely(supervisor))
        _own[:] = [supervisor]
        if world.mpi is None:
            yield _Run(album, settings, world, supervisor, None, told).works_made()
            return
        from mpi4py.futures import MPICommExecutor

        with MPICommExecutor(world.mpi, root=0) as executor:
            if executor is None:
                yield None
                return
            run = _Run(album, settings, world, supervisor, executor, told)
            yield run.works_made()
            if run.silent:  # they would be waited for; whoever is alive has nothing to do any more
                supervisor.close()
                world.mpi.Abort(1)


def do_here(task: Task) -> Outcome:
    """Do a task on the rank where this is called."""
    return _own[0].do(task)


class _Run:
    """Rank 0's view: what is left of each song, and who is at what."""

    def __init__(
        self,
        album: Album,
        settings: AlbumSettings,
        world: World,
        supervisor: Supervisor,
        executor: Any,
        told: Callable[[AlbumStanding], None],
    ) -> None:
        self.album, self.settings, self.world, self.told = album, settings, world, told
        self.supervisor, self.others = supervisor, executor
        self.works = song_tasks(album, settings.until)
        self.running: dict[Future[Outcome], Task] = {}
        self.at_home: Future[Outcome] | None = None
        # What each task's rank said last, and when that was first seen, by this machine's clock.
        self.heard: dict[Task, tuple[RankStatus | None, float]] = {}
        self.silent = 0  # ranks that are waited for no more
        self.spent = dict.fromkeys(LEVELS, (0.0, 0))  # seconds and tokens of each level
        self.began = time.monotonic()

    def works_made(self) -> tuple[SongTask, ...]:
        """Do all that can be done; returns what came of each song."""
        by_root = {work.root: work for work in self.works}
        with ThreadPoolExecutor(1) as home:
            while True:
                self._begin(home)
                if not self.running and not self._again():
                    break
                done, _ = wait(self.running, LOOK, FIRST_COMPLETED)
                for future in done:
                    task = self.running.pop(future)
                    outcome = self._outcome(future, task)
                    seconds, tokens = self.spent[task.level]
                    self.spent[task.level] = seconds + outcome.seconds, tokens + outcome.tokens
                    by_root[task.song].take(outcome)
                self._give_up(by_root)
                self.told(self.standing())
        self.told(self.standing())
        return tuple(self.works)

    def standing(self) -> AlbumStanding:
        """Return how everything stands."""
        statuses = read_rank_statuses(self.supervisor.folder, self.world.size)
        costs = {level: seconds / tokens for level, (seconds, tokens) in self.spent.items() if tokens}
        return AlbumStanding(tuple(self.works), statuses, time.monotonic() - self.began, costs)

    def _begin(self, home: ThreadPoolExecutor) -> None:
        if self.supervisor.stopping.is_set():
            with suppress(OSError):  # then each rank ends as it was told itself
                (self.supervisor.folder / STOP).touch()
            for work in self.works:
                if work.ready:
                    work.end, work.why = "stopped", "the run was stopped before it reached this song."
            return
        for task in shared_out(self.works, self.world.size - self.silent - len(self.running)):
            if self.at_home in self.running:
                self.running[self.others.submit(do_here, task)] = task
            else:
                self.at_home = home.submit(self.supervisor.do, task)
                self.running[self.at_home] = task

    def _again(self) -> bool:
        more = [work.again() for work in self.works]
        return any(more)

    def _outcome(self, future: Future[Outcome], task: Task) -> Outcome:
        error = future.exception()
        if error is None:
            return future.result()
        log.error("%s: %s: %s", task.summary, type(error).__name__, error)
        return Outcome(task, "lost", f"its rank failed ({type(error).__name__}: {error}).")

    def _give_up(self, by_root: dict[Any, SongTask]) -> None:
        """Stop waiting for ranks that do not respond, however long their own patience lasts."""
        statuses = {status.task: status for status in read_rank_statuses(self.supervisor.folder, self.world.size)}
        now = time.monotonic()
        for future, task in list(self.running.items()):
            status = statuses.get(task.summary)
            seen = self.heard.get(task)
            if seen is None or seen[0] != status:
                self.heard[task] = (status, now)
            elif now - seen[1] > self.settings.patience + GRACE and future is not self.at_home:
                del self.running[future]
                self.silent += 1
                why = f"its rank has not responded for {now - seen[1]:.0f} seconds."
                by_root[task.song].take(Outcome(task, "lost", why))


@contextmanager
def _stopped_politely(supervisor: Supervisor) -> Iterator[None]:
    """Treat Ctrl-C, SIGTERM and SIGHUP as a request to save and exit, unless they are ignored, as under nohup."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    names = [name for name in ending if signal.getsignal(name) is not signal.SIG_IGN]
    before = [signal.signal(name, lambda *_: supervisor.stopping.set()) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
