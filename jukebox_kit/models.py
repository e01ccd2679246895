"""A model as a person loads it: its definition, its tables, and its parts, read when first needed."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from jukebox_kit.definitions import PARTS, ModelDefinition, find_file, load_definition
from jukebox_kit.errors import CheckpointError, ConfigurationError, RequestError
from jukebox_kit.labels import Tables
from jukebox_kit.model.checkpoint import assign, brought, fingerprint, matched, read_shapes, read_state
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.transformer import Linear
from jukebox_kit.model.vqvae import VQVAE

Part = TypeVar("Part", bound=nn.Module)


class Model:
    """One model on one device. At most one prior is held at a time: they are used one after another."""

    def __init__(self, source: str, definition: ModelDefinition, device: torch.device, dtype: torch.dtype) -> None:
        self.source, self.definition, self.device, self.dtype = source, definition, device, dtype
        self._held: tuple[int, Prior] | None = None

    @classmethod
    def load(
        cls,
        model: str | Path = "demo",
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Model:
        """Return a model by the name of one that ships or the path of its YAML; files are read on first use.

        device: the GPU where there is one, else the CPU. dtype: that of the transformers' maps, float16 on a GPU and
        float32 on the CPU; all else is float32.
        """
        definition = load_definition(model)
        chosen = usable_device(device)
        return cls(str(model), definition, chosen, dtype or (torch.float32 if chosen.type == "cpu" else torch.float16))

    @cached_property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE, float32."""
        return self._loaded(blank_vqvae(self.definition), "vqvae")

    @property
    def top(self) -> Prior:
        """The top prior."""
        return self.prior(len(self.definition.priors) - 1)

    def prior(self, level: int) -> Prior:
        """Return a level's prior, letting go of the one held before."""
        if self._held is None or self._held[0] != level:
            self._held = None
            self._held = level, self._loaded(blank_prior(self.definition, level), PARTS[level + 1])
        return self._held[1]

    def fingerprints(self) -> dict[str, str]:
        """Return a fingerprint of each part's file."""
        return {part: fingerprint(self.definition.find(part)) for part in PARTS}

    def check_files(self) -> None:
        """Raise CheckpointError where any part's file is missing or another part's, before any work starts.

        Files are mapped, so this reads names and shapes only.
        """
        blanks = [blank_vqvae(self.definition), *(blank_prior(self.definition, level) for level in range(3))]
        for part, blank in zip(PARTS, blanks, strict=True):
            path = self.definition.find(part)
            matched(blank, read_shapes(path), str(path))

    @cached_property
    def tables(self) -> dict[str, Tables]:
        """The label sets' names, by set."""
        return {name: self._table(name) for name in self.definition.tables}

    def _table(self, label_set: str) -> Tables:
        files, folder = self.definition.tables[label_set], self.definition.folder
        table = Tables.read(
            label_set, *(find_table(name, folder, self.definition.get) for name in (files.artists, files.genres))
        )
        for prior in self.definition.priors:
            needed = (max(table.genres.values(), default=0) + 1, max(table.artists.values(), default=0) + 1)
            if prior.label_set == label_set and (needed[0] > prior.y_bins[0] or needed[1] > prior.y_bins[1]):
                has, needs = list(prior.y_bins), list(needed)
                raise ConfigurationError(
                    f"{self.source}: y_bins of level {prior.level} are {has}; its tables need {needs}."
                )
        return table

    def _loaded(self, blank: Part, name: str) -> Part:
        path = self.definition.find(name)
        state = read_state(path)
        matched(blank, state, str(path))  # another part's file is refused before its gigabytes are read
        maps = map_names(blank)
        dtypes = {key: self.dtype if key in maps else torch.float32 for key in state}
        assign(blank, brought(path, state, dtypes, self.device), str(path))
        place(blank, self.device, self.dtype)
        return blank


def blank_vqvae(definition: ModelDefinition) -> VQVAE:
    """Return the VQ-VAE without weights, on the meta device."""
    with torch.device("meta"):
        return VQVAE(definition.vqvae)


def blank_prior(definition: ModelDefinition, level: int) -> Prior:
    """Return a level's prior without weights, on the meta device."""
    with torch.device("meta"):
        return Prior(definition.priors[level], definition.vqvae)


def usable_device(name: str | torch.device | None) -> torch.device:
    """Return the device named, the GPU where there is one if none is; RequestError where torch cannot use it."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise RequestError(f"there is no device {name}; choose cpu or cuda, or leave it out.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RequestError("there is no GPU that torch can use; leave the device out or choose cpu.")
    return device


def place(part: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a part to a device for inference: the transformers' maps in `dtype`, everything else in float32."""
    maps = map_names(part)
    for name, value in [*part.named_parameters(), *part.named_buffers()]:
        value.data = value.data.to(device, dtype if name in maps else torch.float32)
    part.requires_grad_(False).eval()


def map_names(part: nn.Module) -> set[str]:
    """Return the names of the weights and biases of the transformers' maps, which a GPU computes in float16."""
    return {
        f"{name}.{own}"
        for name, module in part.named_modules()
        if isinstance(module, Linear)
        for own, _ in module.named_parameters()
    }


def find_table(name: str, folder: Path, get: str | None = None) -> Path:
    """Return an id table's path: where models lie, else inside an installed `jukebox` or `jukebox_infer` package.

    CheckpointError where it is nowhere, naming `get`, the command that brings it.
    """
    try:
        return find_file(name, folder, "the artist and genre tables", get)
    except CheckpointError as error:
        for package in ("jukebox", "jukebox_infer"):
            spec = importlib.util.find_spec(package)
            for root in (spec.submodule_search_locations or []) if spec else []:
                path = Path(root) / "data" / "ids" / Path(name).name
                if path.is_file():
                    return path
        raise CheckpointError(
            f"{error} The release's tables also come with the jukebox extra: pip install 'jukebox_kit[jukebox]'."
        ) from None
