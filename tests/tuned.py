"""A model as fine-tuning leaves it, without training it."""

from __future__ import annotations

from pathlib import Path

import torch

from jukebox_kit.model.weights.blank import blank_prior
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.model.weights.tables import read_tables
from jukebox_kit.training.new_names import Extension
from jukebox_kit.training.result import write_adapter, write_model


def write_tuned(folder: Path, base: Path) -> None:
    """Write a model in a folder: an adapter for the base's level 2, and rows of a new artist for the other levels."""
    definition = load_definition(base)
    layer = "prior.transformer._attn_mods.0.mlp.c_fc"
    into, out = blank_prior(definition, 2).state_dict()[f"{layer}.w"].shape
    tensors = {f"{layer}.a": torch.ones(into, 1), f"{layer}.b": torch.ones(1, out)}
    tensors |= {f"y_emb.artist_emb.emb.{name}": torch.ones(1, 16) for name in ("rows", "rows_before")}
    file = write_adapter(folder, 2, tensors, {})
    extension = Extension.of(definition, read_tables(definition, "tiny")["v3"], ["her choir"], [])
    about = f"fine-tuned from {definition.name} on her choir"
    write_model(folder, folder.name, about, definition, extension, {}, {2: file})
