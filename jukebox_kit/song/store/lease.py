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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from jukebox_kit._files import exists, explain, replacing, shown_path
from jukebox_kit.errors import SongBusyError, SongError
from jukebox_kit.song.files import LOCK, lease_name
from jukebox_kit.song.store.marks import Mark, held_here, is_old, marks, may_live, own_mark, this_machine

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 60.0  # without renewal, after which an owner counts as gone
RENEWAL_SECONDS = 15.0  # between renewals
_IDENTIFY_SECONDS = 2.0  # for the holder of the lock to write who it is
_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK, errno.EBADF)


class Lease:
    """The lease of this process on one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.mark = root, own_mark()
        self.has_locks, self.settle = False, 0.0
        self._gone_marks: set[Mark] = set()  # their files may still be there, if the disk refuses to delete them
        self._written = 0.0  # by `_clock`, when it was last begun to be written
        self._late = False  # it was written again after so long that another process may have taken it for gone
        self._stop = threading.Event()

    def take(self, has_locks: bool, settle: float) -> None:
        """Wait until unknown owners prove gone, then write the lease; SongBusyError if another process holds it.

        has_locks: this process holds the system's lock, so no other process on this machine does. settle: seconds until
        a file written elsewhere is visible here, for disks without locks. Call `end` even if
        this raises: the lease may already have been written.
        """
        self.has_locks, self.settle = has_locks, 0.0 if has_locks else settle
        self._wait_for_others()
        held_here.add(self.mark.owner)
        self.renew()
        time.sleep(self.settle)
        rivals = [m for m in self._others() if m.rank < self.mark.rank]
        if rivals:
            raise _busy(self.root, rivals[0])
        self.mark = replace(self.mark, sure=True)
        self.renew()
        followers = self._others() if self._late else []
        if followers:
            raise _busy(self.root, followers[0])
        self._late = False  # nothing of the folder has been read yet, so what happened meanwhile does not matter
        self._remove_gone()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def renew(self) -> None:
        """Write the lease file again; SongError if it cannot be written."""
        self.mark, begun = replace(self.mark, renewed=time.time()), _clock()
        try:
            with replacing(self._path, durable=False) as beside:  # soon renewed, and worthless after a power cut
                beside.write_text(json.dumps(asdict(self.mark)))
        except OSError as error:
            raise SongError(explain(self._path, error, "written")) from None
        if self._written and self._lapsed:  # the process was suspended on the way
            self._late = True
        self._written = begun

    def check(self) -> None:
        """Raise SongBusyError if this process was suspended for so long that another one took over the song."""
        if self._late:
            raise self._taken_over([])
        if not self._lapsed:
            return
        before, begun = self._written, _clock()
        try:
            self._look_for_followers(lambda _: True)
            self.renew()
            time.sleep(self.settle)  # another process may have been about to take over, without seeing the renewal
            self._look_for_followers(lambda mark: mark.sure or mark.rank < self.mark.rank)
        except SongBusyError:
            raise
        except SongError:  # the disk is away for a moment; the next check decides
            self._written, self._late = before, False
            return
        self._late = _clock() - begun >= EXPIRY_SECONDS  # it was suspended again

    def _look_for_followers(self, counts: Callable[[Mark], bool]) -> None:
        """Raise SongBusyError if another process that counts has taken over."""
        others = [mark for mark in self._others() if not is_old(mark) and counts(mark)]
        if others or not exists(self._path):  # whoever took over has removed this lease, and may have ended since
            raise self._taken_over(others)

    def _taken_over(self, others: list[Mark]) -> SongBusyError:
        who = others[0].who if others else "another process"
        return SongBusyError(f"{shown_path(self.root)} was taken over by {who} while this process was suspended.")

    def _remove_gone(self) -> None:
        """Delete the leases of owners that are gone, unless they were renewed after all."""
        for mark in marks(self.root) if self._gone_marks else ():
            if mark in self._gone_marks:
                self._remove(mark)

    def _remove(self, mark: Mark) -> None:
        with suppress(OSError):
            (self.root / lease_name(mark.owner)).unlink()

    def end(self) -> None:
        """Release the lease."""
        self._stop.set()
        held_here.discard(self.mark.owner)
        with suppress(OSError):
            self._path.unlink()

    def _others(self) -> list[Mark]:
        """Return the leases of all other owners that may be alive."""
        others = (m for m in marks(self.root) if m.owner != self.mark.owner and m not in self._gone_marks)
        return [m for m in others if may_live(m, self.has_locks)]

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
                if mark.machine == this_machine() or mark.renewed != renewed:
                    raise _busy(self.root, mark)
            time.sleep(min(1.0, EXPIRY_SECONDS / 10))

    def _gone(self, mark: Mark, watched: dict[str, tuple[float, float]]) -> bool:
        renewed, since = watched.get(mark.owner, (mark.renewed, time.monotonic()))
        silent = mark.renewed == renewed and time.monotonic() - since > EXPIRY_SECONDS
        gone = silent or is_old(mark) or not may_live(mark, self.has_locks)
        if gone:
            self._gone_marks.add(mark)
            if self.has_locks:  # nobody renews it any more
                self._remove(mark)
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


def holder(root: Path) -> str | None:
    """Return which process works on a folder, based on a quick check; None if none does.

    An owner on another machine counts while its lease is renewed, by this machine's clock.
    """
    here, now = this_machine(), time.time()
    alive = (m for m in marks(root) if may_live(m, False) and (m.machine == here or now - m.renewed < EXPIRY_SECONDS))
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
                if may_live(mark, False) and not is_old(mark):
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


def _clock() -> float:
    """Return seconds that also pass while the machine sleeps, in which Linux's CLOCK_MONOTONIC stops."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
