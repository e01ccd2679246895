"""Which store a folder needs, by its file system and a test of what it does."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jukebox_kit._files import explain, explained
from jukebox_kit.errors import RequestError
from jukebox_kit.song.files import SEGMENTS
from jukebox_kit.song.store.base import Store
from jukebox_kit.song.store.drive import DriveStore
from jukebox_kit.song.store.local import LocalStore

OVERRIDE = "JUKEBOX_KIT_STORE"

KINDS = ("local", "segments")

# File systems with atomic rename and a reliable fsync.
_RELIABLE = frozenset(
    [
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "f2fs",
        "jfs",
        "bcachefs",
        "overlay",
        "tmpfs",
        "ramfs",
        "squashfs",
        "apfs",
        "hfs",
        "ufs",
        "nfs",
        "nfs4",
        "virtiofs",
        "lustre",
        "gpfs",
        "ceph",
    ]
)


# They say nothing of what a disk can do.
_FULL_OR_CLOSED = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)
_PASSING = (errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class Disk:
    """What a folder's disk needs. kind: the store, "local" or "segments". why: the reason as text."""

    kind: str
    why: str


def open_store(root: Path) -> Store:
    """Return the store of a song's folder, which need not exist yet; SongError if the disk does not answer."""
    with explained(root, "read"):
        if (root / SEGMENTS).is_dir():
            return DriveStore(root)
        return LocalStore(root) if examine_disk(root).kind == "local" else DriveStore(root)


def examine_disk(folder: Path) -> Disk:
    """Return what kind of store `folder` needs; it need not exist yet. SongError if its disk does not answer."""
    forced = os.environ.get(OVERRIDE)
    if forced:
        if forced not in KINDS:
            raise RequestError(f"{OVERRIDE} is {forced!r}; set it to local or segments, or unset it.")
        return Disk(forced, f"{OVERRIDE} says so")
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    kind = file_system(existing)
    if kind is not None and kind not in _RELIABLE:
        return Disk("segments", f"{kind} may deliver files late or incomplete")
    with explained(folder, "written"):
        fault = _fault(existing)
    return Disk("segments", fault) if fault else Disk("local", f"{kind or 'the disk'} replaces files at once")


def file_system(path: Path) -> str | None:
    """Return the kind of file system that a path is on, such as ext4 or fuse.drive; None if unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return None
    longest: tuple[int, str] | None = None  # the length of a mount point, and the file system mounted there
    whole = str(path.resolve())
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        mount = os.fsdecode(re.sub(rb"\\([0-7]{3})", _byte, fields.split()[4]))  # spaces are written \040
        inside = whole == mount or whole.startswith(mount.rstrip("/") + "/")
        if inside and (longest is None or len(mount) >= longest[0]):
            longest = len(mount), rest.split()[0].decode()
    return None if longest is None else longest[1]


def _byte(octal: re.Match[bytes]) -> bytes:
    return bytes([int(octal[1], 8)])


def _fault(folder: Path) -> str | None:
    """Return why the disk cannot have a local store; None if it can, and for a read-only disk.

    OSError if it does not answer now: another process would then choose another store.
    """
    first, second = (folder / f".jukebox-kit-{uuid.uuid4().hex[:8]}" for _ in range(2))
    try:
        first.write_bytes(b"new")
        second.write_bytes(b"old")
        first.replace(second)
        if first.exists() or second.read_bytes() != b"new":
            return "a rename does not replace a file here"
        with second.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:
        return None
    except OSError as error:
        if error.errno in _PASSING:
            raise
        return None if error.errno in _FULL_OR_CLOSED else explain(second, error, "replaced").rstrip(".")
    finally:
        for path in (first, second):
            with suppress(OSError):
                path.unlink()
    return None
