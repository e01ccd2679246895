"""Downloads from places in order: files are checked, converted and recorded before they get their names."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from jukebox_kit._files import explain, move_into_place
from jukebox_kit.errors import CheckpointError, ConfigurationError
from jukebox_kit.model.weights.definition import converted_name
from jukebox_kit.model.weights.download.convert import convert, converted_size, opens_as
from jukebox_kit.model.weights.download.disk import require_space
from jukebox_kit.model.weights.download.http import Download, Patience, PlaceError, Source, UnreachableError, discard
from jukebox_kit.model.weights.download.hub import SINGLE, files_for, in_hub_cache, mirrored_part, read_mirror
from jukebox_kit.model.weights.download.records import (
    Origin,
    Record,
    expected,
    read_record,
    sha256_of,
    undamaged,
    write_record,
)
from jukebox_kit.model.weights.download.release import KnownFile, Mirror, Release

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetching:
    """The progress of a file in bytes; `total` is None if the server does not announce it."""

    file: str
    done: int
    total: int | None


def _nothing(_: object) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class DownloadOptions:
    """How files are downloaded.

    keep_float32: keep the transformers' weights as in the release, for its exact numbers on a CPU, in larger files.
    convert: also convert files of caches.
    accepted: sha256 of contents that the user accepts in any case.
    own: URL prefixes that are tried before the known ones.
    progress, say: called with the progress of a file, and with messages for the user.
    """

    keep_float32: bool = False
    convert: bool = False
    accepted: frozenset[str] = frozenset()
    own: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)
    progress: Callable[[Fetching], None] = _nothing
    say: Callable[[str], None] = _nothing

    def __post_init__(self) -> None:
        for url in self.own:
            if not url.startswith(("https://", "http://")):
                raise ConfigurationError(f"{url} is not a URL; write one that starts with https://.")
        for digest in self.accepted:
            KnownFile(sha256=digest)  # checks its form


class Places:
    """Downloads files of a release to a folder. `reasons`: why places could not provide them."""

    def __init__(self, release: Release, target: Path, options: DownloadOptions) -> None:
        self.release, self.target, self.options = release, target, options
        self.reasons: list[str] = []
        self.silent: set[str] = set()

    def table(self, name: str) -> bool:
        """Download a table of names and compare its sha256; False if its place cannot provide it."""
        url = f"{self.release.tables_prefix}{name}"
        part = self.target / f"{name}.part"
        if self.release.tables_prefix in self.silent:
            return False
        try:
            self._download(Source(url, weights=False), part, name, 0)
            if sha256_of(part)[0] != self.release.tables[name]:
                discard(part)
                raise PlaceError("the download is a different file")
        except PlaceError as error:
            self._failed(self.release.tables_prefix, url, error)
            return False
        self._finish(part, self.target / name)
        return True

    def original(self, file: str, part: nn.Module) -> bool:
        """Download a checkpoint of the release, and convert it; False if no prefix can provide it."""
        for prefix in (*self.options.own, *self.release.prefixes):
            url = self.release.url(prefix, file)
            if prefix in self.silent:
                continue
            try:
                self._from_url(url, file, part)
                return True
            except PlaceError as error:
                self._failed(prefix, url, error)
        return False

    def mirrored(self, mirror: Mirror, parts: Mapping[str, nn.Module], cached: bool) -> list[str]:
        """Convert those of `parts`, by file, that a hub repository has; return the files that exist now.

        cached: use only the cache of the Hugging Face libraries, which is not changed; else download.
        """
        wanted = {prefix: file for prefix, file in mirror.holds.items() if file in parts}
        if not wanted or (not cached and self._hub() in self.silent):
            return []
        room = sum(converted_size(parts[file], self.options.keep_float32) for file in wanted.values())
        try:
            paths = self._mirror_files(mirror, list(wanted), cached, room)
        except PlaceError as error:
            self._failed(self._hub(), mirror.repository, error)
            return []
        finally:
            self._tidy(mirror)
        try:
            state = read_mirror(paths)
            found = {
                file: mirrored_part(parts[file], p, state, mirror.repository) for p, file in wanted.items() if paths
            }
        except CheckpointError as error:
            self.reasons.append(f"{mirror.repository}: the download cannot be used: {error}")
            if not cached:
                self._let_go(mirror)
            return []
        origins = tuple(Origin(self._hub_url(mirror, p.name), p.stat().st_size, sha256_of(p)[0]) for p in paths)
        for file, weights in found.items():
            self.keep(file, parts[file], weights, origins)
        if found:
            self._let_go(mirror)
        return list(found)

    def keep(self, file: str, part: nn.Module, state: Mapping[str, Tensor], origins: tuple[Origin, ...]) -> None:
        """Convert weights to the folder under their file's name, and record their origin."""
        path = self.target / converted_name(file)
        require_space(self.target, converted_size(part, self.options.keep_float32), f"converting {file}")
        size, sha256 = convert(part, state, path, self.options.keep_float32)
        write_record(path, Record(size, sha256, "kept" if self.options.keep_float32 else "float16", origins))

    def _from_url(self, url: str, file: str, part: nn.Module) -> None:
        published, accepted = self.release.files[file], self.options.accepted
        beside = self.target / f"{file}.part"
        source = Source(url, None if accepted else published.bytes)
        promised = self._download(source, beside, file, converted_size(part, self.options.keep_float32))
        try:
            sha256 = undamaged(beside, promised)
            state = opens_as(part, beside)
            expected(sha256, published, self._seen_before(file), accepted)
        except (PlaceError, CheckpointError) as error:
            discard(beside)
            used = "" if isinstance(error, PlaceError) else "the download cannot be used: "
            raise PlaceError(f"{used}{error}") from None
        origin = Origin(url, beside.stat().st_size, sha256)
        self.keep(file, part, state, (origin,))
        discard(beside)  # downloaded here, and the converted file has been read back

    def _seen_before(self, file: str) -> str | None:
        """Return the sha256 that a file of the release had when it was first downloaded."""
        record = read_record(self.target / converted_name(file))
        same = [o.sha256 for o in (record.origins if record else ()) if o.url.endswith(self.release.folder + file)]
        return same[0] if same else None

    def _download(self, source: Source, part: Path, name: str, room: int) -> Mapping[str, str]:
        """Run a download to a part. room: bytes that are needed besides."""
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(explain(part.parent, error, "made")) from None
        return Download(
            source,
            part,
            self.options.patience,
            lambda done, total: self.options.progress(Fetching(name, done, total)),
            lambda more: require_space(self.target, more + room, name),
        ).run()

    def _mirror_files(self, mirror: Mirror, prefixes: list[str], cached: bool, room: int) -> list[Path]:
        """Return the weight files of a repository that contain the wanted components; none if it lacks them."""

        def fetch(name: str) -> Path | None:
            return in_hub_cache(mirror.repository, name) if cached else self._from_hub(mirror, name, room)

        for single in SINGLE:
            if path := fetch(single):
                return [path]
            if index := fetch(f"{single}.index.json"):
                paths = [fetch(name) for name in files_for(index, prefixes)]
                return [path for path in paths if path] if all(paths) else []
        return []

    def _from_hub(self, mirror: Mirror, name: str, room: int) -> Path | None:
        """Download a repository's file for conversion; None if the hub does not have it."""
        path, url = self._waiting(mirror) / name, self._hub_url(mirror, name)
        if path.exists():
            return path
        part = path.with_name(path.name + ".part")
        try:
            source = Source(url, weights=not name.endswith(".json"))
            promised = self._download(source, part, f"{mirror.repository}/{name}", room)
            undamaged(part, promised)
        except UnreachableError:
            raise
        except PlaceError as error:
            self._failed(self._hub(), url, error)
            return None
        self._finish(part, path)
        return path

    @staticmethod
    def _finish(part: Path, path: Path) -> None:
        """Give a downloaded file its name."""
        try:
            move_into_place(part, path)
        except OSError as error:
            raise CheckpointError(explain(path, error, "written")) from None
        discard(part)

    def _hub(self) -> str:
        """Return the hub's URL: the release's, unless the variable of the Hugging Face libraries names another."""
        return (os.environ.get("HF_ENDPOINT") or self.release.hub).rstrip("/")

    def _hub_url(self, mirror: Mirror, name: str) -> str:
        return f"{self._hub()}/{mirror.repository}/resolve/main/{name}"

    def _failed(self, place: str, what: str, error: PlaceError) -> None:
        """Keep the reason of a failure; a place that does not answer is named once and not asked again."""
        silent = isinstance(error, UnreachableError)
        self.silent |= {place} if silent else set()
        self.reasons.append(f"{place if silent else what}: {error}")
        log.info("%s: %s", what, error)

    def _let_go(self, mirror: Mirror) -> None:
        """Remove what was downloaded from a repository; the caches of other programs are never touched."""
        shutil.rmtree(self._waiting(mirror), ignore_errors=True)
        self._tidy(mirror)

    def _tidy(self, mirror: Mirror) -> None:
        """Remove empty folders of files that wait for conversion."""
        with suppress(OSError):
            self._waiting(mirror).rmdir()
        with suppress(OSError):
            self._waiting(mirror).parent.rmdir()

    def _waiting(self, mirror: Mirror) -> Path:
        return self.target / ".mirror" / mirror.repository.replace("/", "--")
