"""Published figures: compared on recordings that a server on this machine provides, with a small model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from jukebox_kit.checks.verify.published import codebook_usage
from jukebox_kit.checks.verify.sheetsage import SheetSage, codes_entries, states_entries
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.download.single import fetch_file
from jukebox_kit.model.weights.download.sources import DownloadOptions
from tests.analysis.test_features import noise
from tests.releases.misbehaving import Server
from tests.releases.world import QUICK

OPTIONS = DownloadOptions(patience=QUICK)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("jukebox_kit.checks.verify.sheetsage.models_folder", lambda: tmp_path / "models")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def facts(server: Server, tiny: Path) -> SheetSage:
    """Figures of the tiny model for a clip of 20 tokens in a window of 56, computed in another way than by features."""
    audio, file = noise(20 * 128 / 16000), io.BytesIO()
    soundfile.write(file, audio, 16000, "FLOAT", format="WAV")
    server.files["/data/clip.wav"] = file.getvalue()
    model = Model.load(tiny, "cpu")
    padded = torch.from_numpy(np.pad(audio, (0, 36 * 128)))[None, :, None]
    codes = model.vqvae.encode(padded)[2]
    alone = model.vqvae.encode(padded[:, : 20 * 128])[2]
    y = torch.zeros(1, model.top.config.label_width, dtype=torch.long)
    y[0, :3] = torch.tensor([32000, 0, 56 * 128])
    given = model.top.condition(y)
    x = model.top.prior.inputs(model.top.sequence(codes[:, :-1], given), given.start, given.positions)
    for layer in model.top.prior.transformer.layers[:3]:
        x = layer(x)
    states = (x + given.positions)[0, 8:].abs().double()
    listed = codes[0].tolist()
    return SheetSage(
        "",
        (f"{server.url}/gone/", f"{server.url}/data/"),
        {"clip": ("clip.wav", hashlib.sha256(file.getvalue()).hexdigest())},
        {
            "count": 56,
            "distinct": len(set(listed)),
            "sha256": hashlib.sha256(str(listed).encode()).hexdigest(),
            "padding": sorted(set(listed[20:])),
            "agree_unpadded": float((codes[:, :20] == alone).float().mean()),
        },
        {"layer": 3, "mean": float(states.mean()), "sum": float(states.sum())},
        {},
    )


def test_figures_are_compared(facts: SheetSage, tiny: Path) -> None:
    model, figures = Model.load(tiny, "cpu"), dict[str, float]()
    entries = list(codes_entries(model.vqvae, model.definition.top, facts, OPTIONS))
    entries += states_entries(tiny, "cpu", facts, OPTIONS, figures)
    compared = [entry for entry in entries if not entry.found.startswith("left out")]
    assert [str(entry) for entry in compared if not entry.ok] == []
    assert len(compared) == 6
    assert figures["clip.sum"] == pytest.approx(facts.states["sum"])


def test_other_figures_fail(facts: SheetSage, tiny: Path) -> None:
    model = Model.load(tiny, "cpu")
    changed = replace(facts, codes={**facts.codes, "distinct": 1, "sha256": "0", "padding": [], "agree_unpadded": 0.0})
    assert not any(entry.ok for entry in codes_entries(model.vqvae, model.definition.top, changed, OPTIONS))
    changed = replace(
        facts, states={"layer": 3, "mean": facts.states["mean"] * 1.001, "sum": facts.states["sum"] * 1.001}
    )
    entries = [e for e in states_entries(tiny, "cpu", changed, OPTIONS, {}) if not e.found.startswith("left out")]
    assert [entry.ok for entry in entries] == [False, False]


def test_what_is_used_of_codebooks(facts: SheetSage, tiny: Path) -> None:
    path = facts.fetch("clip", OPTIONS)
    used = codebook_usage(Model.load(tiny, "cpu").vqvae, path, 56)
    assert used.keys() == {"level_0", "level_1", "level_2"}
    assert all(1 <= one["perplexity"] <= one["used"] <= 32 for one in used.values())


def test_a_file_is_fetched_once_and_only_if_it_is_the_known_one(server: Server, tmp_path: Path) -> None:
    server.files |= {"/a/x": b"other", "/b/x": b"right"}
    urls, sha256 = [f"{server.url}/{place}/x" for place in "ab"], hashlib.sha256(b"right").hexdigest()
    assert fetch_file(urls, tmp_path / "clips" / "x", sha256, OPTIONS).read_bytes() == b"right"
    asked = len(server.asked)
    fetch_file(urls, tmp_path / "clips" / "x", sha256, OPTIONS)
    assert len(server.asked) == asked
    with pytest.raises(CheckpointError, match="a different file"):
        fetch_file(urls[:1], tmp_path / "y", sha256, OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]
