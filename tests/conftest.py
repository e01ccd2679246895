"""What many tests share: small parts with recipe weights, the demo model, and the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from jukebox_kit.engine.model import Model, place
from jukebox_kit.model.configuration import PriorConfig, VQVAEConfig
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.vqvae import VQVAE
from jukebox_kit.model.weights.checkpoint import assign, recipe_state
from jukebox_kit.model.weights.definition import PARTS, load_definition
from jukebox_kit.song.audio import Audio

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell; Ctrl-C is tested, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the parts are small: a second thread costs more than it brings
TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"
SMALL_VQVAE = VQVAEConfig(emb_width=8, l_bins=32, width=4, depth=2)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


Part = TypeVar("Part", bound=nn.Module)


def with_recipe(part: Part) -> Part:
    """Fill a part with recipe weights, on the CPU in float32."""
    assign(part, recipe_state(part), "recipe")
    place(part, torch.device("cpu"), torch.float32)
    return part


def small_prior(**fields: object) -> Prior:
    """Return a small prior; fields as in PriorConfig."""
    values = {"level": 2, "n_ctx": 32, "prior_width": 16, "prior_depth": 3, "heads": 2, "blocks": 4, "y_bins": (5, 5)}
    values |= {"min_duration": 1.0, "max_duration": 600.0} | fields
    return with_recipe(Prior(PriorConfig(**values), SMALL_VQVAE))  # type: ignore[arg-type]  # fields are checked when made


def small_vqvae(config: VQVAEConfig = SMALL_VQVAE) -> VQVAE:
    """Return a small VQ-VAE."""
    return with_recipe(VQVAE(config))


WAV_STEP = 2.0**-15  # between two values of a 16-bit file


def in_wav(audio: Audio) -> NDArray[np.float64]:
    """Return what a 16-bit file holds of audio: clipped and rounded down to a step, of which +1 is not one."""
    return np.clip(np.floor(audio.astype(np.float64) / WAV_STEP), -(2**15), 2**15 - 1) * WAV_STEP


@pytest.fixture(scope="session")
def demo() -> Model:
    """The demo model, loaded once."""
    return Model.load("demo", "cpu")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, which saves two seconds a call: `run("sample", folder, …)`.

    What needs a process, such as signals and closed streams, starts one, or belongs to the set `shell`.
    """

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = shell(monkeypatch, *arguments)
        done = subprocess.CompletedProcess(list(map(str, arguments)), code, *capfd.readouterr())
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


def shell(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command in this process; returns its exit code."""
    from jukebox_kit.cli.app import main

    monkeypatch.setattr(sys, "argv", ["jukebox-kit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


TINY = """
name: tiny
about: recipe weights, for tests
licence: MIT
sampling: {total_seconds: 4}
labels:
  v3: {artists: artists.txt, genres: genres.txt}
parts:
  vqvae: {sr: 16000, emb_width: 8, l_bins: 32, width: 4, depth: 2}
  level_0: &upsampler {n_ctx: 64, prior_width: 16, prior_depth: 3, heads: 2, blocks: 4, labels_v3: true, y_bins: [5, 5],
    n_vocab: 79, cond_width: 8, cond_depth: 2, cond_dilation_growth_rate: 3}
  level_1: {<<: *upsampler, cond_res_scale: true}
  level_2: {n_ctx: 56, prior_width: 16, prior_depth: 4, heads: 2, blocks: 4, labels_v3: true, y_bins: [5, 5],
    attn_order: [row, column, previous_row, prime], single_enc_dec: true, use_tokens: true, n_tokens: 8, n_vocab: 79,
    min_duration: 2, max_duration: 60, alignment_layer: 3, alignment_head: 0}
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the YAML of a user's own model, small and fast, beside its files; it makes noise, not music."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "artists.txt").write_text("unknown;0\nthe beatles;1\nzac brown band;2\n")
    (folder / "genres.txt").write_text("unknown;0\npop;1\ncountry;2\n")
    definition = load_definition(folder / "tiny.yaml")
    parts: list[nn.Module] = [VQVAE(definition.vqvae), *(Prior(p, definition.vqvae) for p in definition.priors)]
    for name, part in zip(PARTS, parts, strict=True):
        save_file(
            {key: value.contiguous() for key, value in recipe_state(part).items()}, folder / f"{name}.safetensors"
        )
    return folder / "tiny.yaml"
