"""Training recipes: YAML files that describe the model, the music, and how long each component is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit._files import kept_path, user_path
from jukebox_kit._settings import from_mapping, setting_error
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.weights import PARTS, ModelDefinition, load_definition
from jukebox_kit.training.synth import ARTISTS, GENRES
from jukebox_kit.training.vqvae_loss import SPECTRAL, ReconstructionWeights


@dataclass(frozen=True)
class Corpus:
    """How much music is synthesised, in windows of the top prior's length, each from another song.

    songs: trained on; the upsamplers are trained on the first quarter of them.
    held_out: to measure progress on.
    """

    songs: int
    held_out: int

    def __post_init__(self) -> None:
        _check_positive(self, "songs", "held_out")
        if self.songs < 4:
            raise ConfigurationError(f"songs must be at least 4, not {self.songs}.", field="songs")


@dataclass(frozen=True)
class VQVAERecipe:
    """How the VQ-VAE is trained; the losses have the names and weights of the release.

    steps: batches to train on. batch: pieces per batch. samples: the length of a piece.
    learning_rate: the highest one, after `warm_up` steps.
    """

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

    def __post_init__(self) -> None:
        _check_positive(self, "steps", "batch", "samples", "learning_rate", "warm_up")

    @property
    def reconstruction(self) -> ReconstructionWeights:
        """The weights of the reconstruction's errors; `spectral` is that of the mean over three resolutions."""
        return ReconstructionWeights(linf=self.linf, linf_samples=self.linf_samples, multispectral=self.spectral)


@dataclass(frozen=True)
class PriorRecipe:
    """How a prior or an upsampler is trained; fields as in VQVAERecipe."""

    steps: int
    batch: int
    learning_rate: float
    warm_up: int
    weight_decay: float = 0.01
    lyric_loss: float = 0.4

    def __post_init__(self) -> None:
        _check_positive(self, "steps", "batch", "learning_rate", "warm_up")


@dataclass(frozen=True)
class TrainingRun:
    """A whole training run. `priors` are levels 0, 1, 2; the components are written to the folder `out`."""

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

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"seed must be from 0 to 2^63 - 1, not {self.seed}.", field="seed")


def load_training(path: Path) -> TrainingRun:
    """Read a training recipe; its `model` is a name that ships or a path relative to the file.

    Raises RequestError if there is no such file or model, ConfigurationError with the line for a faulty file.
    """
    path = user_path(path)
    values = read_yaml(path, f"there is no training file {path}; see configs/training/demo.yaml for one to copy.")
    file = from_mapping(_File, values, "")
    is_path = file.model.endswith((".yaml", ".yml"))
    model = load_definition(path.parent / user_path(file.model) if is_path else file.model)
    needed = (len(GENRES) + 1, len(ARTISTS) + 1)
    if any(prior.y_bins[0] < needed[0] or prior.y_bins[1] < needed[1] for prior in model.priors):
        sentence = f"the corpus needs y_bins of at least {list(needed)} in every prior."
        raise setting_error(values, "", sentence, "model")
    vqvae, hop = from_mapping(VQVAERecipe, file.vqvae, "vqvae"), model.vqvae.hops[-1]
    least, most = SPECTRAL[0] // 2 + 1, model.top.n_ctx * hop
    if vqvae.samples % hop or not least <= vqvae.samples <= most:
        sentence = f"samples must be a multiple of {hop} from {least} to {most}, not {vqvae.samples}."
        raise setting_error(file.vqvae, "vqvae", sentence, "samples")
    return TrainingRun(
        model,
        file.seed,
        kept_path(file.out),
        from_mapping(Corpus, file.corpus, "corpus"),
        vqvae,
        tuple(from_mapping(PriorRecipe, values[part], part) for part in PARTS[1:]),
    )


def _check_positive(recipe: object, *names: str) -> None:
    for name in names:
        if getattr(recipe, name) <= 0:
            raise ConfigurationError(f"{name} must be above 0, not {getattr(recipe, name)}.", field=name)
