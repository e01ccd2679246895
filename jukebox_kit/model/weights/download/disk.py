"""The folder that files are got to: whether they fit, one process at a time, and files that get their names at once."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jukebox_kit._files import explain
from jukebox_kit.errors import CheckpointError


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise CheckpointError, saying how much is missing, where `needed` bytes do not fit where `folder` is."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise CheckpointError(
            f"{what} needs {_size(needed)} in {folder}, where {_size(free)} are free; free {_size(needed - free)} more "
            f"there, or set JUKEBOX_KIT_MODELS to a folder on a larger disk."
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there; CheckpointError where another process is getting files to it.

    The system lets go of it when the process ends, however it ends. A disk that knows no locks is used without one.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise CheckpointError(explain(path, error, "written")) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"another process is downloading files to {folder}; wait for it or stop it."
            ) from None
        except OSError:
            pass
        yield


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.2f} MiB"
