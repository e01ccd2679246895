"""Records of files: size and sha256 at first use, saved as JSON and compared with the file from then on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jukebox_kit._files import explain, replacing
from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.download.http import PlaceError
from jukebox_kit.model.weights.download.release import KnownFile


@dataclass(frozen=True)
class Origin:
    """A file as it was downloaded: its source, bytes and sha256."""

    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """A file of the models folder. `maps`: the dtype of the transformers' linear layers, or `kept` if not converted."""

    bytes: int
    sha256: str
    maps: str
    origins: tuple[Origin, ...] = ()


def record_path(file: Path) -> Path:
    """Return where the record of a file is: beside it, `.json` added."""
    return file.with_name(file.name + ".json")


def read_record(file: Path) -> Record | None:
    """Return the record of a file, None if there is none; CheckpointError if it is damaged."""
    path = record_path(file)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        origins = tuple(Origin(**origin) for origin in values.pop("origins"))
        return Record(**values, origins=origins)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise CheckpointError(f"{path} is damaged; delete it, and the next check will record the file again.") from None


def write_record(file: Path, record: Record) -> None:
    """Write the record of a file, atomically."""
    path = record_path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            beside.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(explain(path, error, "written")) from None


def sha256_of(path: Path, also: str | None = None) -> tuple[str, str | None]:
    """Return a file's sha256 and, if `also` names another hash such as md5, its digest; the file is read once."""
    first, second = hashlib.sha256(), hashlib.new(also, usedforsecurity=False) if also else None
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                first.update(chunk)
                if second:
                    second.update(chunk)
    except OSError as error:
        raise CheckpointError(explain(path, error, "read")) from None
    return first.hexdigest(), second.hexdigest() if second else None


def _whole_zip(path: Path) -> bool:
    """Return whether every member of a zip matches its checksum; True for other files."""
    if not zipfile.is_zipfile(path):
        return True
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError):
        return False  # zipfile raises NotImplementedError for an unknown compression, which damage can produce


def undamaged(path: Path, promised: Mapping[str, str]) -> str:
    """Return the sha256 of a downloaded file; PlaceError if it is damaged.

    It is compared with the hash that the server announced and, for a zip, as torch writes its pickles, with the
    checksums inside.
    """
    sha256, md5 = sha256_of(path, "md5" if "md5" in promised else None)
    if promised.get("sha256", sha256) != sha256 or promised.get("md5", md5) != md5:
        raise PlaceError("the download does not match the server's checksum")
    if not _whole_zip(path):
        raise PlaceError("the download is damaged: its internal checksums do not match its content")
    return sha256


def expected(sha256: str, published: KnownFile, before: str | None, accepted: frozenset[str]) -> None:
    """Raise PlaceError if an undamaged file differs from the known one.

    published: what a third party says of the file. before: the sha256 recorded at first use.
    accepted: the sha256 of contents that the user accepts in any case.
    """
    for known, who in ((published.sha256, "was published"), (before, "it had when first seen here")):
        if known not in (None, sha256) and sha256 not in accepted:
            raise PlaceError(
                f"the download has sha256 {sha256}, not {known}, which {who} (to accept it anyway, add "
                f"--accept-sha256 {sha256})"
            )
