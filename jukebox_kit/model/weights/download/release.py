"""What is known of the released files: where they are, their sizes and hashes, who mirrors them.

The facts lie in `configs/releases.yaml`; a file is called by the name that the model definitions give it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model.weights.definition import CONFIGS, read_yaml

FACTS = CONFIGS / "releases.yaml"


@dataclass(frozen=True)
class KnownFile:
    """What a third party says of a file; None where nobody said anything.

    Taken as right: content that differs is refused, unless the person names that content's sha256 as accepted.
    """

    bytes: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.bytes is not None and self.bytes <= 0:
            raise ConfigurationError(f"bytes must be above 0, not {self.bytes}.")
        if self.sha256 is not None:
            _hex(self.sha256)


@dataclass(frozen=True)
class Mirror:
    """A hub repository; `holds` names the file of the release that each prefix of its parameter names stands for."""

    repository: str
    holds: Mapping[str, str]


@dataclass(frozen=True)
class Release:
    """All places and facts. `tables` maps a table's name to its sha256, which is certain."""

    prefixes: tuple[str, ...]
    folder: str
    files: Mapping[str, KnownFile]
    hub: str
    mirrors: tuple[Mirror, ...]
    tables_prefix: str
    tables: Mapping[str, str]

    def __post_init__(self) -> None:
        for url in (*self.prefixes, self.hub, self.tables_prefix):
            if not url.startswith(("https://", "http://")):
                raise ConfigurationError(f"{url} is not a URL; write one that starts with https://.")
        for digest in self.tables.values():
            _hex(digest)

    def url(self, prefix: str, file: str) -> str:
        """Return where a prefix has a file."""
        return f"{prefix.rstrip('/')}/{self.folder}{file}"


def load_release(path: Path | None = None) -> Release:
    """Read the facts; ConfigurationError names what is wrong with the YAML."""
    chosen = path or FACTS
    values = read_yaml(chosen)
    try:
        tables: dict[str, Any] = values["tables"]
        return Release(
            tuple(values["prefixes"]),
            str(values["folder"]),
            {name: KnownFile(**(facts or {}).get("told", {})) for name, facts in values["files"].items()},
            str(values["hub"]),
            tuple(Mirror(**mirror) for mirror in values["mirrors"]),
            str(tables["prefix"]),
            dict(tables["files"]),
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{chosen}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{chosen}: a setting is missing or of the wrong kind ({error}).") from None


def _hex(digest: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ConfigurationError(f"{digest!r} is not a sha256; write its 64 digits of 0-9 and a-f.")
