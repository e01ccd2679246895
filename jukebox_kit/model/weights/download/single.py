"""One file whose content is known, from the first place that has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jukebox_kit._files import explain, move_into_place
from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.download.disk import require_space
from jukebox_kit.model.weights.download.http import Download, PlaceError, Source, discard
from jukebox_kit.model.weights.download.records import sha256_of
from jukebox_kit.model.weights.download.sources import DownloadOptions, Fetching


def fetch_file(urls: Sequence[str], path: Path, sha256: str, options: DownloadOptions | None = None) -> Path:
    """Download a file unless it is there already; returns its path.

    urls: tried in order; content with another sha256 counts as not being there. CheckpointError if none has it, or the
    disk refuses; what was received is kept and resumed.
    """
    how, reasons = options or DownloadOptions(), list[str]()
    if path.is_file() and sha256_of(path)[0] == sha256:
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(explain(path.parent, error, "made")) from None
    for url in urls:
        try:
            Download(
                Source(url, weights=False),
                part,
                how.patience,
                lambda done, total: how.progress(Fetching(path.name, done, total)),
                lambda more: require_space(path.parent, more, path.name),
            ).run()
            if sha256_of(part)[0] != sha256:
                discard(part)
                raise PlaceError("the download is a different file")
        except PlaceError as error:
            reasons.append(f"{url}: {error}")
            continue
        try:
            move_into_place(part, path)
        except OSError as error:
            raise CheckpointError(explain(path, error, "written")) from None
        discard(part)
        return path
    raise CheckpointError(
        f"{path.name} could not be downloaded ({'; '.join(reasons)}); run it again when the network allows, or put it "
        f"in {path.parent}."
    )
