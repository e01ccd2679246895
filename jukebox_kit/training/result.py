"""What training leaves: a folder that is a model, with a YAML definition, adapters or weights, and label tables.

models/NAME/model.yaml, level_N.adapter.safetensors or level_N.safetensors, v3_artists.txt, v3_genres.txt, …; what it
shares with its base stays with the base. Further levels can be added to it later.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from jukebox_kit._files import make_folder, replacing, shown_path, write_atomically
from jukebox_kit._yaml import write_yaml
from jukebox_kit.errors import RequestError
from jukebox_kit.model import LEVELS, PriorConfig, Tables, VQVAEConfig
from jukebox_kit.model.weights import (
    CONFIGS,
    MODEL_FILE,
    PARTS,
    Adapter,
    MadeFrom,
    ModelDefinition,
    blank_prior,
    changes_layers,
    load_definition,
    read_state,
    read_tables,
)
from jukebox_kit.training.new_names import Extension
from jukebox_kit.training.trainable import adapter_tensors, extend_tables


def check_extends(folder: Path, base: ModelDefinition, extension: Extension) -> None:
    """Raise RequestError if a folder holds another model than the one that training would add a level to."""
    if not (folder / MODEL_FILE).is_file():
        return
    before = load_definition(folder / MODEL_FILE)
    files = {part: os.path.realpath(before.find(part)) for part in PARTS}
    same = [files[p] == os.path.realpath(base.find(p)) for p in PARTS if p in before.adapters or p == PARTS[0]]
    tables = read_tables(before, str(folder))[extension.label_set]
    if not all(same) or (tables.artists, tables.genres) != (extension.tables.artists, extension.tables.genres):
        raise RequestError(
            f"{shown_path(folder)} is a model of another base or with other artists and genres; choose another name."
        )


def write_model(
    folder: Path,
    name: str,
    about: str,
    base: ModelDefinition,
    extension: Extension,
    start: Mapping[str, str],
    trained: Mapping[int, Path],
) -> None:
    """Write a model's YAML file, its tables, and adapters with the new rows of levels that were not trained.

    trained: by level, the file in `folder` that training wrote, an adapter or whole weights.
    """
    make_folder(folder)
    tables = read_tables(base, base.name) | {extension.label_set: extension.tables}
    grown = extension.extended(base)
    parts: dict[str, dict[str, Any]] = {PARTS[0]: {"file": file_of(base, PARTS[0], folder), **settings_of(base.vqvae)}}
    for level in LEVELS:
        part, file = PARTS[level + 1], trained.get(level)
        values: dict[str, Any] = {"file": file_of(base, part, folder)}
        if file is not None and _is_adapter(file):
            values["adapter"] = file.name
        elif file is not None:
            values["file"] = file.name
        elif grown.priors[level] != base.priors[level]:
            values["adapter"] = _rows_only(folder, base, level, extension, start)
        parts[part] = values | settings_of(grown.priors[level])
    made = dataclasses.replace(base, name=name, about=about, made_from=MadeFrom(base.name))
    write_definition(folder, made, tables, parts)


def begin_model(folder: Path, source: str, artists: Sequence[str], genres: Sequence[str]) -> ModelDefinition:
    """Write the definition and tables of a model that is trained from scratch, without weights; returns it.

    source: a model with its hyperparameters, whose tables get the new ones of the names of artists and genres.
    RequestError if the folder holds another model.
    """
    base = load_definition(source)
    tables = read_tables(base, source)
    for label_set in tables:
        extension = Extension.of(base, tables[label_set], artists, genres)
        base, tables = extension.extended(base), tables | {label_set: extension.tables}
    if (folder / MODEL_FILE).is_file():
        before = load_definition(folder / MODEL_FILE)
        if (before.vqvae, before.priors, read_tables(before, str(folder))) != (base.vqvae, base.priors, tables):
            raise RequestError(f"{shown_path(folder)} is another model; choose another folder with `out`.")
    parts = {
        part: {"file": weights_name(part), **settings_of(config)}
        for part, config in zip(PARTS, (base.vqvae, *base.priors), strict=True)
    }
    write_definition(folder, dataclasses.replace(base, name=folder.name, about="trained from scratch"), tables, parts)
    return load_definition(folder / MODEL_FILE)


def adapter_name(level: int) -> str:
    """Return the name of a level's adapter in the folder of a model."""
    return f"{PARTS[level + 1]}.adapter.safetensors"


def weights_name(part: str) -> str:
    """Return the name of a component's weights, likewise."""
    return f"{part}.safetensors"


def trained_files(folder: Path) -> dict[int, Path]:
    """Return the files of levels that were trained before in the folder of a model."""
    if not (folder / MODEL_FILE).is_file():
        return {}
    before, found = load_definition(folder / MODEL_FILE), dict[int, Path]()
    for level in LEVELS:
        adapter, weights = before.adapter(PARTS[level + 1]), folder / weights_name(PARTS[level + 1])
        if adapter is not None and changes_layers(adapter):
            found[level] = adapter
        elif before.files[PARTS[level + 1]] == weights.name and weights.is_file():
            found[level] = weights
    return found


def write_adapter(folder: Path, level: int, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> Path:
    """Write a level's adapter; returns its path. facts: for its metadata."""
    make_folder(folder)
    write_atomically(folder, adapter_name(level), Adapter("", tensors).to_bytes({"format": "pt", **facts}))
    return folder / adapter_name(level)


def write_weights(folder: Path, part: str, state: Mapping[str, Tensor]) -> Path:
    """Write a component's whole weights; returns their path."""
    make_folder(folder)
    path = folder / weights_name(part)
    with replacing(path) as beside:
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        save_file(tensors, beside, {"format": "pt", "part": part})
    return path


def merge(model: str | Path, folder: Path) -> Path:
    """Write a fine-tuned model as a folder with whole weights and no adapters; returns its YAML file.

    RequestError if the model has no adapters, or if the folder exists.
    """
    definition = load_definition(model)
    if not definition.adapters:
        raise RequestError(f"{definition.name} has no adapters to merge; its weights are whole already.")
    if folder.exists():
        raise RequestError(f"{shown_path(folder)} exists already; choose a new folder.")
    make_folder(folder)
    parts: dict[str, dict[str, Any]] = {}
    for part, config in zip(PARTS, (definition.vqvae, *definition.priors), strict=True):
        path, adapter = definition.find(part), definition.adapter(part)
        parts[part] = {"file": file_of(definition, part, folder), **settings_of(config)}
        if adapter is not None:
            read = Adapter.read(adapter)
            state = {name: read.changed(name, value.float()) for name, value in read_state(path).items()}
            parts[part]["file"] = write_weights(folder, part, state).name
    tables = read_tables(definition, definition.name)
    write_definition(folder, dataclasses.replace(definition, name=folder.name), tables, parts)
    return folder / MODEL_FILE


def write_definition(
    folder: Path, definition: ModelDefinition, tables: Mapping[str, Tables], parts: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the label tables and, last, the YAML file of a model. definition: what it has beside `parts`."""
    labels: dict[str, dict[str, str]] = {}
    for label_set, table in tables.items():
        files = {kind: f"{label_set}_{kind}.txt" for kind in ("artists", "genres")}
        for file, names in zip(files.values(), (table.artists, table.genres), strict=True):
            rows = sorted(names.items(), key=lambda row: row[1])
            write_atomically(folder, file, "".join(f"{name};{index}\n" for name, index in rows).encode())
        labels[label_set] = files
    known: dict[str, Any] = {"name": definition.name, "about": definition.about, "licence": definition.licence}
    settings = {"sampling": settings_of(definition.sampling), "labels": labels}
    if definition.made_from is not None:
        known["made_from"] = settings_of(definition.made_from)
    write_atomically(folder, MODEL_FILE, write_yaml({**known, **settings, "parts": parts}))


def _rows_only(folder: Path, base: ModelDefinition, level: int, extension: Extension, start: Mapping[str, str]) -> str:
    """Write an adapter with nothing but the new rows of a level that was not trained; returns its name."""
    prior = blank_prior(base, level)
    state = read_state(base.find(PARTS[level + 1]))
    for name, _ in list(prior.named_parameters()):
        if name.startswith("y_emb."):
            module = prior.get_submodule(name.removesuffix(".weight"))
            module.load_state_dict({"weight": state[name].float()}, assign=True)
    extend_tables(prior, extension, start)
    tensors = adapter_tensors(prior, dict(prior.named_parameters()))
    return write_adapter(folder, level, tensors, {"part": PARTS[level + 1]}).name


def _is_adapter(file: Path) -> bool:
    return file.name.endswith(".adapter.safetensors")


def settings_of(config: PriorConfig | VQVAEConfig | Any) -> dict[str, Any]:
    """Return the fields of a configuration that differ from their defaults, as YAML has them."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default and field.name != "level":
            values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def file_of(base: ModelDefinition, part: str, folder: Path) -> str:
    """Return how a definition in `folder` names a file of its base: a shipped model's by its name, others by a path."""
    if base.folder == (CONFIGS / "models").absolute():
        return base.files[part]
    return os.path.relpath(base.find(part), folder)
