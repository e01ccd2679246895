"""A training run as a YAML file: which model, on what music, and for how long each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit._files import kept_path, user_path
from jukebox_kit._settings import from_mapping
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.weights import PARTS, ModelDefinition, load_definition
from jukebox_kit.training.synth import ARTISTS, GENRES
from jukebox_kit.training.vqvae_loss import ReconstructionWeights


@dataclass(frozen=True)
class Corpus:
    """How much music is synthesised: `songs` windows of the top prior's length, and `held_out` more to measure on."""

    songs: int
    held_out: int


@dataclass(frozen=True)
class VQVAERecipe:
    """How the VQ-VAE is trained; the losses' names and weights are the release's."""

    steps: int
    batch: int
    samples: int
    learning_rate: float
    warm_up: int
    commit: float = 0.02
    linf: float = 0.02
    linf_samples: int = 2048
    spectral: float = 1.0
    codebook_average: float = 0.99
    revive_below: float = 0.04  # of a code's fair share of the batch

    @property
    def reconstruction(self) -> ReconstructionWeights:
        """The weights of the reconstruction's errors; `spectral` is that of the mean over three resolutions."""
        return ReconstructionWeights(linf=self.linf, linf_samples=self.linf_samples, multispectral=self.spectral)


@dataclass(frozen=True)
class PriorRecipe:
    """How a prior or an upsampler is trained."""

    steps: int
    batch: int
    learning_rate: float
    warm_up: int
    weight_decay: float = 0.01
    lyric_loss: float = 0.4


@dataclass(frozen=True)
class TrainingRun:
    """The whole run. `priors` are level 0, 1, 2; parts are written to `out`."""

    model: ModelDefinition
    seed: int
    out: Path
    corpus: Corpus
    vqvae: VQVAERecipe
    priors: tuple[PriorRecipe, ...]


@dataclass(frozen=True)
class _File:
    """A recipe as its file contains it."""

    model: str
    seed: int
    out: str
    corpus: Mapping[str, Any]
    vqvae: Mapping[str, Any]
    level_0: Mapping[str, Any]
    level_1: Mapping[str, Any]
    level_2: Mapping[str, Any]


def load_training(path: Path) -> TrainingRun:
    """Read a training recipe; its `model` is a name that ships or a path relative to the file.

    Raises RequestError if there is no such file or model, ConfigurationError with the line for a wrong file.
    """
    path = user_path(path)
    values = read_yaml(path, f"there is no training file {path}; see configs/training/demo.yaml for one to copy.")
    file = from_mapping(_File, values, "")
    is_path = file.model.endswith((".yaml", ".yml"))
    model = load_definition(path.parent / user_path(file.model) if is_path else file.model)
    needed = (len(GENRES) + 1, len(ARTISTS) + 1)
    if any(prior.y_bins[0] < needed[0] or prior.y_bins[1] < needed[1] for prior in model.priors):
        place = values.place("model")
        raise ConfigurationError(f"{place}: the corpus needs y_bins of at least {list(needed)} in every prior.")
    return TrainingRun(
        model,
        file.seed,
        kept_path(file.out),
        from_mapping(Corpus, file.corpus, "corpus"),
        from_mapping(VQVAERecipe, file.vqvae, "vqvae"),
        tuple(from_mapping(PriorRecipe, values[part], part) for part in PARTS[1:]),
    )
