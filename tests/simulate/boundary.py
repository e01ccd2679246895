"""The boundary to the operating system, in one place: os, open, pathlib, fcntl, shutil, time, uuid, threads.

While `simulated` is entered, calls about paths below /sim/, and about /proc/, go to the world's current process; all
others go to the real system. The package itself runs unchanged.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pathlib
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import soundfile

from tests.simulate import paths
from tests.simulate.disk import Folder, failure, flush
from tests.simulate.machines import Beat, Machine
from tests.simulate.paths import PATH, PROC, Handle, disk_of, is_ours, read_bytes, routed, switch_world
from tests.simulate.world import World


def _os_open(real: Any) -> Callable[..., int]:
    def call(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if not is_ours(path):
            return int(real(path, flags, *arguments, **options))
        place = str(path)
        disk = disk_of(place)
        node = disk.find(place)
        paths.world.operation("create" if flags & os.O_CREAT and node is None else "read", place)
        if flags & os.O_CREAT:
            node = disk.create(place)
        return Handle(place, disk.get(place), "r").number

    return call


def _os_close(real: Any) -> Callable[[int], None]:
    def call(number: int) -> None:
        if number not in paths.handles:
            real(number)
            return
        handle = paths.handles.pop(number)
        for key, holder in list(paths.world.locks.items()):
            if holder is paths.world.current and key[1] == handle.path and not handle.path.endswith(".part"):
                del paths.world.locks[key]

    return call


def _fsync(real: Any) -> Callable[[int], None]:
    def call(number: int) -> None:
        if number not in paths.handles:
            real(number)
            return
        handle = paths.handles[number]
        paths.world.operation("fsync", handle.path)
        flush(handle.node)

    return call


def _flock(real: Any) -> Callable[[Any, int], None]:
    def call(file: Any, how: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if number not in paths.handles:
            real(file, how)
            return
        path = paths.handles[number].path
        paths.world.operation("lock", path)
        assert paths.world.current is not None
        machine = paths.world.current.machine
        if any(path.startswith(place) for place in machine.lockless):
            raise failure(errno.ENOTSUP, path)
        key = id(disk_of(path)), path
        if paths.world.locks.setdefault(key, paths.world.current) is not paths.world.current:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked", path)

    return call


def _rmtree(real: Any) -> Callable[..., None]:
    def call(path: Any, ignore_errors: bool = False, **options: Any) -> None:
        if not is_ours(path):
            real(path, ignore_errors, **options)
            return
        disk = disk_of(str(path))
        paths.world.removed(str(path))
        for name, node in reversed(list(disk.walk(str(path)))):
            try:
                Path(name).rmdir() if isinstance(node, Folder) else Path(name).unlink()
            except OSError:
                if not ignore_errors:
                    raise
        try:
            Path(path).rmdir()
        except OSError:
            if not ignore_errors:
                raise

    return call


def _read_wav(real: Any) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        name = os.fsdecode(path) if isinstance(path, bytes) else path
        if not (isinstance(name, str) and is_ours(name)):
            return real(path, *arguments, **options)
        return real(io.BytesIO(read_bytes(Path(name))), *arguments, **options)

    return call


class Event:
    """threading.Event of the lease's thread, which is run turn by turn instead."""

    def __init__(self) -> None:
        self.ended, self.turn = False, 0

    def set(self) -> None:
        self.ended = True

    def wait(self, _seconds: float) -> bool:
        self.turn += 1
        return self.ended or self.turn % 2 == 0


class Thread:
    """threading.Thread of the lease."""

    def __init__(self, target: Any, name: str, daemon: bool) -> None:
        self.target = target

    def start(self) -> None:
        process = paths.world.current
        assert process is not None
        event: Event = self.target.__self__._stop

        def turn() -> None:
            if event.ended:
                process.beats.remove(beat)
                return
            event.turn = 0
            self.target()

        beat = Beat(turn, paths.world.now + 15.0)
        process.beats.append(beat)


def _uuid4() -> uuid.UUID:
    return uuid.UUID(int=(next(paths.world.ids) * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)


def _current(real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that the current process answers, and the real system where there is none."""
    return lambda *arguments: ours(*arguments) if paths.world.current is not None else real(*arguments)


def _clock_gettime(clock: int) -> float:
    assert paths.world.current is not None
    return _boottime() if clock == getattr(time, "CLOCK_BOOTTIME", -1) else _monotonic()


def _boottime() -> float:
    return paths.world.now - 1.6e9


def _monotonic() -> float:
    return _boottime() - _machine().asleep


def _machine() -> Machine:
    assert paths.world.current is not None
    return paths.world.current.machine


@contextmanager
def simulated(new: World) -> Iterator[None]:
    """Put a world in the place of the system; `switch_world` may then change it."""
    switch_world(new)
    with ExitStack() as stack:

        def patch(holder: Any, name: str, value: Any) -> None:
            own = vars(holder).get(name) if isinstance(holder, type) else getattr(holder, name)
            setattr(holder, name, value)
            stack.callback(delattr, holder, name) if own is None else stack.callback(setattr, holder, name, own)

        for name in sorted({*PATH, *PROC}):
            patch(pathlib.Path, name, routed(name, getattr(pathlib.Path, name)))
        patch(os, "open", _os_open(os.open))
        patch(os, "close", _os_close(os.close))
        patch(os, "fsync", _fsync(os.fsync))
        patch(os, "getpid", _current(os.getpid, lambda: paths.world.current.pid if paths.world.current else 0))
        patch(fcntl, "flock", _flock(fcntl.flock))
        patch(shutil, "rmtree", _rmtree(shutil.rmtree))
        patch(shutil, "disk_usage", _current(shutil.disk_usage, lambda _: SimpleNamespace(free=2**40)))
        patch(
            socket,
            "gethostname",
            _current(socket.gethostname, lambda: _machine().name),
        )
        patch(uuid, "uuid4", _current(uuid.uuid4, _uuid4))
        patch(
            time,
            "time",
            _current(
                time.time, lambda: paths.world.now + paths.world.current.machine.skew if paths.world.current else 0
            ),
        )
        patch(time, "monotonic", _current(time.monotonic, _monotonic))
        patch(time, "sleep", _current(time.sleep, lambda seconds: paths.world.spend(seconds)))
        patch(time, "clock_gettime", _current(time.clock_gettime, _clock_gettime))
        patch(soundfile, "info", _read_wav(soundfile.info))
        patch(soundfile, "read", _read_wav(soundfile.read))
        yield
