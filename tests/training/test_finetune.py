"""Fine-tuning: what a run writes, that it resumes exactly, several processes, and what is refused."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import ConfigurationError, JukeboxKitError, RequestError, StoppedError
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.training.checkpoints import Checkpoints, RunState
from jukebox_kit.training.dataset import Dataset
from jukebox_kit.training.job import WORK, FineTuningJob
from jukebox_kit.training.memory import training_bytes
from jukebox_kit.training.settings import FineTuning, LoraSettings, load_fine_tuning
from jukebox_kit.training.tuning import finetune
from tests.conftest import TESTS, Run, shell
from tests.finetune_kills import killed_until_done, same_model
from tests.training.conftest import torchrun

QUICK = FineTuning(
    steps=6, batch=4, warm_up=1, evaluate_every=2, windows=2, replay_windows=4, samples=0, learning_rate=0.02
)

Start = Callable[..., FineTuningJob]


@pytest.fixture
def start(small_data: Dataset, tiny: Path, tmp_path: Path) -> Start:
    """Return a function that makes a job of settings."""

    def make(name: str = "mine", level: int = 2, **settings: object) -> FineTuningJob:
        changed = replace(QUICK, **settings)  # type: ignore[arg-type]
        return FineTuningJob(small_data, str(tiny), tmp_path / name, level, changed)

    return make


def state_of(job: FineTuningJob) -> RunState:
    state = Checkpoints(job.folder / WORK / f"level_{job.level}").read()
    assert state is not None
    return state


def test_a_run_lowers_bits_and_leaves_a_model_and_a_page(start: Start, small_data: Dataset) -> None:
    job, said = start(steps=30, evaluate_every=10, samples=1, sample_seconds=0.3), list[str]()
    job = replace(job, others=small_data)
    assert finetune(job, "cpu", say=said.append) == job.folder
    rows = state_of(job).facts["measured"]
    assert [row[0] for row in rows] == [0, 10, 20, 30]
    assert rows[-1][2] < rows[0][2] - 0.1
    assert "new artists: octave organ" in said
    assert any(line.startswith("memory: ") for line in said)
    page = (job.folder / "index.html").read_text()
    assert "after 30 steps" in page
    assert "octave organ, lullaby" in page
    for name in re.findall(r'(?:src)="([^"]+)"', page):
        assert (job.folder / name).is_file()
    definition = load_definition(job.folder / "model.yaml")
    assert definition.priors[2].y_bins == (5 + 4, 6)  # the genres are new to the tiny model too
    assert set(definition.adapters) == {"level_0", "level_1", "level_2"}
    model = Model.load(job.folder / "model.yaml", "cpu")
    assert model.tables["v3"].artists["octave organ"] == 5
    said.clear()
    finetune(job, "cpu", say=said.append)
    assert said[-1].endswith("is trained already, in 30 steps.")


def test_old_rows_and_other_weights_stay_as_they_are(start: Start, tiny: Path) -> None:
    job = start()
    finetune(job, "cpu")
    tensors = load_file(job.folder / "level_2.adapter.safetensors")
    before, after = (Model.load(name, "cpu", engine="plain").prior(2) for name in (tiny, job.folder / "model.yaml"))
    for name, value in before.state_dict().items():
        other = after.state_dict()[name]
        stem = name.removesuffix(".w")
        assert torch.equal(other[: len(value)], value) != (f"{stem}.a" in tensors), name
    assert all(name.endswith((".a", ".b", ".rows", ".rows_before")) for name in tensors)


@pytest.mark.parametrize("level", [1, 0])
def test_upsamplers_are_added_to_the_same_model(start: Start, level: int) -> None:
    finetune(start(), "cpu")
    job = start(level=level)
    finetune(job, "cpu")
    definition = load_definition(job.folder / "model.yaml")
    trained = [
        part
        for part in definition.adapters
        if any(name.endswith(".a") for name in load_file(definition.folder / definition.adapters[part]))
    ]
    assert sorted(trained) == [f"level_{level}", "level_2"]
    Model.load(job.folder / "model.yaml", "cpu").check_files()


def test_all_weights_can_be_trained(start: Start) -> None:
    job = start(full=True, learning_rate=0.003, ema=0.5)
    finetune(job, "cpu")
    definition = load_definition(job.folder / "model.yaml")
    assert definition.files["level_2"] == "level_2.safetensors"
    assert "level_2" not in definition.adapters
    Model.load(job.folder / "model.yaml", "cpu").check_files()
    rows = state_of(job).facts["measured"]
    assert min(row[2] for row in rows) < rows[0][2]


@pytest.mark.parametrize(
    ("computes", "storage"), [("bfloat16", "float16"), ("float16", "float16"), ("float32", "int8")]
)
def test_lower_precision_trains_to_nearly_the_same(start: Start, computes: str, storage: str) -> None:
    first, second = start(), start("half", computes=computes, storage=storage)
    for job in (first, second):
        finetune(job, "cpu")
    bits = [min(row[2] for row in state_of(job).facts["measured"]) for job in (first, second)]
    assert bits[1] == pytest.approx(bits[0], abs=0.05)


def test_recomputing_layers_changes_no_gradient(start: Start) -> None:
    first, second = start(), start("kept", recompute=False)
    for job in (first, second):
        finetune(job, "cpu")
    assert same_model(first.folder, second.folder)


def test_a_run_that_is_stopped_resumes_to_the_same_bits(start: Start) -> None:
    whole, stopped = start(), start("stopped")
    finetune(whole, "cpu")
    asked = iter([False, True, False, False, True, *[False] * 9])
    for _ in range(2):
        with pytest.raises(StoppedError, match="Everything is saved"):
            finetune(stopped, "cpu", stop=lambda: next(asked))
    finetune(stopped, "cpu")
    assert same_model(whole.folder, stopped.folder)
    assert state_of(whole).facts["measured"] == state_of(stopped).facts["measured"]


def test_a_resumed_run_keeps_the_batch_size_that_it_was_planned_with(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_free(count: int) -> None:
        monkeypatch.setattr("jukebox_kit.training.plan.free_memory", lambda _: count)

    whole, stopped = start(batch=None), start("stopped", batch=None)
    config, vqvae = whole.definition.priors[2], whole.definition.vqvae
    less = training_bytes(config, vqvae, whole.settings, "float32", torch.float32, 4).peak
    with_free(less)
    finetune(whole, "cpu")
    assert state_of(whole).facts["plan"] == {"storage": "float32", "computes": "float32", "batch": 4}
    asked = iter([False, True])
    with pytest.raises(StoppedError):
        finetune(stopped, "cpu", stop=lambda: next(asked))
    with_free(2**40)
    finetune(stopped, "cpu")
    assert same_model(whole.folder, stopped.folder)


@pytest.mark.shell
@pytest.mark.parametrize("store", ["local", "segments"])
def test_a_run_that_is_killed_resumes_to_the_same_bits(
    start: Start, tiny: Path, small_data: Dataset, tmp_path: Path, store: str
) -> None:
    recipe = (
        "steps: 60\nbatch: 2\nevaluate_every: 20\nwindows: 2\nreplay_windows: 4\nsamples: 0\nsave_minutes: 0.0001\n"
    )
    (tmp_path / "recipe.yaml").write_text(recipe)
    words = ["finetune", small_data.root, "--base", tiny, "--recipe", tmp_path / "recipe.yaml", "--device", "cpu"]
    runs = [
        [sys.executable, "-m", "jukebox_kit", *map(str, words), "--out", str(tmp_path / name)]
        for name in ("whole", "killed")
    ]
    started = time.monotonic()
    killed_until_done(runs[0], 0, 0, store, 0)
    assert killed_until_done(runs[1], 3, 1, store, 0.8 * (time.monotonic() - started)) >= 2
    assert same_model(tmp_path / "whole", tmp_path / "killed")


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("fault", [damage, Path.unlink], ids=["truncated", "gone"])
@pytest.mark.parametrize("kind", ["*.json", "*.safetensors"])
def test_a_save_that_did_not_arrive_costs_one_save(start: Start, fault: Callable[[Path], None], kind: str) -> None:
    whole, job = start(), start("damaged", save_minutes=1e-9)
    finetune(whole, "cpu")
    finetune(job, "cpu")
    saves = sorted(path for path in (job.folder / WORK / "level_2").glob(kind) if path.name[0].isdigit())
    fault(saves[-1])
    assert state_of(job).facts["step"] == 5
    finetune(job, "cpu")
    assert same_model(whole.folder, job.folder)


@pytest.mark.shell
@pytest.mark.parametrize("options", [(), ("--full", "--shard")], ids=["copied", "sharded"])
def test_two_processes_train_as_one_with_twice_the_batch(
    options: tuple[str, ...], tiny: Path, small_data: Dataset, tmp_path: Path
) -> None:
    recipe = "steps: 4\nevaluate_every: 1\nwindows: 3\nreplay_windows: 4\nreplay: 0.5\nsamples: 0\nwarm_up: 1\n"
    (tmp_path / "recipe.yaml").write_text(recipe)
    words = ["finetune", small_data.root, "--base", tiny, "--recipe", tmp_path / "recipe.yaml", "--device", "cpu"]
    for name, count, batch in (("one", 1, 4), ("two", 2, 2)):
        used = [option for option in options if option != "--shard" or count > 1]
        torchrun(count, *words, "--out", tmp_path / name, "--batch-size", batch, *used)
    one, two = (Checkpoints(tmp_path / name / WORK / "level_2").read() for name in ("one", "two"))
    assert one is not None
    assert two is not None
    for first, second in zip(one.facts["measured"], two.facts["measured"], strict=True):
        assert first[0] == second[0]
        assert [v for v in first[1:] if v is not None] == pytest.approx(
            [v for v in second[1:] if v is not None], rel=1e-5
        )
    assert len(one.facts["measured"]) == 5


def test_training_ends_when_it_no_longer_helps(start: Start) -> None:
    job, said = start(steps=50, evaluate_every=1, learning_rate=50.0, row_rate=1.0, patience=3), list[str]()
    finetune(job, "cpu", say=said.append)
    assert state_of(job).facts["step"] < 50


def test_other_settings_or_songs_do_not_continue_a_run(start: Start, small_data: Dataset) -> None:
    job = start()
    asked = iter([True])
    with pytest.raises(StoppedError):
        finetune(job, "cpu", stop=lambda: next(asked))
    with pytest.raises(RequestError, match=r"another learning_rate \(0\.02, not 0\.5\); use the same to resume it"):
        finetune(start(learning_rate=0.5), "cpu")
    trained = small_data.split(False)[0]
    fewer = replace(small_data, songs=tuple(song for song in small_data.songs if song is not trained))
    with pytest.raises(RequestError, match="was started with another"):
        finetune(replace(job, data=fewer), "cpu")
    finetune(start(save_minutes=3.0), "cpu")


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    start: Start, small_data: Dataset, tmp_path: Path
) -> None:
    job = start()
    finetune(job, "cpu")
    for wrong, sentence in (
        (replace(job, base=str(job.folder / "model.yaml"), folder=tmp_path / "x"), "is fine-tuned itself"),
        (replace(job, base="demo", folder=tmp_path / "x"), "holds codes of the model"),
        (replace(job, data=replace(small_data, songs=()), folder=tmp_path / "x"), "has no songs to train on"),
        (replace(job, folder=small_data.root), "contains other files; choose another name"),
        (start("x", start={"octave organ": "nobody"}), "cannot start as artist nobody"),
    ):
        with pytest.raises(JukeboxKitError, match=sentence):
            finetune(wrong, "cpu")
    assert not (tmp_path / "x" / "model.yaml").exists()
    with pytest.raises(RequestError, match="start several with torchrun"):
        finetune(start("x"), "cpu", shard=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stepz: 3", "line 1: unknown setting stepz; did you mean steps?"),
        ("steps: 0", "line 1: steps must be at least 1, not 0."),
        ("lora: {rank: 0}", "line 1: lora: rank must be at least 1, not 0."),
        ("lora: {targets: [attn.c_fc]}", "line 1: lora: targets must be some of attn.c_attn"),
        ("lora: 3", "line 1: lora must be a mapping, not 3"),
        ("decay: square", "line 1: decay must be one of cosine, linear, constant, not square."),
        ("storage: int4", "line 1: storage must be one of auto, float32"),
        ("ema: 1", "line 1: ema must be from 0 to below 1, not 1."),
        ("replay: -1", "line 1: replay must be from 0 to 0.75, not -1."),
        ("batch: 0", "line 1: batch must be at least 1, not 0."),
        ("seed: -1", "line 1: seed must be from 0 to 2^63 - 1, not -1."),
        ("clip: 0", "line 1: clip must be above 0, not 0."),
        ("learning_rate: fast", "line 1: learning_rate must be a number, not 'fast'."),
    ],
)
def test_faults_of_a_recipe_are_named_with_their_line(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_fine_tuning(path, {})
    assert sentence in str(caught.value)


def test_recipes_are_read_and_changed() -> None:
    shipped = load_fine_tuning(TESTS.parent / "configs/training/finetune.yaml", {"steps": 7})
    assert shipped == replace(FineTuning(), steps=7)
    assert load_fine_tuning(None, {}) == FineTuning(lora=LoraSettings(16))


def test_the_command_trains_and_refuses(
    small_data: Dataset, tiny: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("windows: 2\nreplay_windows: 4\nsamples: 0\nwarm_up: 1\n")
    words = ["finetune", small_data.root, "--base", tiny, "--recipe", recipe, "--steps", 3, "--device", "cpu"]
    done = run(*words, "--out", tmp_path / "mine", "--lora", 4)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "mine")
    assert "adapters of rank 4" in done.stderr
    facts = json.dumps(state_of(FineTuningJob(small_data, str(tiny), tmp_path / "mine", 2, QUICK)).facts)
    assert '"rank": 4' in facts
    for extra in (["--lora", 4, "--full"], ["--name", "../x"], ["--level", "level_3"], ["--recipe", "none.yaml"]):
        assert shell(monkeypatch, *words, "--out", tmp_path / "y", *extra) in (1, 2)
    assert not (tmp_path / "y").exists()
