"""The world that files are got from, new for each test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from jukebox_kit.model.weights.checkpoint import recipe_state
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.model.weights.download.fetch import blanks
from jukebox_kit.model.weights.download.release import KnownFile, Release
from tests.releases.misbehaving import Server
from tests.releases.world import FILES, TABLES, World, checkpoint, write_definition


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """The tiny model's weights by part, computed once."""
    yaml = write_definition(tmp_path_factory.mktemp("definition"))
    return {part: recipe_state(blank) for part, blank in blanks(load_definition(yaml)).items()}


@pytest.fixture(scope="session")
def originals(weights: dict[str, dict[str, torch.Tensor]]) -> dict[str, bytes]:
    """The tiny model's checkpoints, as the release writes them, by name."""
    return {FILES[part]: checkpoint(state) for part, state in weights.items()}


@pytest.fixture
def world(
    tmp_path: Path,
    weights: dict[str, dict[str, torch.Tensor]],
    originals: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    server = Server()
    for place in ("one", "two"):
        server.files |= {f"/{place}/{file}": content for file, content in originals.items()}
    server.files |= {f"/ids/{name}": content for name, content in TABLES.items()}
    release = Release(
        prefixes=(f"{server.url}/one/", f"{server.url}/two/"),
        folder="",
        files={file: KnownFile() for file in originals},
        hub=f"{server.url}/hub",
        mirrors=(),
        tables_prefix=f"{server.url}/ids/",
        tables={name: hashlib.sha256(content).hexdigest() for name, content in TABLES.items()},
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUKEBOX_KIT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    yield World(server, release, write_definition(tmp_path), tmp_path / "models", weights)
    server.close()
