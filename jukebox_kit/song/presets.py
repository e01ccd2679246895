"""Presets: YAML files that fill in some of a request (a style) or of how the work is done (hardware).

Those that ship lie in `configs/presets/`; a person's own are kept in a folder of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jukebox_kit._files import make_folder, write_atomically
from jukebox_kit.errors import ConfigurationError, JukeboxKitError, RequestError
from jukebox_kit.model.weights import CONFIGS, read_yaml
from jukebox_kit.song.arguments import checked
from jukebox_kit.song.request import FIELD_TYPES, normalise_request, typed_fields

OPTIONS: Mapping[str, type] = {"batch_size": int, "save_every": float, "preview_every": float}

"""The fields of `RunSettings` that a preset may set, with their types."""

OLDER_OPTIONS = {"batch": "batch_size"}


@dataclass(frozen=True)
class Preset:
    """Some fields of `Request` and of `RunSettings`, by name; whatever is not said stays as it is."""

    name: str
    about: str = ""
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        _check_names(self.name, "request", self.request, set(FIELD_TYPES))
        named = {OLDER_OPTIONS.get(name, name): value for name, value in self.options.items()}
        object.__setattr__(self, "options", named)
        _check_names(self.name, "options", self.options, set(OPTIONS))
        try:
            normalise_request(self.request)
            object.__setattr__(self, "request", typed_fields(self.request))
            options = {name: checked(name, value, OPTIONS[name]) for name, value in self.options.items()}
            object.__setattr__(self, "options", options)
        except JukeboxKitError as error:
            raise ConfigurationError(f"preset {self.name}: {error}", field=error.field) from None
        for name, value in self.options.items():
            if value <= 0:
                raise ConfigurationError(f"preset {self.name}: {name} must be above 0, not {value:g}.", field=name)


def load_preset(path: Path) -> Preset:
    """Read a preset; ConfigurationError says what is wrong with the file."""
    values = read_yaml(path)
    unknown = sorted(set(values) - {"about", "request", "options"})
    if unknown:
        raise ConfigurationError(f"{path}: unknown setting {unknown[0]}; known are about, request and options.")
    parts = {name: values.get(name) or {} for name in ("request", "options")}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise ConfigurationError(f"{path}: request and options must hold settings by name.")
    return Preset(path.stem, str(values.get("about", "")), **parts)


def find_presets(own: Path | None = None) -> dict[str, Path]:
    """Return the presets that ship and those in a person's folder, by name; a person's go before."""
    folders = [CONFIGS / "presets", *([own] if own is not None else [])]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def save_preset(preset: Preset, own: Path) -> Path:
    """Keep a preset in a person's folder under its name; returns the path. RequestError for a name that is no name."""
    if not re.fullmatch(r"[\w-]+", preset.name):
        raise RequestError(f"{preset.name!r} cannot be a preset's name; use letters, digits, - and _.")
    values: dict[str, Any] = {"about": preset.about}
    for name, part in (("request", preset.request), ("options", preset.options)):
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in part.items()}
        values |= {name: plain} if plain else {}
    make_folder(own)
    write_atomically(own, f"{preset.name}.yaml", yaml.safe_dump(values, allow_unicode=True, sort_keys=False).encode())
    return own / f"{preset.name}.yaml"


def _check_names(preset: str, part: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(f"preset {preset}: {part} has no {unknown[0]}; known are {', '.join(sorted(known))}.")
