"""A store on a disk with atomic rename."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jukebox_kit._files import explained, make_folder, read_file, write_atomically
from jukebox_kit.song.store.base import Safety
from jukebox_kit.song.store.lease import Lease, hold


class LocalStore:
    """See `Store`; files have their own names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lease: Lease | None = None

    def begin(self) -> None:
        """See Store."""
        make_folder(self.root)

    def read(self, name: str) -> bytes | None:
        """See Store."""
        return read_file(self.root / name)

    def names(self, folder: str) -> tuple[str, ...]:
        """See Store."""
        with explained(self.root / folder, "read"):
            names = [p.relative_to(self.root).as_posix() for p in (self.root / folder).rglob("*") if p.is_file()]
        return tuple(sorted(names))

    def write(self, name: str, content: bytes) -> None:
        """See Store."""
        if self._lease is not None:
            self._lease.check()
        write_atomically(self.root, name, content)

    def publish(self) -> None:
        """See Store; they always are."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See Store."""
        with hold(self.root) as self._lease:
            try:
                yield
            finally:
                self._lease = None

    def safety(self) -> Safety:
        """See Store; a file is read back before it takes its place."""
        return Safety("local")
