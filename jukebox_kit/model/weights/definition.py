"""Model definitions: YAML files that list a model's components and their files, and its defaults for sampling.

The definitions that ship are in `configs/models/`; a user's own is a YAML file beside its weights.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jukebox_kit._files import kept_path, user_path
from jukebox_kit._settings import from_mapping, setting_error, typed_settings
from jukebox_kit._values import shown
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import CheckpointError, ConfigurationError, JukeboxKitError, RequestError
from jukebox_kit.model.configuration import LABEL_SETS, TRAINING_ONLY, PriorConfig, VQVAEConfig

PACKAGE = Path(__file__).parents[2]

# In a wheel the configs travel inside the package; in a checkout they are beside it.
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"

PARTS = ("vqvae", "level_0", "level_1", "level_2")

OWN_CACHE = Path("~/.cache/jukebox_kit/models")

# The packages that contain the release's tables and code, by the names under which they are imported.
PACKAGES = ("jukebox", "jukebox_infer")  # the same modules under two names

RELEASED = ".pth.tar"  # the suffix of the release's checkpoints

OWN_MODELS = "models"  # in the current folder; fine-tuned models are models/NAME/model.yaml

DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts it

ON_DRIVE = "jukebox_kit"  # the folder of Drive that the notebooks keep everything in

MODEL_FILE = "model.yaml"


@dataclass(frozen=True)
class SamplingDefaults:
    """A model's defaults for fields that a request omits; tuples are levels 0, 1, 2."""

    hop_fraction: tuple[float, float, float] = (0.5, 0.5, 0.125)
    temperature: tuple[float, float, float] = (0.99, 0.99, 0.98)
    total_seconds: float = 180.0


@dataclass(frozen=True)
class TableFiles:
    """The two files of a label set: text with lines `name;id`."""

    artists: str
    genres: str


@dataclass(frozen=True)
class MadeFrom:
    """What a user's own model was made from.

    base: the name of the model. checkpoint: the name of the file that was imported. step: its number of training steps.
    sha256: of the file. All but the base are None for a model that was not imported.
    """

    base: str
    checkpoint: str | None = None
    step: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class ModelDefinition:
    """A model: the hyperparameters and files of its components, and its label tables.

    priors: levels 0, 1, 2.
    files: by component. adapters: likewise, of those that were fine-tuned with one.
    made_from: None for a model that was not made from another one.
    """

    name: str
    about: str
    licence: str
    sampling: SamplingDefaults
    vqvae: VQVAEConfig
    priors: tuple[PriorConfig, ...]
    files: Mapping[str, str]
    tables: Mapping[str, TableFiles]
    folder: Path
    adapters: Mapping[str, str] = field(default_factory=dict[str, str])
    made_from: MadeFrom | None = None

    @property
    def top(self) -> PriorConfig:
        """The top prior's configuration."""
        return self.priors[-1]

    @property
    def seconds_range(self) -> tuple[float, float]:
        """The shortest and longest total length of a song that the top prior was trained on, in seconds."""
        low, high = self.top.min_duration, self.top.max_duration
        if low is None or high is None:
            raise ConfigurationError(f"{self.name}: level_2 needs min_duration and max_duration, in seconds.")
        return low, high

    def window_seconds(self, level: int) -> float:
        """Return how long the audio of a window of a level is, in seconds."""
        return self.priors[level].n_ctx * self.vqvae.hops[level] / self.vqvae.sr

    def find(self, part: str) -> Path:
        """Return the file of a component; CheckpointError lists the places where it was searched for."""
        return find_file(self.files[part], self.folder, f"the {part} weights of {self.name}", self.get)

    def adapter(self, part: str) -> Path | None:
        """Return the file of a component's adapter, None if it has none."""
        return self.folder / self.adapters[part] if part in self.adapters else None

    @property
    def get(self) -> str | None:
        """The command that downloads the model's files, if there is one."""
        return f"jukebox-kit models get {self.name}" if self.name in shipped_models() else None

    def missing(self) -> list[str]:
        """Return the components whose files are not on this machine."""
        return [part for part in PARTS if not any(p.is_file() for p in places(self.files[part], self.folder))]


def models_folder() -> Path:
    """Return the folder for files of the release: `JUKEBOX_KIT_MODELS`, else a folder in the user's cache.

    A relative path refers to the folder that is current at the first call.
    """
    return _kept(os.environ.get("JUKEBOX_KIT_MODELS") or str(OWN_CACHE))


@lru_cache(maxsize=1)
def _kept(folder: str) -> Path:
    return kept_path(folder)


def model_source(model: str | Path) -> str:
    """Return the name of a model that ships unchanged, and any other as the absolute path of its YAML file."""
    path = _own_file(model)
    return str(model) if path is None else str(kept_path(path))


def own_models() -> dict[str, Path]:
    """Return the YAML files of fine-tuned models by name: of `models` here, and on Colab of Drive's."""
    files: dict[str, Path] = {}
    for folder in _own_folders():
        files = {path.parent.name: path for path in folder.glob(f"*/{MODEL_FILE}")} | files
    return dict(sorted(files.items()))


def _own_folders() -> tuple[Path, Path]:
    return Path(OWN_MODELS), DRIVE / ON_DRIVE / OWN_MODELS


def _own_file(model: str | Path) -> Path | None:
    """Return the YAML file of a user's own model, by its path, its folder's path or its name; None for other names."""
    if Path(model).suffix in (".yaml", ".yml"):
        return user_path(model)
    if str(model) in shipped_models():
        return None
    folders = (user_path(model), *(folder / str(model) for folder in _own_folders()))
    with suppress(OSError, ValueError):  # what cannot be a path is not one
        return next((folder / MODEL_FILE for folder in folders if (folder / MODEL_FILE).is_file()), None)
    return None


def converted_name(file: str) -> str:
    """Return the name of a release's checkpoint after conversion, `5b/vqvae.safetensors`; others keep theirs."""
    return f"{file.removesuffix(RELEASED)}.safetensors" if file.endswith(RELEASED) else file


def places(file: str, folder: Path) -> list[Path]:
    """Return the possible paths of a model's file in order: in each folder first converted, then as released."""
    roots = [folder, models_folder(), PACKAGE / "model" / "weights", user_path(OWN_CACHE)]
    roots += [Path.home() / ".cache/jukebox/models", DRIVE / "jukebox/models"]
    roots += [DRIVE / "jukebox-webui/_data/jukebox/models"]
    names = dict.fromkeys((converted_name(file), file))
    return [root / user_path(name) for root in dict.fromkeys(roots) for name in names]


def find_file(file: str, folder: Path, what: str, get: str | None = None) -> Path:
    """Return the first of the paths of `file` that exists; CheckpointError names `what` and all folders.

    get: the command that downloads the file, if there is one.
    """
    paths = places(file, folder)
    for path in paths:
        if path.is_file():
            return path
    roots = ", ".join(dict.fromkeys(str(p.parent) for p in paths if not p.is_relative_to("/content")))
    other = f"run {get}" if get else "set JUKEBOX_KIT_MODELS to the folder that has it"
    raise CheckpointError(f"{what} ({file}) are not on this machine; put the file in one of {roots}, or {other}.")


def shipped_models() -> list[str]:
    """Return the names of the definitions that ship."""
    return sorted(p.stem for p in (CONFIGS / "models").glob("*.yaml"))


def load_definition(model: str | Path) -> ModelDefinition:
    """Read a definition by the name of one that ships or is in `models`, or by the path of a YAML file or its folder.

    Raises RequestError for an unknown name, ConfigurationError for a faulty file; both are about the field "model".
    """
    path = _own_file(model)
    if path is None and str(model) in shipped_models():
        path = CONFIGS / "models" / f"{model}.yaml"
    if path is None:
        known = [*shipped_models(), *own_models()]
        near = difflib.get_close_matches(str(model), known, 1)
        hint = f"did you mean {near[0]}" if near else f"known are {', '.join(known)}"
        raise RequestError(
            f"there is no model {shown(str(model))[1:-1]}; {hint}, or pass the path of a model's YAML file.",
            field="model",
        )
    try:
        return _definition(_read(path), path)
    except JukeboxKitError as error:
        raise type(error)(str(error), field="model") from None


@dataclass(frozen=True)
class _File:
    """A definition as its file contains it; mappings within are Settings."""

    name: str = ""
    about: str = ""
    licence: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    base: str | None = None
    made_from: Mapping[str, Any] | None = None


def _read(path: Path) -> _File:
    """Read a definition, taking the settings and components that it omits from its `base`, by name."""
    values = read_yaml(path, f"there is no model file {path}; pass a name that ships or the path of a YAML file.")
    file = from_mapping(_File, values, "")
    parts = typed_settings(file.parts, dict.fromkeys(PARTS, Mapping[str, Any]), "parts")
    labels = typed_settings(file.labels, dict.fromkeys(LABEL_SETS, Mapping[str, Any]), "labels")
    file = replace(file, parts=parts, labels=labels)
    if file.base is None:
        return file
    if file.base == path.stem or file.base not in shipped_models():
        others = ", ".join(name for name in shipped_models() if name != path.stem)
        raise setting_error(values, "", f"base must be one of {others}, not {file.base}.", "base")
    base = _read(CONFIGS / "models" / f"{file.base}.yaml")
    set_here = {name: getattr(file, name) for name in values}
    return replace(base, **set_here | {"parts": {**base.parts, **parts}})


def _definition(file: _File, path: Path) -> ModelDefinition:
    absent = [name for name in PARTS if name not in file.parts]
    if absent:
        raise ConfigurationError(f"{path}: parts must be {', '.join(PARTS)}; {', '.join(absent)} is missing.")
    files, adapters = dict[str, str](), dict[str, str]()
    own: dict[str, Any] = {"file": str, "adapter": str}
    for name, part in file.parts.items():
        typed = typed_settings(part, own, name, ignored=set(part) - set(own))
        files[name] = typed.get("file", f"{name}.safetensors")
        if "adapter" in typed:
            adapters[name] = typed["adapter"]
    if "vqvae" in adapters:
        raise setting_error(file.parts["vqvae"], "vqvae", "only priors can have an adapter.", "adapter")
    ignored = {*TRAINING_ONLY, *own}
    vqvae = from_mapping(VQVAEConfig, file.parts["vqvae"], "vqvae", ignored)
    priors = tuple(
        from_mapping(PriorConfig, file.parts[part], part, ignored, {"level": level})
        for level, part in enumerate(PARTS[1:])
    )
    tables = {name: from_mapping(TableFiles, table, f"labels {name}") for name, table in file.labels.items()}
    for prior in priors:
        if prior.label_set not in tables:
            raise ConfigurationError(f"{path}: labels must name the files of the {prior.label_set} tables.")
    sampling = from_mapping(SamplingDefaults, file.sampling, "sampling")
    made_from = None if file.made_from is None else from_mapping(MadeFrom, file.made_from, "made_from")
    return ModelDefinition(
        file.name or path.stem,
        file.about,
        file.licence,
        sampling,
        vqvae,
        priors,
        files,
        tables,
        path.parent.absolute(),
        adapters,
        made_from,
    )
