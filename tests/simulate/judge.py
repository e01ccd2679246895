"""What must be true after every step of a history, whatever went wrong in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from jukebox_kit._files import is_litter
from jukebox_kit.engine import UNSAMPLED
from jukebox_kit.errors import JukeboxKitError, SongBusyError
from jukebox_kit.model import LEVELS
from jukebox_kit.song import sounds_complete, unpack_codes
from jukebox_kit.song.files import SEGMENTS
from jukebox_kit.song.store import drive, local
from jukebox_kit.song.store.drive import DriveStore
from jukebox_kit.song.store.lease import EXPIRY_SECONDS, Lease
from jukebox_kit.song.store.local import LocalStore
from tests.simulate.disk import Folder
from tests.simulate.history import EDITS, Step
from tests.simulate.machines import Killed, Machine, Process
from tests.simulate.snapshot import Snapshot, is_not_arrived
from tests.simulate.standin import wrong_tokens

if TYPE_CHECKING:
    from tests.simulate.play import Player

RETURNS = {"undo", "redo", "visit"}  # edits that bring back another history

KNOWN = re.compile(
    r"song\.json|index\.html|spectrogram\.png|prompt\.wav|\.lock|\.lease-\w+\.json"
    r"|level_[012]/(codes\.safetensors|item_\d+\.(wav|png))"
    r"|versions/(\d+|next)/(song\.json|level_[012]/codes\.safetensors)"
    r"|segments/\d{6}-[0-9a-f]{16}(-\d+)?\.safetensors"
    r"|shares/level_[012]_rows_\d+-\d+_[0-9a-f]+/(codes\.safetensors|share\.json|\.lock|\.lease-\w+\.json|segments/.*)"
)


class Violation(Exception):
    """Something that must be true is not."""


class Judge:
    """Watches what stores report as saved, and checks the song after each step."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.saved: dict[tuple[str, str], bytes] = {}  # by folder and name, what was last reported as saved
        self.tried: dict[tuple[str, str], list[bytes]] = {}  # what was begun to be saved since
        self.holders: dict[str, Process] = {}  # by folder, who took it last and has not released it
        self.takers: dict[str, Process] = {}  # by folder, who took it last
        self.renewed: dict[tuple[str, Process | None], float] = {}  # when a process last renewed its lease on a folder
        self.cut_off, self.cuts = False, 0  # see `_unsure`
        self.on_mount: set[str] = set()  # folders all of whose saves were once on the mount
        self.watched = True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note every write of a store, and that it returned."""
        world = self.player.world

        def noted(real: Any) -> Any:
            def write(store: Any, name: str, content: bytes) -> None:
                key, writer = (str(store.root), name), world.current
                if self.watched:
                    self.tried.setdefault(key, []).append(content)
                    follower = self.takers.get(key[0], writer)
                real(store, name, content)
                if self.watched:
                    self.saved[key], self.tried[key] = content, []
                    if isinstance(store, LocalStore) or not store._waiting:
                        self.on_mount.add(key[0])
                    if follower is not writer and store._lease is not None:
                        raise Violation(f"a process wrote {name} after another one took over")

            return write

        def held(real: Any) -> Any:
            @contextmanager
            def hold(root: Path, settle: float = 0.0) -> Iterator[Any]:
                with real(root, settle) as lease:
                    self._took(str(root))
                    try:
                        yield lease
                    finally:
                        if self.holders.get(str(root)) is world.current:
                            del self.holders[str(root)]

            return hold

        def renewed(real: Any) -> Any:
            def renew(lease: Lease) -> None:
                lapsed = lease._written and lease._lapsed
                real(lease)
                if not lapsed:  # else it looks for others before it goes on
                    self.renewed[str(lease.root), world.current] = world.now

            return renew

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(Lease, "renew", renewed(Lease.renew)))
            for store, module in ((LocalStore, local), (DriveStore, drive)):
                stack.enter_context(mock.patch.object(store, "write", noted(store.write)))
                stack.enter_context(mock.patch.object(module, "hold", held(module.hold)))
            yield

    def _took(self, root: str) -> None:
        """Note who holds a folder; without locks it is free once its holder has not renewed its lease for long."""
        process, before = self.player.world.current, self.holders.get(root)
        if not self.watched or process is None:
            return
        silent = self.player.world.now - self.renewed.get((root, before), 0.0) >= EXPIRY_SECONDS
        if before is not None and not before.dead and before is not process and (self.player.has_locks or not silent):
            raise Violation(f"processes {before.pid} and {process.pid} both hold {root}")
        self.holders[root] = self.takers[root] = process

    @contextmanager
    def away(self) -> Iterator[None]:
        """Do not note what is only rehearsed."""
        self.watched = False
        try:
            yield
        finally:
            self.watched = True

    def removed(self, folder: str) -> None:
        """Note that the package deletes a folder, as it does with shards whose rows are merged."""
        if not self.watched:
            return
        gone = [key for key in self.saved if key[0] == folder]
        shard = re.search(r"level_(\d)_rows_(\d+)", folder)
        codes = self.saved.get((folder, "codes.safetensors"))
        if shard and codes and self.player.history.alone and not self.player.edited and self.player.history.chunks == 1:
            rows = unpack_codes(codes, folder).codes
            merged = self.saved.get((str(self.player.root), f"level_{shard[1]}/codes.safetensors"), b"")
            level = unpack_codes(merged, folder).codes[int(shard[2]) :][: len(rows)]
            if not np.array_equal(level[rows != UNSAMPLED], rows[rows != UNSAMPLED]):
                raise Violation(f"{folder} was deleted before it was merged")
        for key in gone:
            del self.saved[key]

    def after(self, step: Step, process: Process, before: Snapshot | None, planned: Any) -> None:
        """Check a step that ran alone."""
        machine = self.player.machine(step)
        before = None if self._unsure([process]) else before
        first = self.player.world.machines[0]
        wrong = self.player.quietly(first, lambda: self.player.others.faults(first))
        if wrong:
            raise Violation(wrong[0])
        if step.act in ("train", "fetch"):
            return
        now = self._seen(machine, before)
        if now is None:
            return
        if step.act in EDITS and before is not None:
            self._edited(step, process, before, now, planned)
        elif before is not None and self.player.history.alone:
            self._grew(before, now)
        self._files(machine)

    def after_many(self, steps: tuple[Step, ...], processes: list[Process], before: Snapshot | None) -> None:
        """Check steps that ran beside each other."""
        for step, process in zip(steps, processes, strict=True):
            self.ended(step, process)
        before = None if self._unsure(processes) else before
        now = self._seen(self.player.machine(steps[0]), before)
        if now is None or before is None:
            return
        if self.player.history.alone and not any(step.act in EDITS for step in steps):
            self._grew(before, now)
        acts = [step.act for step, process in zip(steps, processes, strict=True) if process.error is None]
        done = sum(act in EDITS for act in acts)
        if not self.player.late and not set(acts) & RETURNS and now.events < before.events + done:
            raise Violation(f"{', '.join(acts)} are done, and the history lacks an edit")

    def _seen(self, machine: Machine, before: Snapshot | None) -> Snapshot | None:
        """Return the song as a machine sees it, after checks that hold for all steps; None if it sees no song."""
        self._kept(machine)
        now = self.player.look(machine)
        if now is None:
            if before is not None and self.player.history.alone:
                raise Violation("the song is gone")
            return None
        self._valid(now)
        if before is not None:
            self._versions(before, now)
        return now

    def whole(self, machine: Machine) -> None:
        """Check a song that was finished."""
        self._kept(machine)
        now = self.player.look(machine)
        if now is None:
            raise Violation("the finished song is gone")
        self._valid(now)

        def left() -> list[str]:
            state = now.song.state
            levels = LEVELS[self.player.history.until :]
            return [f"level {n}" for n in levels if not (state.finished(n) and sounds_complete(state, n))]

        safety = self.player.quietly(machine, now.song.store.safety)
        if safety.there < safety.here:
            raise Violation(f"{safety.here} saves were made, and {safety.there} are on the mount")
        unfinished = self.player.quietly(machine, left)
        if unfinished:
            raise Violation(f"{', '.join(unfinished)} is not finished")
        self._files(machine)

    def _unsure(self, processes: list[Process]) -> bool:
        """Return whether what was read before a step may be gone after it.

        A process that was cut off, or that reported an error, may have left what was never flushed; it can be read,
        until the power is cut.
        """
        cuts, self.cuts = self.cuts, self.player.world.cuts
        gone = self.cut_off and self.cuts > cuts
        failed = any(process.error is not None for process in processes)
        self.cut_off = failed or (self.cut_off and self.cuts == cuts)
        return gone

    def ended(self, step: Step, process: Process, alone: bool = False) -> None:
        """Check how a process ended: killed, done, or with an error of one sentence that has a cause."""
        error = process.error
        if error is None or isinstance(error, Killed):
            return
        if not isinstance(error, JukeboxKitError) or "\n" in str(error):
            raise Violation(f"{step.act} raised {error!r}") from error
        rebooted = self.player.world.now - self.player.world.disturbed < 2 * EXPIRY_SECONDS  # a lease may be left
        if isinstance(error, SongBusyError) and alone and rebooted:
            return
        if alone and isinstance(error, SongBusyError):
            raise Violation(f"nobody works on the song, but {step.act} was refused: {error}")
        if self.player.late or (self.only_begun and is_not_arrived(error, self.player.root)):
            return
        if alone and not step.faults and step.act == "sample":
            raise Violation(f"{step.act} failed though nothing happened: {error}")

    @property
    def only_begun(self) -> bool:
        """Whether the song never was on the mount: another machine than the one that began it cannot read it."""
        return str(self.player.root) not in self.on_mount

    def _kept(self, machine: Machine) -> None:
        """Check that every file is what was last reported as saved, or what was begun to be saved after that."""
        if not self.player.history.alone:
            return  # what one machine saved may be on its way to the other

        def read() -> list[str]:
            lost: list[str] = []
            kind = self.player.store_kind
            for root in {root for root, _ in self.saved} if kind is DriveStore else ():
                folder = machine.disk(root).find(root)
                if not isinstance(folder, Folder) or all(name.startswith(".") for name in folder.entries):
                    for key in [key for key in self.saved if key[0] == root]:  # an emptied folder is no song
                        del self.saved[key]
            segments = {root for root, _ in self.saved if machine.disk(root).find(f"{root}/{SEGMENTS}")}
            stores = {root: (DriveStore if root in segments else kind)(Path(root)) for root, _ in self.saved}
            for (root, name), content in self.saved.items():
                there = stores[root].read(name)
                later = self.tried.get((root, name), [])
                if there != content and there not in later:
                    lost.append(f"{root}/{name}")
            return lost

        lost = self.player.quietly(machine, read)
        if lost:
            raise Violation(f"{', '.join(lost)} was saved, and is lost")

    def _valid(self, now: Snapshot) -> None:
        song, model = now.song, self.player.model.definition
        wrong = wrong_tokens(song.request, song.resolved, now.levels, model, self.player.late)
        if wrong:
            raise Violation(f"tokens are wrong: {wrong[0]} and {len(wrong) - 1} more")

    def _versions(self, before: Snapshot, now: Snapshot) -> None:
        if not self.player.history.alone:
            return
        changed = [name for name, digest in before.versions.items() if now.versions.get(name) != digest]
        if changed:
            raise Violation(f"version {changed[0]} was changed or lost")

    def _edited(self, step: Step, process: Process, before: Snapshot, now: Snapshot, planned: Any) -> None:
        if isinstance(planned, JukeboxKitError):
            if process.error is None or not now.same(before):
                raise Violation(f"{step.act} was refused before, and now changed the song")
            return
        if now.same(planned):
            return
        if process.error is None or not now.same(before):
            raise Violation(f"{step.act} is neither done nor not done")

    def _grew(self, before: Snapshot, now: Snapshot) -> None:
        for level, codes in before.levels.items():
            known = codes.codes != UNSAMPLED
            if not np.array_equal(now.levels[level].codes[known], codes.codes[known]):
                raise Violation(f"tokens of level {level} that were saved have changed")

    def _files(self, machine: Machine) -> None:
        root = str(self.player.root)
        for path, node in machine.disk(root).walk(root):
            name = re.sub(r" \(1\)", "", path[len(root) + 1 :])  # as a mount names the second of two
            if hasattr(node, "content") and not KNOWN.fullmatch(name) and not any(map(is_litter, name.split("/"))):
                raise Violation(f"the disk holds {name}")
