"""What is known about the released files: where they are, their sizes and hashes, who mirrors them.

The facts are in `configs/releases.yaml`; files have the names that the model definitions give them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit._settings import from_mapping, typed_settings
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.weights.definition import CONFIGS

FACTS = CONFIGS / "releases.yaml"


@dataclass(frozen=True)
class KnownFile:
    """What a third party published about a file; None if nothing is known.

    It is trusted: content that differs is refused, unless the user accepts that content's sha256.
    """

    bytes: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.bytes is not None and self.bytes <= 0:
            raise ConfigurationError(f"bytes must be above 0, not {self.bytes}.", field="bytes")
        if self.sha256 is not None:
            _check_sha256("sha256", self.sha256)


@dataclass(frozen=True)
class Mirror:
    """A hub repository; `holds` maps each prefix of its parameter names to a file of the release."""

    repository: str
    holds: Mapping[str, str]


@dataclass(frozen=True)
class Release:
    """All places and facts. `tables` maps a table's name to its sha256, which was computed from the file itself."""

    prefixes: tuple[str, ...]
    folder: str
    files: Mapping[str, KnownFile]
    hub: str
    mirrors: tuple[Mirror, ...]
    tables_prefix: str
    tables: Mapping[str, str]

    def url(self, prefix: str, file: str) -> str:
        """Return the URL of a file under a prefix."""
        return f"{prefix.rstrip('/')}/{self.folder}{file}"


@dataclass(frozen=True)
class _File:
    """The facts as their file contains them."""

    prefixes: tuple[str, ...]
    folder: str
    files: Mapping[str, Any]
    hub: str
    mirrors: tuple[Mapping[str, Any], ...]
    tables: Mapping[str, Any]

    def __post_init__(self) -> None:
        _check_urls("prefixes", *self.prefixes)
        _check_urls("hub", self.hub)


@dataclass(frozen=True)
class _FileFacts:
    """What is known of one file."""

    published: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _TableFacts:
    """Where the tables are, and the sha256 of each."""

    prefix: str
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        _check_urls("prefix", self.prefix)
        for digest in self.files.values():
            _check_sha256("files", digest)


def load_release(path: Path | None = None) -> Release:
    """Read the facts; ConfigurationError names what is wrong with the YAML, and its line."""
    values = read_yaml(path or FACTS)
    file = from_mapping(_File, values, "")
    parts = typed_settings(file.files, dict.fromkeys(file.files, Mapping[str, Any] | None), "files")
    facts = {name: from_mapping(_FileFacts, part or {}, f"files {name}").published for name, part in parts.items()}
    tables = from_mapping(_TableFacts, file.tables, "tables")
    return Release(
        file.prefixes,
        file.folder,
        {name: from_mapping(KnownFile, published or {}, f"files {name}") for name, published in facts.items()},
        file.hub,
        tuple(from_mapping(Mirror, mirror, "mirrors") for mirror in file.mirrors),
        tables.prefix,
        tables.files,
    )


def _check_urls(field: str, *urls: str) -> None:
    for url in urls:
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError(f"{url} is not a URL; write one that starts with https://.", field=field)


def _check_sha256(field: str, digest: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ConfigurationError(f"{digest!r} is not a sha256; write its 64 digits of 0-9 and a-f.", field=field)
