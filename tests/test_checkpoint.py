"""Reading weights: the release's files, safetensors, and everything that only looks like them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.blank import blank_prior, blank_vqvae
from jukebox_kit.model.weights.checkpoint import (
    assign,
    brought,
    fingerprint,
    read_shapes,
    read_state,
    recipe_state,
    recipe_tensor,
)
from jukebox_kit.model.weights.definition import PARTS, load_definition
from tests.conftest import GOLDEN, TESTS, small_prior, small_vqvae

RELEASED = [
    ("1b_lyrics", "vqvae", "vqvae"),
    ("1b_lyrics", "level_0", "upsampler_level_0"),
    ("1b_lyrics", "level_1", "upsampler_level_1"),
    ("1b_lyrics", "level_2", "prior_1b_lyrics"),
    ("5b", "level_2", "prior_5b"),
    ("5b_lyrics", "level_2", "prior_5b_lyrics"),
]


@pytest.mark.parametrize(("model", "part", "manifest"), RELEASED)
def test_released_parts_have_the_released_names_and_shapes(model: str, part: str, manifest: str) -> None:
    definition = load_definition(model)
    blank = blank_vqvae(definition) if part == "vqvae" else blank_prior(definition, PARTS.index(part) - 1)
    wanted = json.loads((TESTS / "manifest" / f"{manifest}.json").read_text())
    assert {name: list(value.shape) for name, value in blank.state_dict().items()} == wanted


@pytest.mark.parametrize("legacy", [False, True])
def test_a_released_file_reads_with_its_dtypes(tmp_path: Path, legacy: bool) -> None:
    state = {f"module.{name}": value for name, value in recipe_state(small_prior()).items()}
    name = "module.prior.transformer._attn_mods.0.mlp.c_fc.w"
    state[name] = state[name].half()
    path = tmp_path / "prior.pth.tar"
    content = {"model": state, "hps": {"level": 2}, "opt": None, "step": 7, "loss": np.float64(0.5)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    read = read_state(path)
    assert read.keys() == {key.removeprefix("module.") for key in state}
    assert read[name.removeprefix("module.")].dtype is torch.float16
    prior = small_prior()
    assign(prior, read, "file")
    assert prior.prior.x_out.weight is prior.prior.x_emb.weight


def test_the_recorded_files_are_their_recipe() -> None:
    read = read_state(GOLDEN / "checkpoints" / "upsampler_level_0.pth.tar")
    for name, value in read.items():
        tied = "prior.x_emb.weight" if name == "prior.x_out.weight" else name
        assert np.array_equal(value.numpy(), recipe_tensor(tied, tuple(value.shape)))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hostile", "posix.system"),
        ("truncated", "download it again"),
        ("empty", "download it again"),
        ("not_a_checkpoint", "download it again"),
        ("nowhere", "there is no checkpoint"),
    ],
)
def test_broken_files_are_refused_in_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        read_state(TESTS / "broken" / f"{name}.pth.tar")


def test_a_pickle_that_runs_code_does_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    path = tmp_path / "hostile.pth.tar"
    torch.save({"model": Hostile()}, path)
    with pytest.raises(CheckpointError, match="was not run"):
        read_state(path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vqvae.safetensors"
    save_file({name: value.contiguous() for name, value in recipe_state(small_vqvae()).items()}, path)
    with pytest.raises(CheckpointError, match="another component"):
        assign(small_prior(), read_state(path), str(path))
    with pytest.raises(CheckpointError, match=r"but the definition requires \(5, 16\)"):
        assign(small_prior(), recipe_state(small_prior(prior_width=32)), "file")


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_state(path)


def test_no_bare_unpickle_anywhere() -> None:
    sources = (TESTS.parent / "jukebox_kit").rglob("*.py")
    loads = [
        line
        for path in sources
        for line in path.read_text().splitlines()
        if "torch.load(" in line or "pickle.load" in line
    ]
    assert loads
    assert all("weights_only=True" in line for line in loads)


def test_fingerprints_tell_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    before = fingerprint(path)
    path.write_bytes(bytes(99_999) + b"\1")
    assert fingerprint(path) != before


def test_names_and_shapes_of_the_legacy_container_are_read_without_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "prior.pth.tar"
    torch.save({"model": {"module.w": torch.ones(2, 3)}}, path, _use_new_zipfile_serialization=False)
    assert [(n, v.device.type, tuple(v.shape)) for n, v in read_shapes(path).items()] == [("w", "meta", (2, 3))]
    torch.save({"model": {"module.w": torch.ones(2, 3)}}, path)
    assert read_shapes(path)["w"].sum() == 6


def test_a_mapped_file_is_safe_and_copied_only_where_it_must_be(tmp_path: Path) -> None:
    path = tmp_path / "part.safetensors"
    state = {"a": torch.rand(3, 5), "b": torch.rand(7).half(), "c": torch.zeros(0, 4), "d": torch.tensor(2.0)}
    save_file(state, path)
    before = path.read_bytes()
    mapped = read_state(path)
    assert all(torch.equal(mapped[name], value) and mapped[name].dtype is value.dtype for name, value in state.items())
    there = brought(path, mapped, dict.fromkeys(state, torch.float32), torch.device("cpu"))
    assert there["a"].data_ptr() == mapped["a"].data_ptr()
    assert torch.equal(there["b"], state["b"].float())
    assert there["c"].shape == (0, 4)
    mapped["a"].add_(1)
    assert path.read_bytes() == before


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.safetensors"
    save_file({"a": torch.zeros(2, dtype=torch.float8_e4m3fn)}, path)
    with pytest.raises(CheckpointError, match="contains numbers of type F8_E4M3"):
        read_state(path)
