"""What the file of a lease says of its owner, and whether that owner may still be alive."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jukebox_kit._files import explain, explained
from jukebox_kit.errors import SongError
from jukebox_kit.song.files import LEASE_PREFIX, lease_name

MAX_CLOCK_DIFFERENCE_SECONDS = 1800.0  # between two machines

_SOMEBODY_S = (errno.EACCES, errno.EPERM, errno.ESTALE)  # why the lease of another owner may not be read

held_here: set[str] = set()  # the leases that this process holds


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
    return Mark(uuid.uuid4().hex[:12], pid, _process_start(pid), this_machine(), socket.gethostname(), now, now)


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
        except (OSError, ValueError, TypeError) as error:  # incomplete: another process is writing it, or was
            if isinstance(error, OSError) and error.errno not in _SOMEBODY_S:
                raise SongError(explain(path, error, "read")) from None
            with suppress(OSError):
                at = path.stat().st_mtime
                owner = path.name.removeprefix(LEASE_PREFIX).removesuffix(".json")
                found.append(Mark(owner, 0, "", "?", "another machine", at, at))
    return found


def may_live(mark: Mark, has_locks: bool) -> bool:
    """Return False if an owner on this machine is gone, or released it without a trace; others may be alive."""
    if mark.machine != this_machine():
        return True
    own = mark.process == os.getpid() and mark.owner not in held_here
    return not (has_locks or own) and _process_start(mark.process) == mark.started


def is_old(mark: Mark) -> bool:
    """Return whether a lease was renewed so long ago that no difference of clocks explains it."""
    return time.time() - mark.renewed > MAX_CLOCK_DIFFERENCE_SECONDS


def this_machine() -> str:
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
