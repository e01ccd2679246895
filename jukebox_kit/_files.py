"""Reading and writing files: atomic writes, and disk errors explained in a sentence."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from jukebox_kit.errors import SongError

LONGEST_NAME = 255  # bytes, on the usual file systems

REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the disk is read-only; make it writable or choose another folder",
    errno.EACCES: "permission is denied; make the folder writable or choose another one",
    errno.EPERM: "permission is denied; make the folder writable or choose another one",
    errno.ENOENT: "the folder is gone; bring it back",
    errno.EIO: "the disk does not answer; connect it again",
    errno.ENOTCONN: "the mount is gone; connect it again",
}


def user_path(path: str | Path) -> Path:
    """Return a path as the user means it: a leading ~ or ~name is a home folder, if there is such a user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


# What other programs leave in folders unasked, and interrupted writes: patterns of names in lower case.
LITTER = (
    # macOS
    *(".ds_store", "._*", ".localized", "icon\r", ".appledouble", ".apdisk", ".fseventsd", ".spotlight-v100"),
    *(".temporaryitems", ".trashes", ".documentrevisions-v100", ".volumeicon.icns", "__macosx"),
    # Windows and its office programs
    *("desktop.ini", "thumbs.db", "thumbs.db:*", "ehthumbs*.db", "$recycle.bin", "system volume information", "~$*"),
    # Linux
    *(".directory", ".trash", ".trash-*", ".hidden", ".nfs*", ".fuse_hidden*", "lost+found", ".thumbnails", ".~lock.*"),
    # Jupyter, Python, editors, placeholders for git
    *(".ipynb_checkpoints", ".virtual_documents", "__pycache__", ".idea", ".vscode", ".*.sw[a-p]", ".gitkeep", ".keep"),
    # network storage
    *("@eadir", "#recycle", "@recycle", "#snapshot", ".@__thumb", ".snapshot", ".snapshots", ".zfs"),
    # sync programs
    *(".stfolder*", ".stversions", ".stignore", ".syncthing.*", "~syncthing~*", ".sync", ".sync[._-]*", ".syncarchive"),
    *(".syncignore", ".synologyworkingdirectory", ".dropbox*", ".owncloud*", ".nextcloud*", ".csync*", ".tmp.drive*"),
    # this package
    *(".*.part", ".jukebox-kit-*"),
)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to, in the same folder, that replaces `path` when the block ends without an error.

    So `path` has its old content or its new one, never half of it; after an error it keeps the old one, and no other
    file is left. OSError if the disk refuses.

    durable: flush file and folder to the disk, so that a power cut keeps the new content.
    """
    beside = path.with_name(_part_name(path.name))
    try:
        yield beside
        if durable:
            flush(beside)
        beside.replace(path)
        if durable:
            flush(path.parent)
    except BaseException:
        with suppress(OSError):  # a disk that refuses to write may refuse to delete, too
            beside.unlink()
        raise


def _part_name(name: str) -> str:
    """Return the name of a file while it is written; a hash of it if it would be too long."""
    part = f".{name.removeprefix('.')}.part"
    if len(os.fsencode(part)) <= LONGEST_NAME:
        return part
    return f".{hashlib.sha256(os.fsencode(name)).hexdigest()}.part"


def write_atomically(root: Path, name: str, content: bytes) -> None:
    """Write a file below an existing folder: flushed to the disk and read back before it replaces the old one.

    Raises SongError if that fails; the old file is then unchanged.
    """
    path = root / name
    try:
        if not root.is_dir():  # a new one could lie where a mount is gone
            raise FileNotFoundError(errno.ENOENT, "gone", str(root))
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.relative_to(root).parents[1:]:  # they list a folder that may be new
            flush(root / folder)
        with replacing(path) as beside:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if beside.read_bytes() != content:
                raise SongError(f"{path} did not come back from the disk as it was written; check the disk.")
    except OSError as error:
        raise SongError(explain(path, error, "written")) from None


def read_file(path: Path) -> bytes | None:
    """Return a file's content, None if it does not exist; SongError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SongError(explain(path, error, "read")) from None


def exists(path: Path) -> bool:
    """Return whether a path exists; SongError if the disk does not answer."""
    with explained(path, "read"):
        return path.exists()


def contents(folder: Path) -> list[Path]:
    """Return what users put into a folder, sorted, without `LITTER`; SongError if the folder cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if not is_litter(path.name))
    except OSError as error:
        raise SongError(explain(folder, error, "read")) from None


def is_litter(name: str) -> bool:
    """Return whether other programs leave a file or folder of this name unasked."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in LITTER)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, flushed to the disk; SongError if that fails."""
    try:
        create_folder(path)
    except OSError as error:
        raise SongError(explain(path, error, "written")) from None


def create_folder(path: Path) -> None:
    """Create a folder and its parents, so that a power cut keeps them; OSError if that fails."""
    missing = [folder for folder in path.parents if not folder.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in (path, *missing):
        flush(folder.parent)


@contextmanager
def explained(path: Path, done: str) -> Iterator[None]:
    """Raise SongError, as `explain` says it, for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise SongError(explain(path, error, done)) from None


def move_into_place(part: Path, path: Path) -> None:
    """Rename a complete file in one step and flush its folder's entries to the disk; OSError if that fails."""
    part.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk; OSError if that fails."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def printable(text: str) -> str:
    """Return text that may contain a file's name, with a ? for each byte of it that is not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def shown_size(count: int) -> str:
    """Return a number of bytes as text."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.2f} MiB"


def explain(path: Path, error: OSError, done: str) -> str:
    """Return one sentence about a file that could not be read or written, and what to do."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return f"{shown_path(path)} could not be {done}: {reason}."


def kept_path(path: str | Path) -> Path:
    """Return a path to keep: absolute, so that it survives a change of the current folder; links are not resolved."""
    return user_path(path).absolute()


def shown_path(path: Path) -> str:
    """Return a path as messages show it and a user may type it: relative to the current folder if it is inside."""
    with suppress(OSError, ValueError):  # the current folder may be deleted; most paths are elsewhere
        return str(path.relative_to(Path.cwd()))
    return str(path)
