"""The model of the recorded old files, and files like them, for the tests of import and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from jukebox_kit.model.weights.blank import blank_prior
from jukebox_kit.model.weights.checkpoint import recipe_state
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.song.interop.importing import ImportOverrides, ImportResult, import_songs
from jukebox_kit.song.song import Song
from tests.conftest import GOLDEN

OLD_RUN, OLD_FORMATS = GOLDEN / "old_run", GOLDEN / "old_formats"
HOPS = (8, 32, 128)


def write_mini(folder: Path) -> Path:
    """Write the small 5b that the recorded old files were made with; two parts as recorded, two by recipe."""
    parts = json.loads((GOLDEN / "golden.json").read_text())["parts"]
    files = {name: str(GOLDEN / "checkpoints" / f"{name}.pth.tar") for name in ("vqvae", "upsampler_level_0")}
    names = {"vqvae": "vqvae", "level_0": "upsampler_level_0", "level_1": "upsampler_level_1", "level_2": "prior_5b"}
    hyper = {
        part: {k: v for k, v in parts[name].items() if k != "level"} | ({"file": files[name]} if name in files else {})
        for part, name in names.items()
    }
    tables = {"v2": {"artists": "artists.txt", "genres": "genres.txt"}}
    definition = {
        "name": "mini",
        "about": "the recorded files' model",
        "licence": "MIT",
        "labels": tables,
        "parts": hyper,
    }
    (folder / "mini.yaml").write_text(yaml.safe_dump(definition))
    (folder / "artists.txt").write_text("unknown;0\nfrank_sinatra;1\na;2\nb;3\n")
    (folder / "genres.txt").write_text("unknown;0\nclassic;1\npop;2\ng;5\n")
    for level in (1, 2):
        blank = blank_prior(load_definition(folder / "mini.yaml"), level)
        state = {key: value.contiguous() for key, value in recipe_state(blank).items()}
        save_file(state, folder / f"level_{level}.safetensors")
    return folder / "mini.yaml"


def codes_of(path: Path) -> list[Tensor]:
    """Return a recorded file's codes by torch's own safe reader, for comparison."""
    import numpy as np

    multiarray: Any = getattr(np, "_core", None) or getattr(np, "core")  # noqa: B009
    scalar = multiarray.multiarray.scalar
    allowed = [scalar, np.dtype, type(np.dtype("int64")), (scalar, "numpy.core.multiarray.scalar")]
    with torch.serialization.safe_globals(allowed):
        content = torch.load(path, map_location="cpu", weights_only=True)
    return list(content["zs"] if isinstance(content, dict) else content)


def holds(song: Song, codes: list[Tensor]) -> bool:
    """Return whether a song begins with the codes on every level."""
    found = [torch.from_numpy(song.codes(level).astype("int64")) for level in range(3)]
    return all(torch.equal(f[:, : z.shape[1]], z.long()) for f, z in zip(found, codes, strict=True) if z.numel())


def imported(place: Path, target: Path, mini: Path, **answers: Any) -> list[ImportResult]:
    """Import with the small model and an artist that the tables know."""
    known: dict[str, Any] = {"model": str(mini), "artist": "a", "genre": "g"} | answers
    return list(import_songs(place, target, ImportOverrides(**known)))


def one(place: Path, target: Path, mini: Path, **answers: Any) -> Song:
    """Import one song."""
    (outcome,) = imported(place, target, mini, **answers)
    assert outcome.song is not None, outcome.failed
    return outcome.song


def labelled(artists: list[str], width: int = 9, total: int = 8820000, lyrics: str = "") -> list[dict[str, Any]]:
    """Return three levels' labels of items with these artists, as the release keeps them."""
    y = torch.zeros(len(artists), width, dtype=torch.int64)
    y[:, 0] = total
    info = [{"artist": artist, "genre": "g", "lyrics": lyrics, "full_tokens": []} for artist in artists]
    return [{"y": y, "info": info}] * 3


def write_run(
    folder: Path, artists: list[str], lengths: tuple[int, int, int] = (0, 0, 88), **labels: Any
) -> list[Tensor]:
    """Write a run's highest level as the release does, and return its codes."""
    generator = torch.Generator().manual_seed(len(str(folder)))
    zs = [torch.randint(0, 64, (len(artists), n), generator=generator) for n in lengths]
    content = {"zs": zs, "labels": labelled(artists, **labels), "sampling_kwargs": [{"temp": 0.9}] * 3, "x": None}
    (folder / "level_2").mkdir(parents=True)
    torch.save(content, folder / "level_2" / "data.pth.tar")
    return zs
