"""Storage for mounts that may delay, truncate or drop writes, such as Google Drive. See `segments`.

Every save goes first to a journal on this machine's own disk, then to the mount as a new file. Files that the mount has
not accepted yet are written again at each save; another machine later reads the files that did arrive.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from jukebox_kit._files import contents, explain, explained, flush, make_folder, read_file, shown_path, write_atomically
from jukebox_kit.errors import SongError
from jukebox_kit.song.files import SEGMENTS, SONG, VERSIONS, is_kept
from jukebox_kit.song.store.base import Safety
from jukebox_kit.song.store.lease import Lease, hold
from jukebox_kit.song.store.segments import Change, Segment, longest_chain, replayed

log = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0  # until a file written to the mount by any machine is assumed to be listed

MAX_REFUSAL_SECONDS = 600.0  # for which the mount may refuse files before work on the song stops


class Folder(Protocol):
    """A folder of files that are never overwritten."""

    def contents(self) -> Iterator[bytes]:
        """Return the content of each file, in any order; unreadable files are left out.

        SongError if the folder cannot be read.
        """
        ...

    def create(self, name: str, content: bytes) -> None:
        """Create a file of this name, or a similar one if the name is taken. Raises OSError."""
        ...


class DiskFolder:
    """See Folder; a folder of a file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def contents(self) -> Iterator[bytes]:
        """See Folder."""
        with explained(self.path, "read"):
            files = sorted(self.path.glob("*.safetensors*")) if self.path.is_dir() else []
        for file in files:
            try:
                yield file.read_bytes()
            except OSError as error:
                log.info("%s", explain(file, error, "read"))

    def create(self, name: str, content: bytes) -> None:
        """See Folder; flushed to the disk."""
        if not self.path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "gone", str(self.path.parent))
        if not self.path.is_dir():
            self.path.mkdir()
            flush(self.path.parent)
        path, copies = self.path / name, 0
        while path.exists():  # left damaged by an earlier attempt
            copies += 1
            path = self.path / f"{Path(name).stem}-{copies}.safetensors"
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            flush(self.path)
        except OSError:
            with suppress(OSError):
                path.unlink()  # it could be read as saved until the machine stops
            raise


class DriveStore:
    """See `Store`. Files that cannot be recomputed are saved as segments; audio and pictures as plain files."""

    def __init__(self, root: Path, mount: Folder | None = None, journal: Folder | None = None) -> None:
        self.root = root
        self.mount = mount or DiskFolder(root / SEGMENTS)
        self._journal, self._own_journal = journal or DiskFolder(journal_folder(root)), journal is None
        self._lease: Lease | None = None
        self._chain: list[Segment] = []
        self._waiting: list[Segment] = []  # not on the mount yet
        self._elsewhere: list[Segment] = []  # not in the journal yet
        self._files: dict[str, bytes] | None = None
        self._refused_since: float | None = None

    def begin(self) -> None:
        """See Store."""
        make_folder(self.root)

    def read(self, name: str) -> bytes | None:
        """See Store."""
        return self._state().get(name) if is_kept(name) else read_file(self.root / name)

    def names(self, folder: str) -> tuple[str, ...]:
        """See Store; only of files that cannot be recomputed."""
        return tuple(sorted(name for name in self._state() if name.startswith(f"{folder}/")))

    def write(self, name: str, content: bytes) -> None:
        """See Store."""
        if self._lease is not None:
            self._lease.check()
        if not is_kept(name):
            write_atomically(self.root, name, content)
            return
        files = self._state()
        if not self._chain and SONG in files:  # a folder that was copied here from a local disk
            self._append(tuple(Change.between(known, None, held) for known, held in files.items()))
        if files.get(name) != content:
            self._append((Change.between(name, files.get(name), content),))
        self._push()

    def publish(self) -> None:
        """See Store: copies for users and other programs, which this store itself never reads."""
        for name, content in self._state().items():
            if not name.startswith(f"{VERSIONS}/") and read_file(self.root / name) != content:
                write_atomically(self.root, name, content)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See Store."""
        with hold(self.root, SETTLE_SECONDS) as self._lease:
            try:
                self._files = None  # another owner may have changed them
                yield
                self._push(last=True)
            finally:
                self._lease = None

    def safety(self) -> Safety:
        """See Store."""
        self._files = None
        self._state()
        there = self._waiting[0].index - 1 if self._waiting else len(self._chain)
        return Safety("segments", len(self._chain), there)

    def _state(self) -> dict[str, bytes]:
        if self._files is None:
            there = _whole(self.mount)
            songs = {s.song for s in longest_chain(there)[:1]}
            here = [s for s in _whole(self._journal) if not songs or s.song in songs] if self._journal_is_ours() else []
            self._chain = longest_chain([*there, *here])
            if not self._chain and (there or here):
                raise not_arrived(self.root)
            arrived = {s.digest for s in there}
            known = {s.digest for s in here}
            self._waiting = [s for s in self._chain if s.digest not in arrived]
            self._elsewhere = [s for s in self._chain if s.digest not in known]
            self._files = replayed(self._chain) if self._chain else self._plain()
        return self._files

    def _journal_is_ours(self) -> bool:
        """Return whether the journal is of this song, not of one whose folder was removed or emptied."""
        if not self._own_journal:
            return True
        with explained(self.root, "read"):
            return self.root.is_dir() and any(not path.name.startswith(".") for path in contents(self.root))

    def _plain(self) -> dict[str, bytes]:
        """Return the files of a folder that has no segments, as a local store writes it."""
        with explained(self.root, "read"):
            names = [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]
        files = {name: read_file(self.root / name) for name in names if is_kept(name)}
        return {name: content for name, content in files.items() if content is not None}

    def _append(self, changes: tuple[Change, ...]) -> None:
        last = self._chain[-1] if self._chain else None
        song = last.song if last else uuid.uuid4().hex
        segment = Segment(song, last.index + 1 if last else 1, last.digest if last else "", changes)
        journal = journal_folder(self.root)
        if self._own_journal and (last is None or self._elsewhere):  # never recreate a deleted complete one
            make_folder(journal.parent)
        try:
            if last is None and self._own_journal and journal.is_dir():  # of an earlier song in this folder
                journal.rename(journal.with_name(f"{journal.name}-until-{uuid.uuid4().hex[:8]}"))
            for one in (*self._elsewhere, segment):  # the journal must hold the whole song
                self._journal.create(one.name, one.packed())
        except OSError as error:
            self._files = None  # where the file could not be deleted either, the next save must follow it
            raise SongError(explain(journal, error, "written")) from None
        self._elsewhere = []
        self._chain.append(segment)
        self._waiting.append(segment)
        self._files = replayed([segment], self._files)

    def _push(self, last: bool = False) -> None:
        """Write to the mount what it lacks; SongError if it refused for too long, or at the end of the work."""
        try:
            while self._waiting:
                self.mount.create(self._waiting[0].name, self._waiting[0].packed())
                del self._waiting[0]
            self._refused_since = None
        except OSError as error:
            now = time.monotonic()
            if self._refused_since is None:
                self._refused_since = now
                log.warning("%s Continuing; the song is safe on this machine.", explain(self.root, error, "written"))
            if last or now - self._refused_since > MAX_REFUSAL_SECONDS:
                reason = explain(self.root, error, "written").rstrip(".")
                raise SongError(f"{reason}; the whole song is safe on this machine; resume to copy it there.") from None


def not_arrived(root: Path) -> SongError:
    """Return the error for a song whose segments are not on the mount, or not the first of them."""
    return SongError(
        f"the first save of {shown_path(root)} is not on the mount yet; wait until the mount has synchronised "
        f"{SEGMENTS}/, resume the song on the machine that made it, or delete it to begin again."
    )


def journal_folder(root: Path) -> Path:
    """Return this machine's journal folder for the song at `root`."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the XDG specification says to ignore those: a journal must be found from any folder
        state = Path.home() / ".local" / "state"
    key = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    return state / "jukebox_kit" / "journals" / f"{root.name}-{key}"


def _whole(folder: Folder) -> list[Segment]:
    parsed = (Segment.parse(content) for content in folder.contents())
    return [segment for segment in parsed if segment is not None]
