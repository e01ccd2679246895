"""Files of a song folder: written whole or not at all, and one process at a time.

Everything a song keeps goes through a Store, so that other kinds of disks need another Store and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.errors import SongBusyError, SongError

Codes = NDArray[np.int16]
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


class Store(Protocol):
    """Where a song's files are kept. Names are relative, with forward slashes."""

    root: Path

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Keep a file: afterwards `read` gives either this content or, had it been cut short, the one before."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Return a context in which no other process works on the song; SongBusyError says who does."""
        ...


class LocalStore:
    """A folder on a disk where a rename replaces a file at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        """See Store."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SongError(explain(self.root / name, error, "read")) from None

    def write(self, name: str, content: bytes) -> None:
        """See Store: written beside, flushed to the disk, read back, and only then put in the old one's place."""
        path = self.root / name
        beside = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if beside.read_bytes() != content:
                raise SongError(f"{path} did not come back from the disk as it was written; check the disk.")
            beside.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):  # a disk that takes no file may not give one back either
                beside.unlink()
            raise SongError(explain(path, error, "written")) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See Store. The system takes the lock back when its holder ends, however it ends."""
        path = self.root / ".lock"
        try:
            file = path.open("a+")
        except OSError as error:
            raise SongError(explain(path, error, "written")) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise SongBusyError(f"{self.root} is being worked on by {holder}; wait for it or stop it.") from None
            except OSError as error:
                raise SongError(explain(path, error, "locked")) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain(path: Path, error: OSError, done: str) -> str:
    """Return one sentence about a file that could not be read or written, and what to do."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return f"{path} could not be {done}: {reason}."


def pack_codes(codes: Codes, primed: int) -> bytes:
    """Return codes (items, tokens) as a safetensors file with their checksum and how many tokens the prompt gave."""
    done = (codes >= 0).sum(1).tolist()
    metadata = {"tokens_done": json.dumps(done), "primed": str(primed), "sha256": _digest(codes)}
    return save({"codes": np.ascontiguousarray(codes)}, metadata)


def unpack_codes(content: bytes, name: str) -> tuple[Codes, int]:
    """Return the codes of such a file and its count of prompt tokens; SongError where it is damaged."""
    try:
        codes: Codes = load(content)["codes"]
        metadata = read_metadata(content)
        whole = metadata["sha256"] == _digest(codes)
    except (SafetensorError, KeyError, ValueError):
        whole, codes, metadata = False, np.zeros((0, 0), np.int16), {}
    if not whole:
        raise SongError(f"{name} is damaged; put back a copy of it, or delete it to sample that level again.")
    return codes, int(metadata["primed"])


def read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file: 8 bytes of header length, then the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found


def _digest(codes: Codes) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest()
