"""Presets: YAML files that fill in some of a request (a style) or of how the work is done (hardware).

Those that ship lie in `configs/presets/`; a person's own are kept in a folder of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jukebox_kit._files import make_folder, write_atomically
from jukebox_kit._settings import Settings, from_mapping, setting_error, typed_settings
from jukebox_kit._values import checked
from jukebox_kit._yaml import read_yaml, write_yaml
from jukebox_kit.errors import ConfigurationError, JukeboxKitError, RequestError
from jukebox_kit.model.weights import CONFIGS
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


@dataclass(frozen=True)
class _File:
    """A preset as its file contains it."""

    about: str = ""
    request: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None


def load_preset(path: Path) -> Preset:
    """Read a preset; ConfigurationError says what is wrong with the file, and in which line."""
    values = read_yaml(path, empty=True)
    file = from_mapping(_File, values, "")
    request, options = file.request or {}, file.options or {}
    if isinstance(options, Settings):
        options = options.renamed(OLDER_OPTIONS)
    fields, settings = (
        typed_settings(request, FIELD_TYPES, "request"),
        typed_settings(options, OPTIONS, "options"),
    )
    try:
        return Preset(path.stem, file.about, fields, settings)
    except ConfigurationError as error:
        part = next((part for part in (request, options) if error.field in part), values)
        raise setting_error(part, "", error, error.field) from None


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
    write_atomically(own, f"{preset.name}.yaml", write_yaml(values))
    return own / f"{preset.name}.yaml"


def _check_names(preset: str, part: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(f"preset {preset}: {part} has no {unknown[0]}; known are {', '.join(sorted(known))}.")
