"""What keeps a song's files, whatever the disk."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Safety:
    """How much of a song is where. `saves` are counted from the song's beginning.

    kind: "local" or "segments"; here: saves on this machine's own disk; there: saves read back from the mount. On a
    local disk the two are the same thing and are not counted.
    """

    kind: str
    here: int = 0
    there: int = 0

    @property
    def words(self) -> str:
        """The same for a person."""
        if self.kind == "local":
            return "saved on a local disk"
        if self.there >= self.here:
            return f"all {self.there} saves read back from the mount"
        return f"{self.here} saves on this machine, {self.there} of them read back from the mount"


class Store(Protocol):
    """Where a song's files are kept. Names are relative, with forward slashes."""

    root: Path

    def begin(self) -> None:
        """Make the folder for a song that is not there yet."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none."""
        ...

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files below a folder, in order; none where there is no such folder."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Keep a file: afterwards `read` gives either this content or, had it been cut short, the one before."""
        ...

    def publish(self) -> None:
        """Make every file readable at its own name, where the disk made another arrangement necessary."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Return a context in which no other process works on the song; SongBusyError says who does."""
        ...

    def safety(self) -> Safety:
        """Return how much is safe where, by reading it again."""
        ...
