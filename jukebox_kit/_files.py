"""What keeps a song's files, whatever the disk."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from jukebox_kit.errors import SongError

REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the disk is read-only; make it writable or choose another folder",
    errno.EACCES: "permission is denied; make the folder writable or choose another one",
    errno.EPERM: "permission is denied; make the folder writable or choose another one",
    errno.ENOENT: "the folder is gone; bring it back",
    errno.EIO: "the disk does not answer; connect it again",
    errno.ENOTCONN: "the mount is gone; connect it again",
}


def write_whole(root: Path, name: str, content: bytes) -> None:
    """Write a file below an existing folder: beside, flushed to the disk, read back, then put in the old one's place.

    Raises SongError in a sentence where the disk does not take it; what stood there before stands.
    """
    path = root / name
    beside = path.with_name(f".{path.name}.part")
    try:
        if not root.is_dir():  # made again, it would lie beside what was lost, or under a mount that is gone
            raise FileNotFoundError(errno.ENOENT, "gone", str(root))
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if beside.read_bytes() != content:
            raise SongError(f"{path} did not come back from the disk as it was written; check the disk.")
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # a disk that takes no file may not give one back either
            beside.unlink()
        raise SongError(explain(path, error, "written")) from None


def read_file(path: Path) -> bytes | None:
    """Return a file's content, None where there is none; SongError where the disk does not give it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SongError(explain(path, error, "read")) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it; SongError where the disk does not allow it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SongError(explain(path, error, "written")) from None


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain(path: Path, error: OSError, done: str) -> str:
    """Return one sentence about a file that could not be read or written, and what to do."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return f"{path} could not be {done}: {reason}."
