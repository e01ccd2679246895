"""Machines with disks and clocks, their processes, the faults that these can meet, and a tally of what happened."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from greenlet import greenlet

from tests.simulate.disk import Disk, failure
from tests.simulate.drive import Mount

if TYPE_CHECKING:
    from tests.simulate.world import World

READS = frozenset({"read", "stat", "list"})

FAULTS = {  # what can happen at a file operation; the rest of the kinds raise this error
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "EIO": errno.EIO,
    "EROFS": errno.EROFS,
    "ENOTCONN": errno.ENOTCONN,
}

STEP_SECONDS = 0.001  # that a file operation takes

START = 1.7e9  # the world's clock at the start of a history, in seconds since 1970


Point: TypeAlias = tuple[str, str]  # a function of the package, and what kind of file operation


class Killed(BaseException):
    """The process was killed, or its machine lost power."""


@dataclass(frozen=True)
class Fault:
    """Something that happens at operation number `at` of a step, or at the first one after it that it can happen to.

    way: "kill" (before the operation), "torn" (half of a write was done), "power" (the machine loses power), "pause"
    (the process alone, as by SIGSTOP), "suspend" (the machine, whose monotonic clock stops), "jump" (its clock is set
    back), or an error of FAULTS. much: of errors how many operations fail, otherwise seconds.
    """

    at: int
    way: str
    much: int = 1


class Machine:
    """A computer: its own disk, a clock that may be wrong, and the disks that it has mounted, by place."""

    def __init__(self, name: str, world: World, mounts: dict[str, Disk], skew: float = 0.0) -> None:
        self.name, self.world, self.mounts, self.skew = name, world, mounts, skew
        self.boots = self.asleep = 0.0
        self.lockless: set[str] = set()  # places whose file system has no locks
        self.kinds: dict[str, str] = {}  # file systems by place, as the system lists them

    @property
    def boot(self) -> str:
        """The identifier of this boot."""
        return f"{self.name}-boot-{self.boots:.0f}"

    def disk(self, path: str) -> Disk:
        """Return the disk that a path is on."""
        place = "/".join(path.split("/", 3)[:3])
        disk = self.mounts.get(place)
        if disk is None:
            raise failure(errno.ENOENT, path)
        if isinstance(disk, Mount):
            disk.catch_up(self.world.now)
        return disk


@dataclass(eq=False)
class Beat:
    """A thread that only waits and renews a lease: `run` does one turn of it."""

    run: Callable[[], None]
    due: float


class Process:
    """A process on a machine, with the faults that it will meet."""

    def __init__(
        self, machine: Machine, pid: int, faults: tuple[Fault, ...] = (), step: tuple[int, int] | None = None
    ) -> None:
        """Prepare a process. step: which step of the history it does, and which of those beside each other."""
        self.machine, self.pid, self.started, self.step = machine, pid, f"{machine.boot}/{pid}", step
        self.faults, self.met = list(faults), 0  # those to come, and how many have happened
        self.operations = 0
        self.failing: list[Any] = []  # [way, operations left]
        self.dead = False
        self.refused = 0.0  # when an operation first failed
        self.ended = 0.0
        self.beats: list[Beat] = []
        self.beating = False
        self.wake = 0.0
        self.result: Any = None
        self.error: BaseException | None = None
        self.task: greenlet | None = None


@dataclass(frozen=True)
class Reached:
    """Where a step came to a file operation.

    seed: of the history. step: its number in it, and which of those beside each other. operation: its number in the
    process. faults: how many had happened to the process.
    """

    seed: int
    step: tuple[int, int]
    operation: int
    faults: int


@dataclass
class Tally:
    """What happened in many histories.

    points: by file operation of the package, the ways in which it failed. reached: where a step first came to it.
    """

    seconds: float = 0.0
    operations: int = 0
    processes: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    steps: Counter[str] = field(default_factory=Counter[str])
    points: dict[Point, set[str]] = field(default_factory=dict[Point, set[str]])
    reached: dict[Point, Reached] = field(default_factory=dict[Point, Reached])

    def add(self, other: Tally) -> None:
        """Add what happened elsewhere."""
        self.seconds += other.seconds
        self.operations += other.operations
        self.processes += other.processes
        self.faults += other.faults
        self.steps += other.steps
        for point, ways in other.points.items():
            self.points.setdefault(point, set()).update(ways)
        self.reached = {**other.reached, **self.reached}
