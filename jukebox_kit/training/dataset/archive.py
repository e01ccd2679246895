"""Unpacks a zip file of recordings, as people upload them."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from jukebox_kit._files import LONGEST_NAME, is_litter, make_folder, shown_path, write_atomically
from jukebox_kit.errors import RequestError
from jukebox_kit.training.dataset.recordings import LYRICS, METADATA, SOUNDS


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the recordings, lyrics and metadata.csv of a zip file, and return the folder that contains them.

    That is `folder`, or the one folder in it that everything is in. Files that are there already with the same size are
    kept, so an interrupted call continues. Nothing is written outside of `folder`.

    RequestError if the file is no zip file, is damaged or encrypted, or contains no recordings.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = {path: entry for entry in opened.infolist() if (path := _path_of(entry)) is not None}
            if not any(path.suffix.lower() in SOUNDS for path in wanted):
                raise RequestError(f"{shown_path(archive)} contains no recordings.")
            make_folder(folder)
            for path, entry in wanted.items():
                there = folder / path
                if not (there.is_file() and there.stat().st_size == entry.file_size):
                    write_atomically(folder, str(path), opened.read(entry))
    except RuntimeError:  # zipfile has no class of its own for this
        raise RequestError(f"{shown_path(archive)} is encrypted; pack it again without a password.") from None
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError) as error:
        raise RequestError(f"{shown_path(archive)} cannot be unpacked ({error}); pack it again.") from None
    firsts = {path.parts[0] for path in wanted}
    return folder / firsts.pop() if len(firsts) == 1 and all(len(path.parts) > 1 for path in wanted) else folder


def _path_of(entry: zipfile.ZipInfo) -> PurePosixPath | None:
    """Return the relative path of an entry that is needed, None for others and for names that lead elsewhere."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if entry.is_dir() or path.is_absolute() or ".." in path.parts or any(is_litter(part) for part in path.parts):
        return None
    if any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in path.parts) or "\0" in str(path):
        return None
    needed = path.suffix.lower() in (*SOUNDS, *LYRICS) or path.name == METADATA
    return path if needed else None
