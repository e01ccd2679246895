"""The settings of training: of a prior, as the YAML file of a fine-tuning run has them, and of a VQ-VAE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from jukebox_kit._files import user_path
from jukebox_kit._settings import from_mapping, typed_settings
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.training.layers import STORAGE
from jukebox_kit.training.schedule import LearningRate
from jukebox_kit.training.vqvae_loss import ReconstructionWeights

TARGETS = ("attn.c_attn", "attn.c_enc_kv", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")

COMPUTES = ("auto", "float32", "bfloat16", "float16")

DECAYS = ("cosine", "linear", "constant")

RATES = {"lora": 1e-3, "full": 1e-4}  # the highest learning rate unless the settings say more


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters. rank: of each. scale: of the change that they make. targets: the layers that get one."""

    rank: int = 16
    scale: float = 1.0
    targets: tuple[str, ...] = TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigurationError(f"rank must be at least 1, not {self.rank}.", field="rank")
        unknown = [name for name in self.targets if name not in TARGETS]
        if unknown or not self.targets:
            raise ConfigurationError(f"targets must be some of {', '.join(TARGETS)}.", field="targets")


@dataclass(frozen=True)
class FineTuning:
    """How a level is fine-tuned.

    full: whether all weights are trained; otherwise only adapters, as `lora` says.
    steps: changes of the weights. batch: windows at a time on each GPU, by default what fits. accumulate: how many
        batches make a step.
    learning_rate: the highest, reached after `warm_up` steps; then it falls as `decay` says.
    replay: the share of each batch that the base has sampled of names that it knows, so that it does not forget them.
    replay_windows: how many windows it samples for that.
    row_rate: the learning rate of new artists' and genres' rows relative to that of other values.
    ema: see `trainer.StepSettings`. lyric_loss: likewise.
    computes: the dtype of linear layers, by default float32 on the CPU and a half one on a GPU. storage: of the base's
        weights under adapters: float32, bfloat16, float16 or int8, by default what fits.
    recompute: compute layers again in the backward pass, which takes a third more time and a fraction of the memory.
    save_minutes: between two saves. evaluate_every: steps between two measurements.
    windows: of held-out songs, and of others, that are measured.
    patience: measurements in a row without improvement after which training ends.
    samples: songs to listen to at each measurement. sample_seconds: of each.
    seed: of the order of windows, and of new weights. start: for new names, names whose rows they start with.
    """

    full: bool = False
    lora: LoraSettings = field(default_factory=LoraSettings)
    steps: int = 1000
    batch: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None
    warm_up: int = 20
    decay: str = "cosine"
    weight_decay: float = 0.01
    clip: float = 1.0
    replay: float = 0.25
    replay_windows: int = 64
    row_rate: float = 10.0
    ema: float = 0.0
    lyric_loss: float = 0.4
    computes: str = "auto"
    storage: str = "auto"
    recompute: bool = True
    save_minutes: float = 5.0
    evaluate_every: int = 100
    windows: int = 32
    patience: int = 5
    samples: int = 2
    sample_seconds: float = 6.0
    seed: int = 0
    start: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "warm_up", "evaluate_every", "windows", "patience", "replay_windows"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}.", field=name)
        for name in ("weight_decay", "lyric_loss", "samples", "sample_seconds"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must be at least 0, not {getattr(self, name)}.", field=name)
        if self.batch is not None and self.batch < 1:
            raise ConfigurationError(f"batch must be at least 1, not {self.batch}.", field="batch")
        for name in ("learning_rate", "clip", "save_minutes", "row_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} must be above 0, not {value:g}.", field=name)
        if not 0 <= self.replay <= 0.75:
            raise ConfigurationError(f"replay must be from 0 to 0.75, not {self.replay:g}.", field="replay")
        if not 0 <= self.ema < 1:
            raise ConfigurationError(f"ema must be from 0 to below 1, not {self.ema:g}.", field="ema")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"seed must be from 0 to 2^63 - 1, not {self.seed}.", field="seed")
        choices = {"decay": DECAYS, "computes": COMPUTES, "storage": ("auto", *STORAGE)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigurationError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)}.", field=name
                )

    @property
    def rate(self) -> LearningRate:
        """The learning rate of each step."""
        peak = self.learning_rate or RATES["full" if self.full else "lora"]
        left = max(1, self.steps - self.warm_up)
        return LearningRate(peak, self.warm_up, self.decay, min(self.warm_up, self.steps), left)


class Limits(Protocol):
    """When a loop measures, saves and ends; see FineTuning."""

    @property
    def steps(self) -> int:
        """After how many it ends."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between two measurements."""
        ...

    @property
    def patience(self) -> int:
        """Measurements in a row without improvement after which it ends."""
        ...

    @property
    def save_minutes(self) -> float:
        """Between two saves."""
        ...


@dataclass(frozen=True)
class VQVAERecipe:
    """How a VQ-VAE is trained; the losses have the names and weights of the release.

    steps: batches to train on. batch: pieces per batch. samples: the length of a piece.
    learning_rate: the highest one, after `warm_up` steps; then it falls linearly to 0.
    evaluate_every: steps between two measurements. windows: pieces of held-out songs that are measured.
    patience, save_minutes: see FineTuning.
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
    evaluate_every: int = 100
    windows: int = 32
    patience: int = 10
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        names = ("steps", "batch", "samples", "learning_rate", "warm_up")
        for name in (*names, "evaluate_every", "windows", "patience", "save_minutes"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be above 0, not {getattr(self, name)}.", field=name)

    @property
    def reconstruction(self) -> ReconstructionWeights:
        """The weights of the reconstruction's errors; `spectral` is that of the mean over three resolutions."""
        return ReconstructionWeights(linf=self.linf, linf_samples=self.linf_samples, multispectral=self.spectral)


def load_fine_tuning(path: Path | None, changes: Mapping[str, Any]) -> FineTuning:
    """Read a YAML file of settings, by default none, and replace some by `changes`.

    Raises RequestError if there is no such file, ConfigurationError with the line for a faulty one.
    """
    if path is None:
        return replace(FineTuning(), **changes)
    values = read_yaml(user_path(path), f"there is no file {path}; see configs/training/finetune.yaml for one to copy.")
    lora = typed_settings(values, {"lora": Mapping[str, Any]}, "", ignored=set(values) - {"lora"}).get("lora", {})
    adapters = from_mapping(LoraSettings, lora, "lora")
    return replace(from_mapping(FineTuning, values, "", ("lora",), {"lora": adapters}), **changes)
