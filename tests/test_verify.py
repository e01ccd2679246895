"""`verify` passes on the recorded numbers, and fails where anything is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from jukebox_kit.checks.verify.entries import Entry
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.checks.verify.published import Released
from jukebox_kit.checks.verify.run import verify_folder
from jukebox_kit.checks.verify.training import check_prior_step, check_vqvae_steps
from jukebox_kit.engine import Placement, noise
from jukebox_kit.errors import CheckpointError, RequestError
from jukebox_kit.model.weights import checkpoint
from tests.conftest import GOLDEN, TESTS, Run

PRIORS = ("prior_5b", "prior_5b_lyrics", "prior_1b_lyrics", "upsampler_level_1")


def entries(folder: Path, **options: str) -> list[Entry]:
    chosen = {"device": "cpu", "dtype": "float32", "engine": "cached"} | options
    return list(verify_folder(folder, None, chosen["device"], chosen["dtype"], chosen["engine"]))


def failed(folder: Path, **options: str) -> list[str]:
    return [entry.name for entry in entries(folder, **options) if not entry.ok]


def test_everything_recorded_is_reproduced() -> None:
    found = entries(GOLDEN)
    assert [str(entry) for entry in found if not entry.ok] == []
    names = {entry.name for entry in found}
    parts = ("prior_5b", "prior_5b_lyrics", "prior_1b_lyrics", "upsampler_level_0", "upsampler_level_1")
    for part in parts:
        assert {f"{part}.logits", f"{part}.logits.step_by_step", f"{part}.sampled.top_p.primed"} <= names
    songs = ("ancestral_5b", "ancestral_1b_lyrics", "short_5b_lyrics", "late_1b_lyrics", "late_5b_lyrics")
    assert {f"song.{song}.codes_2" for song in songs} <= names
    assert {"file.vqvae.codes_0", "file.upsampler_level_0.logits", "noise.uniforms", "vqvae.decoded_from_2"} <= names


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The same form with the VQ-VAE and one upsampler only."""
    scalars = json.loads((GOLDEN / "golden.json").read_text())
    kept = ("vqvae", "upsampler_level_0")
    scalars["parts"] = {name: scalars["parts"][name] for name in kept}
    scalars["songs"] = {}
    (tmp_path / "golden.json").write_text(json.dumps(scalars))
    tensors = load_file(GOLDEN / "golden.safetensors")
    save_file({n: t for n, t in tensors.items() if n.startswith((*kept, "noise"))}, tmp_path / "golden.safetensors")
    assert failed(tmp_path) == []
    return tmp_path


def test_the_plain_engine_and_lower_precision(small: Path) -> None:
    assert failed(small, engine="plain") == []
    half = entries(small, dtype="float16")
    assert {entry.name for entry in half} == {"upsampler_level_0.logits", "upsampler_level_0.logits.step_by_step"}
    assert all(entry.ok for entry in half)
    assert not half[0].found.endswith("e-07")


def test_a_changed_weight_fails(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = checkpoint.recipe_tensor

    def changed(name: str, shape: tuple[int, ...]) -> checkpoint.Weights:
        values = recipe(name, shape)
        if name == "prior.transformer._attn_mods.3.mlp.c_fc.w":
            values[5, 7] += 0.01
        return values

    monkeypatch.setattr(checkpoint, "recipe_tensor", changed)
    assert "upsampler_level_0.logits" in failed(small)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("upsampler_level_0.logits", lambda t: t + 3e-5 * t.abs().max()),
        ("upsampler_level_0.sampled.temp.scratch", lambda t: t ^ torch.eye(*t.shape).long()),
        ("vqvae.codes_1", lambda t: t.roll(1)),
        ("vqvae.decoded_from_0", lambda t: t * 1.0001),
        ("noise.uniforms", lambda t: t.flip(0)),
    ],
)
def test_a_changed_number_fails(small: Path, name: str, change: Callable[[Tensor], Tensor]) -> None:
    tensors = load_file(small / "golden.safetensors")
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, small / "golden.safetensors")
    assert name in failed(small)


@pytest.mark.parametrize("constant", ["MULTIPLIERS", "KEY_STEPS", "ROUNDS"])
def test_a_changed_noise_constant_fails(small: Path, monkeypatch: pytest.MonkeyPatch, constant: str) -> None:
    value: Any = getattr(noise, constant)
    monkeypatch.setattr(noise, constant, value - 1 if constant == "ROUNDS" else (value[0] ^ 2, value[1]))
    found = failed(small)
    assert "noise.uniforms" in found
    assert "upsampler_level_0.sampled.temp.scratch" in found


def test_labels_are_compared_where_the_tables_are(small: Path, tmp_path: Path) -> None:
    rows = json.loads((GOLDEN / "labels.json").read_text(encoding="utf-8"))
    chosen = [r for r in rows if (r["artist"], r["genre"]) == ("The Beatles", "pop") and r["label_set"] == "v2"][:1]
    (small / "labels.json").write_text(json.dumps(chosen))
    (tmp_path / "v2_artist_ids.txt").write_text("unknown;0\nthe_beatles;278\n")
    (tmp_path / "v2_genre_ids.txt").write_text("unknown;0\npop;14\n")
    found = list(verify_folder(small, tmp_path, "cpu", "float32", "cached"))
    assert found[-1].name == "labels.0.v2"
    assert found[-1].ok
    (tmp_path / "v2_genre_ids.txt").write_text("unknown;0\npop;15\n")
    assert not list(verify_folder(small, tmp_path, "cpu", "float32", "cached"))[-1].ok


def test_the_command_exits_1_on_any_fail(small: Path, run: Run) -> None:
    done = run("verify", small)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith(" entries, 0 failed")
    tensors = load_file(small / "golden.safetensors")
    tensors["vqvae.codes_2"][0, 0] ^= 1
    save_file(tensors, small / "golden.safetensors")
    done = run("verify", small)
    assert done.returncode == 1
    assert "1 of 128 differ" in done.stdout
    for wrong in (["--dtype", "int3"], ["--engine", "steam"], ["--model", "1b_lyrics"]):
        assert run("verify", small, *wrong).returncode == 1
    assert run("verify", small / "nowhere").returncode == 1
    del tensors["upsampler_level_0.x_cond"]
    save_file(tensors, small / "golden.safetensors")
    assert "'upsampler_level_0.x_cond' is missing" in run("verify", small).stderr


def test_published_numbers_need_the_weights() -> None:
    with pytest.raises(RequestError, match="no numbers were published for demo"):
        list(Released("demo", "cpu").model_entries())
    with pytest.raises(CheckpointError, match="not on this machine"):
        list(Released("1b_lyrics", "cpu").model_entries())


@pytest.fixture(scope="module")
def training() -> Golden:
    return Golden.read(TESTS / "golden_training", Placement(torch.device("cpu"), engine="plain"), "training")


def test_training_steps_are_reproduced() -> None:
    found = entries(TESTS / "golden_training")
    assert [str(entry) for entry in found if not entry.ok] == []
    names = {entry.name for entry in found}
    assert {"prior_5b_lyrics.grad_norms", "upsampler_level_1.audio.loss", "vqvae.revived.step_1.level_2.k_sum"} <= names
    left_out = {entry.name for entry in found if entry.found.startswith("left out")}
    runs = {f"{part}.{run}.change" for part in PRIORS for run in ("release", "fast", "decay")}
    assert left_out == {"adam", "vqvae.scratch.change", *runs}


def test_a_changed_lyric_weight_fails(training: Golden) -> None:
    facts = training.scalars["prior_1b_lyrics"] | {"prime_loss_fraction": 0.41}
    changed = replace(training, scalars=training.scalars | {"prior_1b_lyrics": facts})
    names = {entry.name for entry in check_prior_step(changed, "prior_1b_lyrics") if not entry.ok}
    assert {
        f"prior_1b_lyrics.{name}" for name in ("batch_0.losses", "batch_1.losses", "grad_norm", "grad_norms")
    } <= names


@pytest.mark.parametrize(
    ("setting", "value", "fails"),
    [
        ("commit", 0.1, "loss"),
        ("multispectral", 1.01, "loss"),
        ("lmix_linf", 0.021, "recons_loss"),
        ("linf_k", 2000, "recons_loss"),
        ("l_mu", 0.98, "level_0.k_elem"),
        ("revival_threshold", 1.02, "level_2.k"),
    ],
)
def test_a_changed_setting_of_the_vqvae_fails(training: Golden, setting: str, value: float, fails: str) -> None:
    vqvae = training.scalars["vqvae"]
    cases = {"short": vqvae["cases"]["short"] | {setting: value}}
    changed = replace(training, scalars=training.scalars | {"vqvae": vqvae | {"cases": cases}})
    names = {entry.name for entry in check_vqvae_steps(changed, "short") if not entry.ok}
    assert f"vqvae.short.step_0.{fails}" in names


def test_training_steps_are_compared_in_float32_only() -> None:
    with pytest.raises(RequestError, match="float32 on the CPU only"):
        entries(TESTS / "golden_training", dtype="float16")
