"""A folder of recorded numbers: NAME.json (hyperparameters and scalars) and NAME.safetensors (tensors)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from jukebox_kit._settings import from_mapping
from jukebox_kit.checks.verify.entries import TF32_TOLERANCE, TOLERANCES
from jukebox_kit.engine import Placement, of_package, place, repack
from jukebox_kit.errors import RequestError
from jukebox_kit.model import TRAINING_ONLY, VQVAE, Prior, PriorConfig, VQVAEConfig
from jukebox_kit.model.weights import assign, read_state, recipe_state

Part = TypeVar("Part", bound=nn.Module)


@dataclass(frozen=True)
class Golden:
    """The contents of the folder, and the device and precision to run its components with."""

    folder: Path
    scalars: dict[str, Any]
    tensors: dict[str, Tensor]
    placement: Placement

    @classmethod
    def read(cls, folder: Path, placement: Placement, name: str = "golden") -> Golden:
        """Read a folder; RequestError if it is incomplete. name: of its two files."""
        try:
            scalars = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / f"{name}.safetensors")
            scalars["parts"]["vqvae"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise RequestError(
                f"{folder} must have {name}.safetensors and a {name}.json that lists its parts ({error})."
            ) from None
        return cls(folder, scalars, tensors, placement)

    @property
    def device(self) -> torch.device:
        """The device that the components run on."""
        return self.placement.device

    @property
    def exact(self) -> bool:
        """Whether codes must match exactly, as in float32 on the CPU; elsewhere only logits are compared."""
        return self.placement.weights == "float32" and self.placement.on_cpu

    @property
    def tolerance(self) -> float:
        """The tolerance of logits: largest difference over largest magnitude."""
        weights = self.placement.weights
        return TOLERANCES[weights] if weights != "float32" or self.exact else TF32_TOLERANCE

    @property
    def seed(self) -> int:
        """The seed of the noise."""
        return int(self.scalars["seed"])

    @property
    def vqvae_config(self) -> VQVAEConfig:
        """The VQ-VAE's hyperparameters."""
        return from_mapping(VQVAEConfig, self.scalars["parts"]["vqvae"], f"{self.folder}: vqvae", TRAINING_ONLY)

    def prior_names(self) -> list[str]:
        """Return the names of all components but the VQ-VAE."""
        return [name for name in self.scalars["parts"] if name != "vqvae"]

    def checkpoint(self, part: str) -> Path:
        """Return the path of a component's weights, if they are in a file."""
        return self.folder / "checkpoints" / f"{part}.pth.tar"

    def vqvae(self, from_file: bool = False) -> VQVAE:
        """Return the VQ-VAE with recipe weights, or those of its file."""
        with torch.device("meta"):
            part = VQVAE(self.vqvae_config)
        return self._filled(part, "vqvae", from_file)

    def prior(self, name: str, from_file: bool = False) -> Prior:
        """Return a prior with recipe weights, or those of its file."""
        config = from_mapping(PriorConfig, self.scalars["parts"][name], f"{self.folder}: {name}", TRAINING_ONLY)
        with torch.device("meta"):
            part = Prior(config, self.vqvae_config)
        return self._filled(part, name, from_file)

    def level_part(self, level: int) -> str:
        """Return the name of a lower level's component."""
        return next(n for n in self.prior_names() if self.scalars["parts"][n]["level"] == level)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor on the device."""
        return self.tensors[name].to(self.device)

    def _filled(self, part: Part, name: str, from_file: bool) -> Part:
        path = self.checkpoint(name)
        state = read_state(path) if from_file else recipe_state(part)
        if self.placement.engine == "jukebox":
            return of_package(part, state, self.placement)
        assign(part, state, str(path) if from_file else f"recipe of {name}")
        place(part, self.device, self.placement.dtype)
        repack(part, self.placement)
        return part
