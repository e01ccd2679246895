"""All entries of a folder of recorded numbers, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jukebox_kit.errors import RequestError
from jukebox_kit.model.decoding import ENGINES
from jukebox_kit.models import usable_device
from jukebox_kit.verify.entries import TOLERANCES, Entry
from jukebox_kit.verify.golden import Golden
from jukebox_kit.verify.parts import check_noise, check_prior, check_vqvae
from jukebox_kit.verify.songs import check_labels, check_song, check_windows


def verify_folder(folder: Path, ids: Path | None, device: str, dtype: str, engine: str) -> Iterator[Entry]:
    """Yield every entry of a folder of recorded numbers; RequestError where options or folder cannot be used."""
    kinds = {str(kind).removeprefix("torch."): kind for kind in TOLERANCES}
    if dtype not in kinds:
        raise RequestError(f"there is no dtype {dtype}; choose {', '.join(kinds)}.")
    if engine not in ENGINES:
        raise RequestError(f"there is no engine {engine}; choose {', '.join(ENGINES)}.")
    golden = Golden.read(folder, usable_device(device), kinds[dtype], engine)
    try:
        yield from _entries(golden, folder, ids)
    except KeyError as error:
        raise RequestError(f"{folder} lacks {error}, which a folder of recorded numbers has.") from None


def _entries(golden: Golden, folder: Path, ids: Path | None) -> Iterator[Entry]:
    exact = golden.exact
    if exact:
        yield from check_noise(golden)
    for from_file in (False, True):
        if exact and (not from_file or golden.checkpoint("vqvae").is_file()):
            yield from check_vqvae(golden, from_file)
        for name in golden.prior_names():
            if not from_file or golden.checkpoint(name).is_file():
                yield from check_prior(golden, name, from_file)
    if not exact:
        return
    for name in golden.scalars.get("songs", {}):
        yield from check_song(golden, name)
    if (folder / "windows.json").is_file():
        yield from check_windows(folder)
    if (folder / "labels.json").is_file() and ids is not None:
        yield from check_labels(folder, ids)
