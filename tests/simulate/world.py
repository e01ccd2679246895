"""The simulated world: its time, the processes that take turns in it, and the faults that happen to them.

Nothing runs at once: a process goes on until a file operation or a sleep hands over to another one, so a history is
decided by its seed alone. A process is a greenlet; killing it raises `Killed` in it at that operation, and whatever its
cleanup then tries has no effect, as after SIGKILL.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from tests.simulate.disk import File, failure
from tests.simulate.machines import (
    FAULTS,
    READS,
    START,
    STEP_SECONDS,
    Fault,
    Killed,
    Machine,
    Point,
    Process,
    Reached,
    Tally,
)


class World:
    """Machines, their shared disks, the time, and the processes that run."""

    def __init__(self, seed: int, tally: Tally) -> None:
        self.seed, self.chance = seed, random.Random(seed)
        self.tally = tally
        self.now = START
        self.cuts = 0  # of power
        self.disturbed = 0.0  # when something last happened that can leave a lease behind
        self.machines: list[Machine] = []
        self.alive: list[Process] = []
        self.current: Process | None = None
        self.locks: dict[tuple[int, str], Process] = {}
        self.pids, self.ids = itertools.count(100), itertools.count(1)
        self.lines: list[str] = []  # what happened, in words
        self.local = True  # the song is on a local disk, whose locks end with their process
        self.tokens = 0  # that were sampled or replayed
        self.pace = 1.0  # seconds of work that a token takes
        self.lively = False  # several processes take turns
        self.hub = getcurrent()
        self.removed: Callable[[str], None] = lambda folder: None  # called before a folder is deleted with its files

    # Running processes ---------------------------------------------------------------------------------------------

    def run(
        self,
        machine: Machine,
        work: Callable[[], Any],
        faults: tuple[Fault, ...] = (),
        step: tuple[int, int] | None = None,
    ) -> Process:
        """Run one process to its end; step: see Process."""
        process = self.start(machine, work, faults, step)
        self.lively = False
        self._turn(process)
        return process

    def start(
        self,
        machine: Machine,
        work: Callable[[], Any],
        faults: tuple[Fault, ...] = (),
        step: tuple[int, int] | None = None,
    ) -> Process:
        """Prepare a process; it runs in `run_all`."""
        process = Process(machine, next(self.pids), faults, step)
        process.wake = self.now
        self.tally.processes += 1

        def whole() -> None:
            try:
                process.result = work()
            except BaseException as error:
                process.error = error

        process.task = greenlet(whole)
        self.alive.append(process)
        return process

    def run_all(self) -> None:
        """Let all processes take turns until they have ended."""
        self.lively = True
        while self.alive:
            ready = [process for process in self.alive if process.wake <= self.now or process.dead]
            if not ready:
                self.now = min(process.wake for process in self.alive)
                continue
            self._turn(self.chance.choice(ready))

    def _turn(self, process: Process) -> None:
        self.hub, self.current = getcurrent(), process
        assert process.task is not None
        process.task.switch()
        self.current = None
        if process.task.dead:
            self.alive.remove(process)
            process.ended = self.now
            self._release(process)
            error = process.error
            if error is not None:
                error.__traceback__ = None if isinstance(error, Killed) else error.__traceback__

    def _release(self, process: Process) -> None:
        self.locks = {key: holder for key, holder in self.locks.items() if holder is not process}

    def knows(self, pid: int, machine: Machine) -> Process | None:
        """Return a living process of a machine."""
        return next((p for p in self.alive if p.pid == pid and p.machine is machine and not p.dead), None)

    # Time ----------------------------------------------------------------------------------------------------------

    def spend(self, seconds: float) -> None:
        """Let time pass for the current process; others go on, and its own threads do."""
        process = self.current
        assert process is not None
        if process.dead:
            raise Killed
        until = self.now + seconds
        while not self.lively and process.beats and not process.beating:
            beat = min(process.beats, key=lambda one: one.due)
            if beat.due > until:
                break
            self.now = max(self.now, beat.due)
            self._beat(process)
        if not self.lively:
            self.now = max(self.now, until)
            return
        while True:
            soonest = until if process.beating else min((until, *(beat.due for beat in process.beats)))
            process.wake = max(soonest, self.now)
            self._hand_over(process)
            self._beat(process)
            if self.now >= until:
                return

    def _hand_over(self, process: Process) -> None:
        self.hub.switch()
        self.current = process
        if process.dead:
            raise Killed

    def _beat(self, process: Process) -> None:
        if process.beating:
            return
        for beat in list(process.beats):
            if self.now >= beat.due and beat in process.beats:
                process.beating = True
                try:
                    beat.run()
                finally:
                    process.beating = False
                beat.due = self.now + 15.0

    # File operations and what happens at them ----------------------------------------------------------------------

    def operation(self, kind: str, path: str, file: File | None = None, content: bytes = b"") -> None:
        """Count a file operation of the current process, let others run, and let its faults happen.

        Raises OSError or Killed instead of returning. file, content: of a write, so that half of it can be done.
        """
        process = self.current
        assert process is not None
        if process.dead:
            raise Killed
        process.operations += 1
        self.tally.operations += 1
        self.now += STEP_SECONDS
        if process.beats and not process.beating:
            self._beat(process)
        if self.lively and self.chance.random() < 0.25:
            process.wake = self.now
            self._hand_over(process)
        point: Point | None = None
        if process.failing or (process.faults and process.operations >= process.faults[0].at):
            point = _point(kind)
            self._fail(process, kind, path, point, file, content)
        if process.operations % 3 == 0 or point:  # where it is costs more than the operation
            point = point or _point(kind)
            self.tally.points.setdefault(point, set())
            if process.step is not None and point not in self.tally.reached:
                self.tally.reached[point] = Reached(self.seed, process.step, process.operations, process.met)

    def _fail(
        self, process: Process, kind: str, path: str, point: tuple[str, str], file: File | None, content: bytes
    ) -> None:
        while process.faults and process.operations >= process.faults[0].at:
            fault = process.faults[0]
            if not _applies(fault.way, kind, path):
                break
            process.faults.pop(0)
            process.met += 1
            self._happens(process, fault, path, point)
            if fault.way in FAULTS:
                process.failing.append([fault.way, fault.much])
            elif fault.way == "torn" and file is not None:
                file.content += content[: len(content) // 2]
            if process.dead:
                raise Killed
        for failing in process.failing:
            if _applies(failing[0], kind, path):
                failing[1] -= 1
                if not failing[1]:
                    process.failing.remove(failing)
                self.tally.points.setdefault(point, set()).add(failing[0])
                self.disturbed = self.disturbed if self.local else self.now
                process.refused = process.refused or self.now
                raise failure(FAULTS[failing[0]], path)

    def _happens(self, process: Process, fault: Fault, path: str, point: tuple[str, str]) -> None:
        machine = process.machine
        if not self.local:
            self.disturbed = self.now + (fault.much if fault.way in ("pause", "suspend") else 0)
        self.tally.faults[fault.way] += 1
        self.tally.points.setdefault(point, set()).add(fault.way)
        self.lines.append(
            f"    {fault.way} ({fault.much}) at operation {process.operations} of process {process.pid} on "
            f"{machine.name}: {point[1]} {path} in {point[0]}"
        )
        if fault.way in ("kill", "torn"):
            process.dead = True
        elif fault.way == "power":
            self.cut_power(machine)
        elif fault.way == "jump":
            machine.skew = max(machine.skew - fault.much, -1200.0)
        elif fault.way == "suspend":
            machine.asleep += fault.much
            for other in self.alive:
                if other.machine is machine:
                    other.wake = max(other.wake, self.now + fault.much)
        if fault.way in ("pause", "suspend"):
            process.wake = self.now + fault.much
            if self.lively:
                self._hand_over(process)
            else:
                self.now = process.wake

    def cut_power(self, machine: Machine) -> None:
        """End all processes of a machine, and lose what its own disks had not flushed."""
        for process in self.alive:
            if process.machine is machine:
                process.dead = True
                process.wake = self.now
        machine.boots += 1
        self.disturbed = self.now
        self.cuts += 1
        for place in machine.mounts:
            if place not in ("/sim/shared",):
                machine.mounts[place].cut_power(self.chance)


def _applies(way: str, kind: str, path: str) -> bool:
    if way in ("ENOTCONN", "EDQUOT") and path.startswith("/sim/home"):
        return False
    if way == "torn":
        return kind == "write"
    if way in ("ENOSPC", "EDQUOT"):
        return kind in ("write", "create", "mkdir", "fsync", "rename")
    if way == "EROFS":
        return kind not in READS and kind not in ("write", "fsync", "lock")
    return True


def _point(kind: str) -> tuple[str, str]:
    """Return the function of the package that does a file operation, and the operation."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/jukebox_kit/" in name and "/tests/" not in name:
            return f"{name.rpartition('/jukebox_kit/')[2]}:{frame.f_code.co_name}", kind
        frame = frame.f_back  # type: ignore[assignment]
    return "", kind
