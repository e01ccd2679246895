"""Recipes of training from scratch: YAML files that name the model, the music, and how each component is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jukebox_kit._files import kept_path, user_path
from jukebox_kit._settings import from_mapping, setting_error, typed_settings
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.weights import PARTS, ModelDefinition, load_definition, model_source
from jukebox_kit.training.corpus import Synthesiser
from jukebox_kit.training.dataset import Music, Recordings
from jukebox_kit.training.settings import FineTuning, LoraSettings, VQVAERecipe
from jukebox_kit.training.synth import LOWEST_RATE
from jukebox_kit.training.vqvae_loss import SPECTRAL

# Settings of fine-tuning that have one meaning only when all weights start from random values.
FIXED: dict[str, Any] = {
    **{"full": True, "lora": LoraSettings(), "replay": 0.0, "replay_windows": 1, "row_rate": 1.0},
    **{"storage": "auto", "start": {}},
}

DEFAULTS: dict[str, Any] = {"learning_rate": 3e-4, "warm_up": 100, "decay": "linear"}  # where they are the release's


@dataclass(frozen=True)
class PriorRecipe:
    """How a prior is trained from random weights. settings: of its training. init_scale: see `initial.draw_prior`."""

    settings: FineTuning
    init_scale: float = 0.7

    def __post_init__(self) -> None:
        if not self.init_scale > 0:
            raise ConfigurationError(f"init_scale must be above 0, not {self.init_scale:g}.", field="init_scale")


@dataclass(frozen=True)
class TrainingRecipe:
    """A whole training run: a model, named by `source`, on music.

    priors: levels 0, 1, 2. out: the folder that becomes the model.
    """

    source: str
    model: ModelDefinition
    seed: int
    out: Path
    music: Music
    vqvae: VQVAERecipe
    priors: tuple[PriorRecipe, ...]


@dataclass(frozen=True)
class _File:
    """A recipe as its file contains it."""

    model: str
    seed: int
    out: str
    vqvae: Mapping[str, Any]
    level_0: Mapping[str, Any]
    level_1: Mapping[str, Any]
    level_2: Mapping[str, Any]
    corpus: Mapping[str, Any] | None = None
    recordings: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63 - len(PARTS):
            raise ConfigurationError(f"seed must be from 0 to 2^63 - {len(PARTS) + 1}, not {self.seed}.", field="seed")
        if (self.corpus is None) == (self.recordings is None):
            raise ConfigurationError("name the music by one of corpus (synthesised songs) and recordings (a folder).")


def load_training(path: Path) -> TrainingRecipe:
    """Read a training recipe; its `model` is a name that ships or a path relative to the file.

    Raises RequestError if there is no such file or model, ConfigurationError with the line for a faulty file.
    """
    path = user_path(path)
    values = read_yaml(path, f"there is no training file {path}; see configs/training/demo.yaml for one to copy.")
    file = from_mapping(_File, values, "")
    is_path = file.model.endswith((".yaml", ".yml"))
    source = model_source(path.parent / user_path(file.model) if is_path else file.model)
    model = load_definition(source)
    vqvae, hop = from_mapping(VQVAERecipe, file.vqvae, "vqvae"), model.vqvae.hops[-1]
    if file.corpus is not None and model.vqvae.sr < LOWEST_RATE:
        sentence = f"songs are synthesised at {LOWEST_RATE} Hz or more, and {file.model} has {model.vqvae.sr} Hz."
        raise setting_error(values, "", sentence, "corpus")
    least, most = SPECTRAL[0] // 2 + 1, model.top.n_ctx * hop
    if vqvae.samples % hop or not least <= vqvae.samples <= most:
        sentence = f"samples must be a multiple of {hop} from {least} to {most}, not {vqvae.samples}."
        raise setting_error(file.vqvae, "vqvae", sentence, "samples")
    priors = tuple(_prior(values[part], part, file.seed + level) for level, part in enumerate(PARTS[1:]))
    return TrainingRecipe(source, model, file.seed, kept_path(file.out), _music(file), vqvae, priors)


def _music(file: _File) -> Music:
    if file.corpus is not None:
        return from_mapping(Synthesiser, file.corpus, "corpus", (), {"seed": file.seed})
    assert file.recordings is not None
    found = from_mapping(Recordings, file.recordings, "recordings")
    return replace(found, folder=str(kept_path(found.folder)))


def _prior(values: Mapping[str, Any], part: str, seed: int) -> PriorRecipe:
    own = typed_settings(values, {"init_scale": float}, part, ignored=set(values) - {"init_scale"})
    if "steps" not in values:
        raise setting_error(values, part, "missing steps.")
    settings = from_mapping(FineTuning, values, part, ("init_scale",), {**FIXED, "seed": seed})
    settings = replace(settings, **{name: value for name, value in DEFAULTS.items() if name not in values})
    return from_mapping(PriorRecipe, {}, part, (), {"settings": settings, **own})
