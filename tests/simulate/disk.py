"""A disk in memory that keeps, after a power cut, no more than POSIX promises.

What was written to a file survives if the file was flushed; otherwise the file may hold its last flushed content, the
beginning of the new one, zeros in its place, or all of it. A name that was created, renamed or removed survives if its
folder was flushed; otherwise any number of the folder's changes are lost, the latest first. A process that dies
loses nothing that it has written.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(eq=False, slots=True)
class File:
    """A file. durable: its content when it was last flushed. changed: when, by the world's clock."""

    content: bytes = b""
    durable: bytes = b""
    changed: float = 0.0


@dataclass(eq=False, slots=True)
class Folder:
    """A folder. durable: its entries when it was last flushed. pending: changes since, (removed, added, node)."""

    entries: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    pending: list[tuple[str | None, str | None, Node]] = field(default_factory=list)

    def change(self, removed: str | None, added: str | None, node: Node) -> None:
        """Remove a name, add a name, or rename in one step."""
        _apply(self.entries, removed, added, node)
        self.pending.append((removed, added, node))


Node: TypeAlias = "File | Folder"


class Disk:
    """A tree of files. Paths are below `place`, such as /sim/home; errors are those of the system."""

    def __init__(self, place: str) -> None:
        self.place, self.root = place, Folder()

    def find(self, path: str) -> Node | None:
        """Return what is at a path, None if nothing is."""
        node: Node = self.root
        for name in self._names(path):
            if not isinstance(node, Folder):
                return None
            below = node.entries.get(name)
            if below is None:
                return None
            node = below
        return node

    def get(self, path: str) -> Node:
        """Return what is at a path; FileNotFoundError if nothing is."""
        node = self.find(path)
        if node is None:
            raise failure(errno.ENOENT, path)
        return node

    def parent(self, path: str) -> tuple[Folder, str]:
        """Return the folder that a path is in, and its name there; FileNotFoundError if there is no such folder."""
        above, _, name = path.rpartition("/")
        node = self.get(above)
        if not isinstance(node, Folder):
            raise failure(errno.ENOTDIR, path)
        return node, name

    def create(self, path: str) -> File:
        """Create an empty file, or return the one that exists."""
        folder, name = self.parent(path)
        node = folder.entries.get(name)
        if isinstance(node, Folder):
            raise failure(errno.EISDIR, path)
        if node is None:
            node = File()
            folder.change(None, name, node)
        return node

    def mkdir(self, path: str) -> None:
        """Create a folder."""
        folder, name = self.parent(path)
        if name in folder.entries:
            raise failure(errno.EEXIST, path)
        folder.change(None, name, Folder())

    def rename(self, path: str, other: str) -> None:
        """Give a file or a folder another name in one step."""
        (folder, name), (target, new) = self.parent(path), self.parent(other)
        node = folder.entries.get(name)
        if node is None:
            raise failure(errno.ENOENT, path)
        there = target.entries.get(new)
        if isinstance(there, Folder) and (isinstance(node, File) or there.entries):
            raise failure(errno.ENOTEMPTY, other)
        if folder is target:
            folder.change(name, new, node)
        else:
            target.change(None, new, node)
            folder.change(name, None, node)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        folder, name = self.parent(path)
        node = folder.entries.get(name)
        if node is None:
            raise failure(errno.ENOENT, path)
        if isinstance(node, Folder):
            raise failure(errno.EISDIR, path)
        folder.change(name, None, node)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        folder, name = self.parent(path)
        node = folder.entries.get(name)
        if not isinstance(node, Folder):
            raise failure(errno.ENOENT if node is None else errno.ENOTDIR, path)
        if node.entries:
            raise failure(errno.ENOTEMPTY, path)
        folder.change(name, None, node)

    def walk(self, path: str) -> Iterator[tuple[str, Node]]:
        """Yield everything below a folder with its path, in the order of names, folders before what is in them."""
        node = self.find(path)
        for name in sorted(node.entries) if isinstance(node, Folder) else ():
            below = f"{path}/{name}"
            yield below, self.get(below)
            yield from self.walk(below)

    def cut_power(self, chance: random.Random) -> None:
        """Lose what was not flushed, or a part of it."""
        folders = [self.root]
        while folders:
            folder = folders.pop()
            count = len(folder.pending)
            kept = chance.choice((0, count, chance.randint(0, count)))
            entries = dict(folder.durable)
            for change in folder.pending[:kept]:
                _apply(entries, *change)
            folder.entries, folder.durable, folder.pending = entries, dict(entries), []
            for node in entries.values():
                if isinstance(node, Folder):
                    folders.append(node)
                elif node.content != node.durable:
                    node.content = node.durable = _torn(node, chance)

    def copy(self) -> Disk:
        """Return a disk with the same files, all flushed."""
        other = Disk(self.place)
        other.root = _copied(self.root)
        return other

    def _names(self, path: str) -> list[str]:
        rest = path[len(self.place) :].strip("/")
        return rest.split("/") if rest else []


def flush(node: Node) -> None:
    """Flush a file's content, or a folder's entries."""
    if isinstance(node, File):
        node.durable = node.content
    elif node.pending:
        node.durable, node.pending = dict(node.entries), []


def failure(number: int, path: str) -> OSError:
    """Return the error that the system raises."""
    return OSError(number, os.strerror(number), path)


def _apply(entries: dict[str, Node], removed: str | None, added: str | None, node: Node) -> None:
    if removed is not None:
        entries.pop(removed, None)
    if added is not None:
        entries[added] = node


def _torn(file: File, chance: random.Random) -> bytes:
    at = chance.randint(0, len(file.content))
    zeros = file.content[:at] + bytes(len(file.content) - at)
    return chance.choice((file.durable, file.content[:at], zeros, file.content))


def _copied(folder: Folder) -> Folder:
    entries: dict[str, Node] = {}
    for name, node in folder.entries.items():
        if isinstance(node, Folder):
            entries[name] = _copied(node)
        else:
            entries[name] = File(node.content, node.content, node.changed)
    return Folder(entries, dict(entries))
