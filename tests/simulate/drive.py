"""A mount like Google Drive: a machine sees its own files at once, those of others late, in any order or in part.

Between steps files travel: later, cut short or with a blank end, twice, under another name, and deleted ones come
back; a lossy one may lose some for good. Leases travel within `PROMPT_SECONDS`, as the package assumes of a mount.
"""

from __future__ import annotations

import random
from pathlib import PurePosixPath

from jukebox_kit._files import is_litter
from tests.simulate.disk import Disk, File, flush

PROMPT_SECONDS = 1.0


class Mount(Disk):
    """A machine's view of the drive."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.others: list[Mount] = []
        self.outgoing: dict[str, None] = {}  # paths that changed here, in order
        self.in_part: dict[str, None] = {}  # paths of which a part was sent, which others may show last
        self.incoming: list[tuple[str, bytes | None]] = []
        self.prompt: list[tuple[float, str, bytes | None]] = []
        self.past: list[tuple[str, bytes]] = []

    def changed(self, path: str, now: float) -> None:
        """Note that a file was written, renamed or removed here."""
        if "/.lease-" in path and not path.endswith(".part"):
            for other in self.others:
                other.prompt.append((now + PROMPT_SECONDS, path, self._content(path)))
        elif not path.endswith((".part", "/.lock")) and "/.jukebox-kit-" not in path:
            self.outgoing.pop(path, None)
            self.outgoing[path] = None

    def catch_up(self, now: float) -> None:
        """Show the leases that have arrived."""
        while self.prompt and self.prompt[0][0] <= now:
            _, path, content = self.prompt.pop(0)
            self._show(path, content)

    def send(self, chance: random.Random, lossy: bool) -> list[str]:
        """Send some of what changed here, not all of it as it is; return what happened to it, in words."""
        fates: list[str] = []
        for path in list(self.outgoing):
            fate = chance.choice(("arrives", "arrives", "arrives", "waits", "waits", "cut", "twice", "back"))
            if lossy and chance.random() < 0.1:
                fate = "lost"
            content = self._content(path)
            if fate == "cut" and content:
                at = chance.randint(0, len(content) - 1)
                blank = bytes(len(content) - at) if at % 2 else b""  # some mounts show the size before the content
                self._deliver(path, content[:at] + blank)
                self.in_part[path] = None
            elif fate in ("arrives", "twice"):
                self._deliver(path, content)
                if content is not None:
                    self.past.append((path, content))
            name = PurePosixPath(path)
            if fate == "twice" and content is not None and not is_litter(name.name):
                self._deliver(str(name.with_name(f"{name.stem} (1){name.suffix}")), content)
            if fate == "back" and self.past:
                self._deliver(*chance.choice(self.past))
            if fate in ("arrives", "twice", "lost"):
                del self.outgoing[path]
            fates.append(fate)
        return fates

    def receive(self, chance: random.Random) -> None:
        """Show some of what others have sent, in any order."""
        chance.shuffle(self.incoming)
        count = chance.randint(0, len(self.incoming))
        shown, self.incoming = self.incoming[:count], self.incoming[count:]
        for path, content in shown:
            if path not in self.outgoing:
                self._show(path, content)

    def settle(self) -> None:
        """Send and show everything as it is."""
        for path in self.in_part | self.outgoing:
            self._deliver(path, self._content(path))
        self.outgoing.clear()

    def show_all(self) -> None:
        """Show everything that others have sent."""
        shown, self.incoming = self.incoming, []
        for path, content in shown:
            self._show(path, content)

    def copy(self) -> Disk:
        """See Disk; nothing travels from or to the copy."""
        other = Mount(self.place)
        other.root = super().copy().root
        other.prompt = list(self.prompt)
        return other

    def _deliver(self, path: str, content: bytes | None) -> None:
        for other in self.others:
            other.incoming.append((path, content))

    def _content(self, path: str) -> bytes | None:
        node = self.find(path)
        return node.content if isinstance(node, File) else None

    def _show(self, path: str, content: bytes | None) -> None:
        if content is None:
            if isinstance(self.find(path), File):
                self.unlink(path)
                flush(self.parent(path)[0])
            return
        names = path.split("/")
        for depth in range(4, len(names)):
            folder = "/".join(names[:depth])
            if self.find(folder) is None:
                self.mkdir(folder)
                flush(self.parent(folder)[0])  # what came from the drive can be fetched from it again
        file = self.create(path)
        file.content = file.durable = content
        flush(self.parent(path)[0])
