"""Compares the released weights with numbers that another project published."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from jukebox_kit.checks.verify.entries import Entry, equal, same
from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError
from jukebox_kit.model import Labels, label_rows

ABSOLUTE = 1e-4  # the numbers were published with four decimals


def verify_model(name: str, device: str) -> Iterator[Entry]:
    """Yield the entries for a model whose files are on this machine: the VQ-VAE, and the top prior's labels.

    Raises RequestError for a model without published numbers, CheckpointError if files are missing.
    """
    if name != "1b_lyrics":
        raise RequestError(f"no numbers were published for {name}; choose 1b_lyrics.")
    known = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    model = Model.load(name, device, "float32")
    model.check_files()
    torch.manual_seed(0)
    codes = model.vqvae.encode(torch.rand((1, 5120, 1)).to(device))
    for level, want in known["codes"].items():
        yield same(f"vqvae.codes_{level}", codes[int(level)][0, : len(want)], torch.tensor(want))
    audio = model.vqvae.decode(codes[2], 2)[0, : len(known["decoded_2"]), 0]
    yield _near("vqvae.decoded_from_2", audio, known["decoded_2"])
    artist, genre = model.tables["v3"].artist(known["artist"][0]), model.tables["v3"].genre(known["genre"][0], 1)
    yield equal("ids", (*artist.ids, *genre.ids), (known["artist"][1], known["genre"][1]))
    prior, config = model.top, dataclasses.replace(model.top.config, min_duration=0.0)
    labels = Labels(artist.ids[0], genre.ids, (), known["total_length"])
    y = label_rows([labels], config, prior.hop, 0, model.device)
    high = float(config.max_duration or 0) * model.definition.vqvae.sr
    prior.y_emb.ranges = ((0.0, high), *prior.y_emb.ranges[1:])  # the published run used no minimum duration
    yield _near("top.y_cond", prior.y_emb.names(y)[0, 0], known["y_cond"])
    yield _near("top.time_cond", prior.y_emb.times(y)[0, 0], known["time_cond"])


def _near(name: str, got: torch.Tensor, want: list[float]) -> Entry:
    worst = float((got[: len(want)].detach().cpu() - torch.tensor(want)).abs().max())
    return Entry(name, f"difference {worst:.1e}", worst <= ABSOLUTE)
