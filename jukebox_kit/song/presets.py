"""Presets: YAML files that set some fields of a request (a style) or of `RunSettings` (for some hardware).

Those that ship are in `configs/presets/`; users save theirs in a folder of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jukebox_kit._files import make_folder, user_path, write_atomically
from jukebox_kit._settings import from_mapping, located, typed_settings, unknown_setting
from jukebox_kit._values import checked
from jukebox_kit._yaml import read_yaml, write_yaml
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import CONFIGS
from jukebox_kit.song.request import FIELD_TYPES, normalise_request, typed_fields

OPTIONS: Mapping[str, type] = {"batch_size": int, "save_every": float, "preview_every": float}

"""The fields of `RunSettings` that a preset may set, with their types."""

OLDER_OPTIONS = {"batch": "batch_size"}  # older presets use the name on the left


@dataclass(frozen=True)
class Preset:
    """Some fields of `Request` and of `RunSettings`, by name; the others keep their values.

    Raises RequestError about a field that is unknown, of another type or outside of its range.
    """

    name: str
    about: str = ""
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", _checked_request(self.request))
        object.__setattr__(self, "options", _checked_options(self.options))


@dataclass(frozen=True)
class _File:
    """A preset as its file contains it."""

    about: str | None = None
    request: Mapping[str, Any] | None = None
    options: Mapping[str, Any] | None = None


def load_preset(path: Path) -> Preset:
    """Read a preset; RequestError if there is no such file, ConfigurationError with the line for a faulty one."""
    path = user_path(path)
    file = from_mapping(_File, read_yaml(path, empty=True), "")
    fields = typed_settings(file.request or {}, FIELD_TYPES, "request")
    with located(file.request or {}, "request"):
        request = _checked_request(fields)
    with located(file.options or {}, "options"):
        options = _checked_options(file.options or {})
    return Preset(path.stem, file.about or "", request, options)


def find_presets(own: Path | None = None) -> dict[str, Path]:
    """Return the presets that ship and those of the folder `own`, by name; the latter take precedence."""
    folders = [CONFIGS / "presets", *([user_path(own)] if own is not None else [])]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def save_preset(preset: Preset, own: Path) -> Path:
    """Save a preset in a folder under its name, and return the path; RequestError if the name is not a plain one."""
    if not re.fullmatch(r"[\w-]+", preset.name):
        raise RequestError(f"{preset.name!r} cannot be a preset's name; use letters, digits, - and _.")
    values: dict[str, Any] = {"about": preset.about}
    for name, part in (("request", preset.request), ("options", preset.options)):
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in part.items()}
        values |= {name: plain} if plain else {}
    folder, file = user_path(own), f"{preset.name}.yaml"
    make_folder(folder)
    write_atomically(folder, file, write_yaml(values))
    return folder / file


def _checked_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    normalise_request(fields)
    return typed_fields(fields)


def _checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as their types, by their present names."""
    result = dict[str, Any]()
    for name, value in options.items():
        current = OLDER_OPTIONS.get(name, name)
        if current not in OPTIONS:
            raise RequestError(unknown_setting(name, list(OPTIONS)), field=name)
        if current in result:
            raise RequestError(f"{name} and another name of it are both set; keep {current} only.", field=name)
        result[current] = checked(name, value, OPTIONS[current])
        if result[current] <= 0:
            raise RequestError(f"{name} must be above 0, not {value:g}.", field=name)
    return result
