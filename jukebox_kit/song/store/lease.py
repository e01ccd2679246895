"""One owner at a time: a lease that a living owner renews and that expires by itself.

If the disk has locks (flock), the system releases the lock when its holder dies, however it dies; that decides between
processes that share the disk. In addition each owner writes a small file of its own, `.lease-….json`, which tells
others who it is, and lets owners on machines without shared locks, as on Google Drive, see each other: an owner whose
file has not been renewed for `EXPIRY_SECONDS` is gone. Clocks of two machines are never compared closely: an unknown
owner's lease is watched for as long as a lease lasts.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jukebox_kit._files import exists, explain, explained, replacing, shown_path
from jukebox_kit.errors import SongBusyError, SongError
from jukebox_kit.song.files import LEASE_PREFIX, LOCK, lease_name

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 60.0  # without renewal, after which an owner counts as gone

RENEWAL_SECONDS = 15.0  # between renewals

MAX_CLOCK_DIFFERENCE_SECONDS = 1800.0  # between two machines

_IDENTIFY_SECONDS = 2.0  # for the holder of the lock to write who it is

_active: set[str] = set()  # the leases that this process holds

_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK, errno.EBADF)


@dataclass(frozen=True)
class Mark:
    """The content of a lease file. Times are seconds since 1970 by the owner's clock."""

    owner: str
    process: int
    started: str  # the process's start time as the system counts it, because process ids are reused
    machine: str  # one boot of one machine or container
    host: str
    acquired: float
    renewed: float
    sure: bool = False  # the owner has looked for others and found none

    @property
    def who(self) -> str:
        """The owner, as text."""
        return f"process {self.process} on {self.host}"

    @property
    def rank(self) -> tuple[bool, float, str]:
        """Order among owners that took it at the same time; the smallest keeps it."""
        return not self.sure, self.acquired, self.owner


def own_mark() -> Mark:
    """Return a new lease of this process."""
    now, pid = time.time(), os.getpid()
    return Mark(uuid.uuid4().hex[:12], pid, _process_start(pid), _machine(), socket.gethostname(), now, now)


class Lease:
    """The lease of this process on one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.mark = root, own_mark()
        self.has_locks = False
        self._gone_marks: set[Mark] = set()  # their files may still be there, if the disk refuses to delete them
        self._written = 0.0  # by `_clock`
        self._stop = threading.Event()

    def take(self, has_locks: bool, settle: float) -> None:
        """Wait until unknown owners prove gone, then write the lease; SongBusyError if another process holds it.

        has_locks: this process holds the system's lock, so no other process on this machine does. Call `end` even if
        this raises: the lease may already have been written.
        """
        self.has_locks = has_locks
        self._wait_for_others()
        _active.add(self.mark.owner)
        self.renew()
        if not has_locks:
            time.sleep(settle)
        rivals = [m for m in self._others() if m.rank < self.mark.rank]
        if rivals:
            raise _busy(self.root, rivals[0])
        self.mark = replace(self.mark, sure=True)
        self.renew()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def renew(self) -> None:
        """Write the lease file again; SongError if it cannot be written."""
        self.mark = replace(self.mark, renewed=time.time())
        try:
            with replacing(self._path, durable=False) as beside:  # soon renewed, and worthless after a power cut
                beside.write_text(json.dumps(asdict(self.mark)))
        except OSError as error:
            raise SongError(explain(self._path, error, "written")) from None
        self._written = _clock()

    def check(self) -> None:
        """Raise SongBusyError if this process was suspended for so long that another one took over the song."""
        if not self._lapsed:
            return
        try:
            others, removed = [m for m in self._others() if not _old(m)], not exists(self._path)
        except SongError:
            return  # the disk is away for a moment; the write that follows decides
        if others or removed:  # whoever took over has removed this lease, and may have ended since
            who = others[0].who if others else "another process"
            raise SongBusyError(f"{shown_path(self.root)} was taken over by {who} while this process was suspended.")
        with suppress(SongError):
            self.renew()

    def end(self) -> None:
        """Release the lease."""
        self._stop.set()
        _active.discard(self.mark.owner)
        with suppress(OSError):
            self._path.unlink()

    def _others(self) -> list[Mark]:
        """Return the leases of all other owners that may be alive."""
        others = (m for m in marks(self.root) if m.owner != self.mark.owner and m not in self._gone_marks)
        return [m for m in others if _may_live(m, self.has_locks)]

    def _wait_for_others(self) -> None:
        """Return when nobody holds the folder; an unknown lease is watched until it proves alive or gone."""
        watched: dict[str, tuple[float, float]] = {}
        while True:
            waiting = [m for m in marks(self.root) if not self._gone(m, watched)]
            if not waiting:
                return
            if not watched:
                log.warning(
                    "%s: waiting up to %.0f seconds to see whether %s is gone",
                    self.root,
                    EXPIRY_SECONDS,
                    waiting[0].who,
                )
            for mark in waiting:
                renewed, _ = watched.setdefault(mark.owner, (mark.renewed, time.monotonic()))
                if mark.machine == _machine() or mark.renewed != renewed:
                    raise _busy(self.root, mark)
            time.sleep(min(1.0, EXPIRY_SECONDS / 10))

    def _gone(self, mark: Mark, watched: dict[str, tuple[float, float]]) -> bool:
        renewed, since = watched.get(mark.owner, (mark.renewed, time.monotonic()))
        silent = mark.renewed == renewed and time.monotonic() - since > EXPIRY_SECONDS
        gone = silent or _old(mark) or not _may_live(mark, self.has_locks)
        if gone:
            self._gone_marks.add(mark)
            with suppress(OSError):
                (self.root / lease_name(mark.owner)).unlink()
        return gone

    @property
    def _path(self) -> Path:
        return self.root / lease_name(self.mark.owner)

    @property
    def _lapsed(self) -> bool:
        return _clock() - self._written >= EXPIRY_SECONDS

    def _beat(self) -> None:
        while not self._stop.wait(RENEWAL_SECONDS):
            if not self._lapsed:  # else another process may have taken over, which `check` finds out
                with suppress(SongError):  # the disk may be away for a moment
                    self.renew()


@contextmanager
def hold(root: Path, settle: float = 0.0) -> Iterator[Lease]:
    """Hold a folder; SongBusyError names the process that already does.

    settle: seconds until a file written elsewhere is visible here, for disks without locks.
    """
    with _locked(root) as has_locks:
        lease = Lease(root)
        try:
            lease.take(has_locks, settle)
            yield lease
        finally:
            lease.end()


def marks(root: Path) -> list[Mark]:
    """Return every lease in a folder, whether its owner is alive or not; SongError if the disk does not answer."""
    found: list[Mark] = []
    with explained(root, "read"):
        paths = sorted(root.glob(lease_name("*")))
    for path in paths:
        try:
            found.append(Mark(**json.loads(path.read_text())))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError):  # incomplete: another process is writing it, or was
            with suppress(OSError):
                at = path.stat().st_mtime
                owner = path.name.removeprefix(LEASE_PREFIX).removesuffix(".json")
                found.append(Mark(owner, 0, "", "?", "another machine", at, at))
    return found


def holder(root: Path) -> str | None:
    """Return which process works on a folder, based on a quick check; None if none does.

    An owner on another machine counts while its lease is renewed, by this machine's clock.
    """
    here, now = _machine(), time.time()
    alive = (m for m in marks(root) if _may_live(m, False) and (m.machine == here or now - m.renewed < EXPIRY_SECONDS))
    return next((mark.who for mark in alive), None)


@contextmanager
def _locked(root: Path) -> Iterator[bool]:
    """Hold the system's lock on a folder; yields whether the disk supports locks."""
    try:
        # Not opened for writing, so that the disk can still be remounted read-only; the next save then reports it.
        handle = os.open(root / LOCK, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise SongError(explain(root / LOCK, error, "written")) from None
    try:
        yield _flock(handle, root)
    finally:
        os.close(handle)


def _flock(handle: int, root: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        until = time.monotonic() + _IDENTIFY_SECONDS
        while time.monotonic() < until:
            for mark in marks(root):
                if _may_live(mark, False) and not _old(mark):
                    raise _busy(root, mark) from None
            time.sleep(0.02)
        raise SongBusyError(
            f"{shown_path(root)} is being worked on by another process; wait for it or stop it."
        ) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise SongError(explain(root / LOCK, error, "locked")) from None
    return True


def _busy(root: Path, mark: Mark) -> SongBusyError:
    return SongBusyError(f"{shown_path(root)} is being worked on by {mark.who}; wait for it or stop it.")


def _may_live(mark: Mark, has_locks: bool) -> bool:
    """Return False if an owner on this machine is gone, or released it without a trace; others may be alive."""
    if mark.machine != _machine():
        return True
    own = mark.process == os.getpid() and mark.owner not in _active
    return not (has_locks or own) and _process_start(mark.process) == mark.started


def _old(mark: Mark) -> bool:
    return time.time() - mark.renewed > MAX_CLOCK_DIFFERENCE_SECONDS


def _clock() -> float:
    """Return seconds that also pass while the machine sleeps, in which Linux's CLOCK_MONOTONIC stops."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _machine() -> str:
    """Return a name for this boot and container, because each numbers its processes separately."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _process_start(pid: int) -> str:
    """Return when a process started, in the system's ticks; empty if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)  # a system without /proc: an id that is in use has to suffice
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "running"
