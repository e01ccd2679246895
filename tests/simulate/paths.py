"""What pathlib, open and /proc do for the simulated world's current process; the rest of the boundary is `boundary`."""

from __future__ import annotations

import errno
import fnmatch
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.simulate.disk import Disk, File, Folder, Node, failure
from tests.simulate.machines import Killed
from tests.simulate.world import World

FIRST_HANDLE = 1_000_000

world: World  # the one that is simulated
handles: dict[int, Handle] = {}


class Handle:
    """An open file, with Python's buffer: what is written reaches the disk at `flush`."""

    def __init__(self, path: str, node: Node, mode: str, buffering: int = -1) -> None:
        self.path, self.node, self.mode, self.buffering = path, node, mode, buffering
        self.waiting, self.at, self.closed = b"", 0, False
        self.number = FIRST_HANDLE + next(world.ids)
        handles[self.number] = self

    def fileno(self) -> int:
        return self.number

    def write(self, content: bytes | str) -> int:
        self.waiting += content.encode() if isinstance(content, str) else bytes(content)
        if self.buffering == 0:
            self.flush()
        return len(content)

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, b""
        if waiting:
            assert isinstance(self.node, File)
            world.operation("write", self.path, self.node, waiting)
            self.node.content += waiting
            self.node.changed = world.now
            noticed(self.path)

    def read(self, size: int = -1) -> bytes:
        world.operation("read", self.path)
        assert isinstance(self.node, File)
        end = len(self.node.content) if size < 0 else self.at + size
        piece, self.at = self.node.content[self.at : end], min(end, len(self.node.content))
        return piece

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            handles.pop(self.number, None)
            self.flush()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def noticed(path: str) -> None:
    """Tell a mount that keeps a copy elsewhere that something changed."""
    disk = disk_of(path)
    if disk.__class__ is not Disk:
        disk.changed(path, world.now)  # type: ignore[attr-defined]


def disk_of(path: str) -> Disk:
    assert world.current is not None
    return world.current.machine.disk(path)


def is_ours(path: object) -> bool:
    return str(path).startswith("/sim/")


def _looked_up(path: Path, kind: str = "stat") -> Node | None:
    world.operation(kind, str(path))
    return Folder() if str(path) == "/sim" else disk_of(str(path)).find(str(path))


def _exists(path: Path) -> bool:
    return _looked_up(path) is not None


def _is_dir(path: Path) -> bool:
    return isinstance(_looked_up(path), Folder)


def _is_file(path: Path) -> bool:
    return isinstance(_looked_up(path), File)


def _stat(path: Path, **_: Any) -> Any:
    node = _looked_up(path)
    if node is None:
        raise failure(errno.ENOENT, str(path))
    if isinstance(node, Folder):
        return SimpleNamespace(st_size=0, st_mtime=0.0, st_mode=stat.S_IFDIR | 0o777)
    return SimpleNamespace(st_size=len(node.content), st_mtime=node.changed, st_mode=stat.S_IFREG | 0o666)


def _open(path: Path, mode: str = "r", buffering: int = -1, *_: Any, **__: Any) -> Handle:
    place, disk = str(path), disk_of(str(path))
    if mode[0] == "r":
        world.operation("read", place)
        node = disk.get(place)
        if isinstance(node, Folder):
            raise failure(errno.EISDIR, place)
        return Handle(place, node, mode, buffering)
    world.operation("create", place)
    if mode[0] == "x" and disk.find(place) is not None:
        raise failure(errno.EEXIST, place)
    file = disk.create(place)
    if mode[0] == "w":
        file.content = b""
    file.changed = world.now
    return Handle(place, file, mode, buffering)


def read_bytes(path: Path) -> bytes:
    world.operation("read", str(path))
    node = disk_of(str(path)).get(str(path))
    if isinstance(node, Folder):
        raise failure(errno.EISDIR, str(path))
    return node.content


def _read_text(path: Path, *_: Any, **__: Any) -> str:
    return read_bytes(path).decode()


def _write(path: Path, content: Any, *_: Any, **__: Any) -> int:
    with _open(path, "w") as file:
        return file.write(content)


def _mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
    place = str(path)
    world.operation("mkdir", place)
    disk = disk_of(place)
    node = disk.find(place)
    if isinstance(node, Folder) and exist_ok:
        return
    if node is None and parents and disk.find(place.rpartition("/")[0]) is None:
        _mkdir(path.parent, parents=True, exist_ok=True)
    disk.mkdir(place)


def _changes(kind: str) -> Callable[..., Any]:
    def change(path: Path, *arguments: Any, **options: Any) -> Any:
        place = str(path)
        world.operation("rename" if kind == "rename" else "unlink", place)
        try:
            if kind == "rename":
                disk_of(place).rename(place, str(arguments[0]))
            else:
                getattr(disk_of(place), kind)(place)
        except FileNotFoundError:
            if options.get("missing_ok") or arguments == (True,):
                return None
            raise
        for changed in (place, *map(str, arguments)):
            noticed(changed)
        return Path(arguments[0]) if kind == "rename" else None

    return change


def _iterdir(path: Path) -> Iterator[Path]:
    node = _looked_up(path, "list")
    if not isinstance(node, Folder):
        raise failure(errno.ENOENT if node is None else errno.ENOTDIR, str(path))
    return iter([path / name for name in sorted(node.entries)])


def _glob(path: Path, pattern: str, **_: Any) -> Iterator[Path]:
    place = str(path)
    found: list[str] = [place]
    for part in pattern.split("/"):
        folders, found = found, []
        for folder in folders:
            world.operation("list", folder)
            node = disk_of(folder).find(folder)
            names = node.entries if isinstance(node, Folder) else ()
            found += [f"{folder}/{name}" for name in names if fnmatch.fnmatchcase(name, part)]
    return iter([Path(one) for one in found])


def _rglob(path: Path, pattern: str, **_: Any) -> Iterator[Path]:
    world.operation("list", str(path))
    assert pattern == "*", "all that the package asks for"
    return iter([Path(one) for one, _ in disk_of(str(path)).walk(str(path))])


PATH: dict[str, Callable[..., Any]] = {
    "exists": _exists,
    "is_dir": _is_dir,
    "is_file": _is_file,
    "stat": _stat,
    "open": _open,
    "read_bytes": read_bytes,
    "read_text": _read_text,
    "write_bytes": _write,
    "write_text": _write,
    "mkdir": _mkdir,
    "unlink": _changes("unlink"),
    "rmdir": _changes("rmdir"),
    "rename": _changes("rename"),
    "replace": _changes("rename"),
    "iterdir": _iterdir,
    "glob": _glob,
    "rglob": _rglob,
    "resolve": lambda path, *_: path,
}


def _told(path: str) -> str:
    """Return the content of a file of /proc, as the current process's machine has it."""
    process = world.current
    assert process is not None
    if process.dead:
        raise Killed
    machine = process.machine
    if path == "/proc/self/mountinfo":
        kinds = {"/": "ext4", **machine.kinds}
        return "".join(f"1 1 0:1 / {place} rw - {kind} {kind} rw\n" for place, kind in kinds.items())
    if path == "/proc/sys/kernel/random/boot_id":
        return machine.boot
    pid = path.split("/")[2]
    known = process if pid == "self" else world.knows(int(pid), machine)
    if known is None:
        raise failure(errno.ENOENT, path)
    return f"{known.pid} (python) S {'0 ' * 18}{known.started}"


PROC: dict[str, Callable[..., Any]] = {
    "exists": lambda path: True,
    "read_bytes": lambda path: _told(str(path)).encode(),
    "read_text": lambda path: _told(str(path)),
    "readlink": lambda path: Path("pid:[1]"),
}


def routed(name: str, real: Any) -> Callable[..., Any]:
    ours, proc = PATH.get(name), PROC.get(name)

    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        place = str(path)
        if (place.startswith("/sim/") or place == "/sim") and ours:
            return ours(path, *arguments, **options)
        if place.startswith("/proc/") and proc and world.current:
            return proc(path, *arguments, **options)
        return real(path, *arguments, **options)

    return call


def switch_world(new: World) -> None:
    """Make a world the current one."""
    global world
    world = new
    handles.clear()
