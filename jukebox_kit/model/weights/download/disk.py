"""The folder of downloads: whether files fit, and one process at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jukebox_kit._files import create_folder, explain, shown_size
from jukebox_kit.errors import CheckpointError


def require_space(
    folder: Path,
    needed: int,
    what: str,
    otherwise: str = "set JUKEBOX_KIT_MODELS to a folder on a larger disk",
) -> None:
    """Raise CheckpointError if `needed` bytes do not fit on the disk of `folder`; it says how much is missing.

    otherwise: what the user can do except freeing space.
    """
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise CheckpointError(
            f"{what} needs {shown_size(needed)} in {folder}, but only {shown_size(free)} are free; free "
            f"{shown_size(needed - free)} more there, or {otherwise}."
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock the folder, creating it if necessary; CheckpointError if another process is downloading files to it.

    The system releases the lock when the process ends in any way. Disks without locks are used without one.
    """
    path = folder / ".lock"
    try:
        create_folder(folder)
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
