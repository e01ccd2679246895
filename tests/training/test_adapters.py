"""Adapters: merged at loading they compute what training computed, at any strength; and models that have them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import CheckpointError, ConfigurationError, RequestError
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.weights.adapter import Adapter
from jukebox_kit.model.weights.definition import load_definition, model_source
from jukebox_kit.song.song import Song
from jukebox_kit.steps.load import load_planned
from jukebox_kit.steps.steps import generate, sample
from jukebox_kit.training.dataset import Dataset
from jukebox_kit.training.job import FineTuningJob
from jukebox_kit.training.result import merge
from jukebox_kit.training.settings import FineTuning
from jukebox_kit.training.trainable import load_trainable
from jukebox_kit.training.tuning import finetune
from tests.conftest import TESTS, Run
from tests.own_music import ORGAN

SETTINGS = FineTuning(
    steps=6, batch=2, warm_up=1, evaluate_every=3, windows=2, replay_windows=4, samples=1, sample_seconds=0.3,
    learning_rate=0.05, replay=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def job(small_data: Dataset, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuningJob:
    """Return a finished fine-tuning of the tiny model."""
    done = FineTuningJob(small_data, str(tiny), tmp_path_factory.mktemp("models") / "mine", 2, SETTINGS)
    finetune(done, "cpu")
    return done


@pytest.fixture(scope="module")
def tuned(job: FineTuningJob) -> Path:
    return job.folder / "model.yaml"


def window(prior: Prior) -> tuple[Tensor, Tensor]:
    """Return codes and labels of the new artist."""
    codes = torch.arange(prior.config.n_ctx)[None] % 31
    y = torch.zeros(1, prior.config.label_width, dtype=torch.long)
    y[0, :5] = torch.tensor([160_000, 0, prior.config.n_ctx * prior.hop, 5, 1])
    return codes, y


def copied(model: Path, folder: Path) -> Path:
    """Copy a model, whose base stays where it is."""
    shutil.copytree(model, folder)
    text = (folder / "model.yaml").read_text()
    absolute = re.sub(r"file: (\.\./\S+)", lambda match: f"file: {(model / match[1]).resolve()}", text)
    (folder / "model.yaml").write_text(absolute)
    return folder


def test_merged_and_unmerged_logits_agree(job: FineTuningJob, tuned: Path) -> None:
    trained = load_trainable(job.definition, 2, job.extension, SETTINGS, "float32", torch.float32, torch.device("cpu"))
    held = load_file(job.folder / "level_2.adapter.safetensors")
    values = {name: held[name] for name, p in trained.named_parameters() if p.requires_grad}
    for name, parameter in trained.named_parameters():
        if name in values:
            parameter.data.copy_(values[name])
    merged = Model.load(tuned, "cpu", engine="plain").prior(2)
    codes, y = window(merged)
    want, got = trained.logits(codes, y), merged.logits(codes, y)
    assert (want - got).abs().max() <= 1e-5 * want.abs().max()
    base = Model.load(job.base, "cpu", engine="plain").prior(2)
    y[0, 3] = 1
    assert (base.logits(codes, y) - merged.logits(codes, y)).abs().max() > 0.01  # training changed something


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
@pytest.mark.parametrize("engine", ["fast", "cached"])
def test_every_precision_samples_with_an_adapter(tuned: Path, weights: str, engine: str) -> None:
    from jukebox_kit.engine import can_pack

    if engine == "fast" and not can_pack(weights):
        pytest.skip("this version of torch does not pack these weights on this CPU")
    prior = Model.load(tuned, "cpu", weights, engine).prior(2)
    codes, y = window(prior)
    plain = Model.load(tuned, "cpu", engine="plain").prior(2).logits(codes, y)
    assert (prior.logits(codes, y) - plain).abs().max() < (1e-4 if weights == "float32" else 0.5)


def test_scale_0_is_the_base_and_1_the_tuned_model(job: FineTuningJob, tuned: Path) -> None:
    base = Model.load(job.base, "cpu", engine="plain").prior(2)
    codes, y = window(base)
    y[0, 3] = 2  # an artist that the base knows
    logits = {
        scale: Model.load(tuned, "cpu", engine="plain", lora_scale=scale).prior(2).logits(codes, y)
        for scale in (0.0, 0.5, 1.0)
    }
    assert torch.equal(logits[0.0], base.logits(codes, y))
    assert not torch.equal(logits[0.0], logits[0.5])
    assert not torch.equal(logits[0.5], logits[1.0])


def test_songs_keep_their_scale_and_refuse_another(tuned: Path, tmp_path: Path, job: FineTuningJob) -> None:
    half = Model.load(tuned, "cpu", lora_scale=0.5)
    song = Song.create(tmp_path / "half", half, model=tuned, artist=ORGAN.name, seconds=1, lora_scale=0.5)
    assert not any("unknown" in note for note in song.resolved.notes)
    sample(song, model=half)
    again = Song.open(tmp_path / "half")
    assert load_planned(again).lora_scale == 0.5
    with pytest.raises(RequestError, match=r"was loaded with lora_scale 1, and the request has 0\.5"):
        Song.create(tmp_path / "x", Model.load(tuned, "cpu"), model=tuned, seconds=1, lora_scale=0.5)
    with pytest.raises(RequestError, match="lora-scale is for fine-tuned models, and tiny is not one"):
        Song.create(tmp_path / "x", model=job.base, seconds=1, lora_scale=0.5)
    with pytest.raises(RequestError, match="lora-scale must be from 0 to 2, not 3"):
        Song.create(tmp_path / "x", model=tuned, seconds=1, lora_scale=3)
    assert not (tmp_path / "x").exists()
    assert again.manifest.checkpoints["level_2"].count("+0.5*") == 1
    assert generate(half, artist=ORGAN.name, seconds=0.5).shape == (int(0.5 * 16000) // 128 * 128,)


def test_a_merged_model_is_the_same_without_adapters(tuned: Path, tmp_path: Path) -> None:
    path = merge(tuned, tmp_path / "whole")
    whole, with_adapter = load_definition(path), Model.load(tuned, "cpu", engine="plain")
    assert not whole.adapters
    for level in (0, 1, 2):
        first = with_adapter.prior(level).state_dict()
        second = Model.load(path, "cpu", engine="plain").prior(level).state_dict()
        assert all(torch.allclose(value, second[name], atol=1e-6) for name, value in first.items())
    assert Model.load(path, "cpu").tables == with_adapter.tables
    with pytest.raises(RequestError, match="has no adapters to merge"):
        merge(path, tmp_path / "again")
    with pytest.raises(RequestError, match="exists already"):
        merge(tuned, tmp_path / "whole")


def test_models_are_found_by_name_and_folder_and_listed(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    copied(tuned.parent, tmp_path / "models" / "mine")
    assert model_source("mine") == model_source("models/mine") == str(tmp_path / "models/mine/model.yaml")
    assert load_definition("mine").name == "mine"
    with pytest.raises(RequestError, match="there is no model mime; did you mean mine"):
        load_definition("mime")
    listed = run("models")
    assert "mine       fine-tuned from tiny on octave organ; 2 to 60 seconds: ready" in listed.stdout
    made = run("sample", "song", "--model", "mine", "--artist", ORGAN.name, "--seconds", "0.5", "--lora-scale", "0.3")
    assert made.returncode == 0, made.stderr
    assert Song.open("song").request.lora_scale == 0.3
    assert "lora_scale=0.3" in (tmp_path / "song" / "index.html").read_text()


def test_wrong_adapters_are_refused_before_weights_are_read(tuned: Path, tmp_path: Path) -> None:
    folder = copied(tuned.parent, tmp_path / "mine")
    text = (folder / "model.yaml").read_text()
    adapter = folder / "level_2.adapter.safetensors"
    tensors = load_file(adapter)
    some = next(name for name in tensors if name.endswith(".a"))
    save_file({**tensors, some: torch.zeros(3, 4)}, adapter)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        Model.load(folder / "model.yaml", "cpu").check_files()
    save_file({name: value for name, value in tensors.items() if name != some}, adapter)
    with pytest.raises(CheckpointError, match="is not an adapter"):
        Adapter.read(adapter)
    adapter.unlink()
    with pytest.raises(CheckpointError, match="there is no adapter"):
        Model.load(folder / "model.yaml", "cpu").check_files()
    (folder / "model.yaml").write_text(text.replace("vqvae:\n", "vqvae:\n    adapter: x.safetensors\n"))
    with pytest.raises(ConfigurationError, match="only priors can have an adapter"):
        load_definition(folder / "model.yaml")
