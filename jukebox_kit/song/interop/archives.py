"""Zip files of old songs, as Google Drive makes them of folders: unpacked for as long as they are imported."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jukebox_kit._files import contents, explain, is_litter
from jukebox_kit.errors import SongError
from jukebox_kit.song.files import SONG
from jukebox_kit.song.interop.finding import is_needed, is_run

MOST_BYTES = 2**35  # that are unpacked

# Drive splits a large folder into zip files of their own: oz-20260102T030405Z-1-001.zip, oz-20260102T030405Z-1-002.zip.
DRIVE = re.compile(r"(?P<name>.+)-\d{8}T\d{6}Z(?P<number>(?:-\d+)*)(?: ?\(\d+\))?")

OTHER_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".7z", ".rar")


@dataclass(frozen=True)
class Place:
    """Where songs are read: `path`, inside `root`, which messages show as `shown`, the zip file."""

    path: Path
    root: Path
    shown: Path

    def named(self, text: str) -> str:
        """Return a text with the zip file's path in place of where it was unpacked."""
        return text.replace(str(self.root), str(self.shown))


@contextmanager
def unpacked(place: Path) -> Iterator[Place]:
    """Yield where to read the songs of a place: for a zip file, the folder or the only file in it, else as it is.

    SongError for a zip file that is damaged or protected, leads out of its folder, is too large, or contains no songs.
    """
    if place.name.lower().endswith(OTHER_ARCHIVES):
        raise SongError(f"{place} is an archive; unpack it, and import the folder.")
    if not is_archive(place):
        yield Place(place, place, place)
        return
    with tempfile.TemporaryDirectory(prefix="jukebox-kit-") as folder:
        matched = DRIVE.fullmatch(place.stem)
        root = Path(folder) / (matched["name"] if matched else place.stem)
        _unpack(_volumes(place), root)
        yield Place(_innermost(root), root, place.absolute())


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip file of others, and not a file of torch's, which is a zip file inside."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # a damaged file can cause any of these
        return path.suffix.lower() == ".zip"
    return not any(re.fullmatch(r"[^/]+/data\.pkl", name) for name in names)


def _volumes(place: Path) -> list[Path]:
    """Return a zip file, or all of one download's that lie beside it."""
    matched = DRIVE.fullmatch(place.stem)
    if matched is None:
        return [place]
    start = place.stem[: matched.start("number")]
    beside = [p for p in contents(place.parent) if p.name.startswith(start) and p != place and is_archive(p)]
    return [place, *beside]


def _unpack(paths: list[Path], root: Path) -> None:
    """Unpack the files that an import needs; nothing is written outside of `root`."""
    with ExitStack() as opened:
        try:
            files = [opened.enter_context(zipfile.ZipFile(path)) for path in paths]
            members = [(file, info) for file in files for info in file.infolist() if not info.is_dir()]
            needed = [(file, info, _parts(info, paths[0])) for file, info in members]
            needed = [(file, info, parts) for file, info, parts in needed if _is_needed(info, parts)]
            _check(paths[0], [info for _, info in members], [info for _, info, _ in needed])
            for file, info, parts in needed:
                target = root.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():  # Drive lets files of one folder have the same name
                    with file.open(info) as source, target.open("xb") as copy:
                        shutil.copyfileobj(source, copy, 2**20)
        except OSError as error:
            raise SongError(explain(paths[0], error, "unpacked")) from None
        except SongError:
            raise
        except Exception as error:  # damaged bytes make zipfile raise all kinds of errors
            raise SongError(f"{paths[0]} is damaged ({error}); download it again.") from None


def _parts(info: zipfile.ZipInfo, path: Path) -> tuple[str, ...]:
    """Return a member's path as folders and name; SongError where it leads out of the folder."""
    name = info.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or ":" in parts[0]:
        raise SongError(f"{path} contains a file with the path {name!r}, which leads out of it; it was not unpacked.")
    return parts


def _is_needed(info: zipfile.ZipInfo, parts: tuple[str, ...]) -> bool:
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    return is_needed(parts[-1]) and not is_link and not any(map(is_litter, parts))


def _check(path: Path, members: list[zipfile.ZipInfo], needed: list[zipfile.ZipInfo]) -> None:
    """Raise SongError for a zip file that has no songs, needs a password, or does not fit onto the disk."""
    if not needed and any(PurePosixPath(info.filename).name == SONG for info in members):
        raise SongError(f"{path} contains songs of this toolkit; unpack it, and resume them where they are.")
    if not needed:
        raise SongError(f"{path} contains no songs of other programs; pass the file or folder that has them.")
    if any(info.flag_bits & 1 for info in needed):
        raise SongError(f"{path} is protected with a password; unpack it, and import the folder.")
    size, free = sum(info.file_size for info in needed), shutil.disk_usage(tempfile.gettempdir()).free
    if size > min(free, MOST_BYTES):
        raise SongError(
            f"{path} needs {size / 2**30:.1f} GiB when unpacked, more than the {min(free, MOST_BYTES) / 2**30:.1f} GiB "
            f"available for it; unpack it elsewhere, and import the folder."
        )


def _innermost(folder: Path) -> Path:
    """Return the run, the only file, or the folder with several entries that lies in folders of a single entry."""
    while folder.is_dir() and not is_run(folder):
        inside = contents(folder)
        if len(inside) != 1:
            break
        folder = inside[0]
    return folder
