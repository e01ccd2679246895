"""Plays a history with the package's real code, and checks after every step what must be true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jukebox_kit.errors import JukeboxKitError, StoppedError
from jukebox_kit.song import Song, choose, extend, fork, is_song, redo, trim, undo, vary, visit
from jukebox_kit.song.store.drive import DriveStore
from jukebox_kit.song.store.local import LocalStore
from jukebox_kit.steps import RunSettings, sample, sample_shard, upsample
from tests.simulate.disk import Disk
from tests.simulate.drive import Mount
from tests.simulate.history import EDITS, LITTER, TOKEN_SECONDS, History, Step
from tests.simulate.judge import Judge, Violation
from tests.simulate.machines import Machine, Process, Tally
from tests.simulate.others import Others
from tests.simulate.paths import switch_world
from tests.simulate.snapshot import Snapshot, snapshot
from tests.simulate.standin import StandIn
from tests.simulate.world import World

REQUEST: dict[str, Any] = {"model": "demo", "artist": "the flutes", "total_seconds": 8.0, "seed": 3}


class Player:
    """One history, in a world of its own."""

    def __init__(self, history: History, model: StandIn, tally: Tally) -> None:
        self.history, self.model = history, model
        self.world = World(history.seed, tally)
        switch_world(self.world)
        self.root = Path(f"/sim/{history.place}/song")
        shared = Disk("/sim/shared")
        for number, skew in enumerate(history.skews):
            drive = Mount("/sim/drive")
            mounts = {"/sim/home": Disk("/sim/home"), "/sim/shared": shared, "/sim/drive": drive}
            machine = Machine(f"machine-{number}", self.world, mounts, skew)
            machine.kinds = {"/sim/home": "ext4", "/sim/shared": "nfs4", "/sim/drive": "fuse.drive"}
            machine.lockless = {"/sim/drive"} if history.locks else {"/sim/drive", "/sim/shared"}
            self.world.machines.append(machine)
        self.drives = [disk for one in self.world.machines if isinstance(disk := one.mounts["/sim/drive"], Mount)]
        for drive in self.drives:
            drive.others = [other for other in self.drives if other is not drive]
        self.world.local = history.place == "home"
        self.world.pace = float(history.pace)
        self.judge = Judge(self)
        self.has_locks = history.place == "home" or (history.place == "shared" and history.locks)
        self.store_kind: type[LocalStore] | type[DriveStore] = LocalStore if self.has_locks else DriveStore
        self.request = {**REQUEST, "seconds": history.tokens * TOKEN_SECONDS, "items": history.items}
        self.request["chunks"] = history.chunks
        self.edited = False
        self.others = Others(self)
        self.late = history.place == "drive" and not history.alone  # files of one machine reach the other late
        self.world.removed = self.judge.removed

    def play(self) -> list[str]:
        """Play the history and return what happened; Violation if something that must be true is not."""
        with self.judge.watching():
            for number, step in enumerate(self.history.steps, 1):
                self.world.lines.append(f"{number}. {step.words}")
                self.world.tally.steps[step.act] += 1
                self._step(step, number - 1)
            self._finish()
        return self.world.lines

    def machine(self, step: Step) -> Machine:
        """Return the machine of a step."""
        return self.world.machines[step.machine]

    def look(self, machine: Machine) -> Snapshot | None:
        """Return the song as a new process on a machine reads it, None if there is none."""
        found: Snapshot | None = self.quietly(machine, lambda: snapshot(self.root, self.late, self.judge.only_begun))
        return found

    def quietly(self, machine: Machine, work: Callable[[], Any]) -> Any:
        """Return the result of some work to which nothing happens; Violation if it raises."""
        process = self.world.run(machine, work)
        if process.error is not None:
            raise Violation(f"reading the song raised {process.error!r}") from process.error
        return process.result

    def _step(self, step: Step, number: int) -> None:
        if step.act == "exchange":
            for drive in self.drives:
                fates = drive.send(self.world.chance, self.history.lossy)
                self.world.lines.append(f"    files {', '.join(fates) or 'stay'}")
            for drive in self.drives:
                drive.receive(self.world.chance)
            return
        steps = (step, *step.beside)
        machine = self.machine(step)
        before = self.look(machine)
        if len(steps) > 1:
            self._together(steps, number, before)
            return
        planned = self._rehearsed(step) if step.act in EDITS and before else None
        process = self.world.run(machine, self.work(step), step.faults, (number, 0))
        self._told(step, process)
        self.judge.ended(step, process, alone=True)
        self.judge.after(step, process, before, planned)

    def _together(self, steps: tuple[Step, ...], number: int, before: Snapshot | None) -> None:
        self.edited = self.edited or any(step.act in EDITS for step in steps)
        processes = [
            self.world.start(self.machine(step), self.work(step), step.faults, (number, which))
            for which, step in enumerate(steps)
        ]
        for step, process in zip(steps, processes, strict=True):
            process.wake += step.delay
        self.world.run_all()
        for step, process in zip(steps, processes, strict=True):
            self._told(step, process)
        self.judge.after_many(steps, processes, before)

    def _told(self, step: Step, process: Process) -> None:
        how = "done" if process.error is None else f"{type(process.error).__name__} {process.error}"
        self.world.lines.append(f"    {step.act} by process {process.pid}: {how}")

    def _rehearsed(self, step: Step) -> Snapshot | JukeboxKitError:
        """Return the song as the step leaves it if nothing happens, or the error that it ends with."""
        self.edited = True
        world, machine = self.world, self.machine(step)
        kept, now, lines, ids = dict(machine.mounts), world.now, len(world.lines), world.ids
        chance, clock = world.chance.getstate(), machine.skew
        machine.mounts = {place: disk.copy() for place, disk in machine.mounts.items()}
        try:
            with self.judge.away():
                process = world.run(machine, self.work(step))
                if process.error is not None:
                    if not isinstance(process.error, JukeboxKitError):
                        raise Violation(f"{step.act} raised {process.error!r}") from process.error
                    return process.error
                planned = self.look(machine)
                assert planned is not None
                return planned
        finally:
            machine.mounts, world.now, world.ids, machine.skew = kept, now, ids, clock
            world.chance.setstate(chance)
            del world.lines[lines:]

    def _finish(self) -> None:
        """Finish the song undisturbed, and check the whole of it."""
        self.world.now += 100.0  # a lease of a machine that is gone has ended
        if self.history.place == "drive":
            self._settle()
            self.late = False
        step = Step("sample", 0, (self.history.until, 30, 0, 2))
        # Where the mount lacks the song's beginning for good, only the machine with its journal can.
        beginning_lost = self.history.lossy or self.judge.only_begun
        for machine in self.world.machines if beginning_lost else self.world.machines[:1]:
            process = self.world.run(machine, self.work(step))
            self._told(step, process)
            if process.error is None:
                self.judge.whole(machine)
                return
        raise Violation(f"the song could not be finished: {process.error!r}") from process.error

    def _settle(self) -> None:
        """Let everything travel that is still on its way."""
        for drive in self.drives:
            drive.settle()
        for drive in self.drives:
            drive.show_all()

    # What processes do ---------------------------------------------------------------------------------------------

    def work(self, step: Step) -> Callable[[], Any]:
        """Return what the process of a step does."""
        others: Callable[[Step], Any] = getattr(self.others, step.act, self._edit)
        act: Callable[[Step], Any] = getattr(self, f"_{step.act}", others)
        return lambda: act(step)

    def _opened(self) -> Song:
        """Return the song, created if it does not exist yet."""
        if is_song(self.root):
            return Song.open(self.root)
        return Song.create(self.root, self.model, **self.request)  # type: ignore[arg-type]  # a stand-in

    def _sample(self, step: Step) -> None:
        until, save_every, stop, batch = step.numbers
        count = iter(range(stop or 10**9))
        calls: list[bool] = []

        def stopped() -> bool:
            calls.append(next(count, None) is None)
            if calls[-1] and sum(calls) > 1:
                raise Violation("work went on after a stop")
            return calls[-1]

        previews = max(25.0, 8.0 * self.history.pace)
        run = RunSettings(save_every=float(save_every), preview_every=previews, stop=stopped, batch_size=batch)
        song, looks = self._opened(), self.world.tokens
        try:
            sample(song, until, self.model, run)  # type: ignore[arg-type]
        except StoppedError:
            return
        if len(calls) < self.world.tokens - looks and not self.world.lively:
            raise Violation("work does not look whether it should stop")

    def _upsample(self, step: Step) -> Any:
        song = self._opened()
        items = None if step.numbers[0] % 2 else [step.numbers[0] % song.request.items]
        upsample(song, items, 0, self.model, RunSettings(save_every=9.0))  # type: ignore[arg-type]

    def _shard(self, step: Step) -> Any:
        level, which, save_every = step.numbers
        song = self._opened()
        rows = song.request.items * len(song.state.layout(level).starts)
        first = which % rows
        run = RunSettings(save_every=float(save_every))
        sample_shard(song, level, range(first, first + 1), self.model, run)  # type: ignore[arg-type]

    def _fork(self, step: Step) -> Any:
        song = Song.open(self.root)
        other = self.root.with_name(f"fork-{step.numbers[0]}")
        at = None if step.numbers[0] % 2 else song.request.seconds
        fork(song, other, at, self.model)  # type: ignore[arg-type]

    def _edit(self, step: Step) -> Any:
        song = Song.open(self.root)
        number, model = (*step.numbers, 0)[0], self.model
        if step.act == "extend":
            return extend(song, (1 + number % 2) * TOKEN_SECONDS, model)  # type: ignore[arg-type]
        if step.act == "trim":
            return trim(song, max(1, number % 4) * TOKEN_SECONDS, model)  # type: ignore[arg-type]
        if step.act == "choose":
            return choose(song, number % song.request.items)
        if step.act == "visit":
            return visit(song, str(1 + number % 4))
        return {"vary": vary, "undo": undo, "redo": redo}[step.act](song)

    def _litter(self, step: Step) -> Any:
        path = self.root / LITTER[step.numbers[0] % len(LITTER)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"litter")
