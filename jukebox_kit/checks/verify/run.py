"""Replays a folder of recorded numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jukebox_kit.checks.verify.entries import TOLERANCES, Entry
from jukebox_kit.checks.verify.features import feature_entries
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.checks.verify.parts import check_noise, check_prior, check_vqvae
from jukebox_kit.checks.verify.songs import check_labels, check_song, check_windows
from jukebox_kit.checks.verify.training import training_entries
from jukebox_kit.engine import Placement
from jukebox_kit.errors import RequestError

PLAIN = ("training", "features")  # names of folders' files that hold what plain forward passes replay


def verify_folder(folder: Path, ids: Path | None, device: str, dtype: str, engine: str) -> Iterator[Entry]:
    """Yield every entry of a folder of recorded numbers; RequestError if the options or the folder are unusable."""
    if dtype not in TOLERANCES:
        raise RequestError(f"recorded numbers can be compared in {' or '.join(TOLERANCES)}, not in {dtype}.")
    name = next((name for name in PLAIN if (folder / f"{name}.json").is_file()), "golden")
    engine = "plain" if name in PLAIN and engine != "jukebox" else engine
    golden = Golden.read(folder, Placement.of(device, dtype, engine), name)
    try:
        if name == "features":
            yield from feature_entries(golden)
        else:
            yield from training_entries(golden, ids) if name == "training" else _entries(golden, folder, ids)
    except KeyError as error:
        raise RequestError(f"{folder} is not a complete folder of recorded numbers: {error} is missing.") from None


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
