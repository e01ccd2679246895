"""Storage of a song's files, whatever the disk."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Safety:
    """Where a song is saved, in numbers of saves since it was created.

    kind: "local" or "segments". here: saves on this machine's own disk. there: saves read back from the mount. On a
    local disk the two are the same and are not counted.
    """

    kind: str
    here: int = 0
    there: int = 0

    @property
    def summary(self) -> str:
        """The same as text."""
        if self.kind == "local":
            return "saved on a local disk"
        if self.there >= self.here:
            return f"all {self.there} saves read back from the mount"
        return f"{self.here} saves on this machine, {self.there} of them read back from the mount"


class Store(Protocol):
    """Storage of a song's files. Names are relative, with forward slashes."""

    root: Path

    def begin(self) -> None:
        """Create the folder of a new song."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if it does not exist."""
        ...

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files below a folder, sorted; none if the folder does not exist."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Save a file: `read` then returns this content or, if the write was interrupted, the previous one."""
        ...

    def publish(self) -> None:
        """Write every file under its own name too, if this store saves it differently."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Return a context in which no other process works on the song; SongBusyError names a process that does."""
        ...

    def safety(self) -> Safety:
        """Return where the song is saved, by reading it back."""
        ...
