"""The trainer: a whole small run, what it writes, and its parts."""

from __future__ import annotations

import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import ConfigurationError, RequestError, StoppedError
from jukebox_kit.model.vqvae import Codebook
from jukebox_kit.model.weights.definition import PARTS, load_definition
from jukebox_kit.steps import generate
from jukebox_kit.training.checkpoints import Checkpoints
from jukebox_kit.training.codebook import CodebookAverages, draw_vectors
from jukebox_kit.training.corpus import Synthesiser, encode_windows, synthesise_windows
from jukebox_kit.training.dataset import Dataset
from jukebox_kit.training.initial import draw_prior
from jukebox_kit.training.job import WORK
from jukebox_kit.training.pieces import Durations, Pieces
from jukebox_kit.training.prior import CodeCorpus
from jukebox_kit.training.recipe import TrainingRecipe, load_training
from jukebox_kit.training.run import train
from jukebox_kit.training.schedule import SHAPES, LearningRate, Optimiser
from tests.conftest import Run
from tests.finetune_kills import killed_until_done, same_model
from tests.own_music import ORGAN
from tests.training.conftest import torchrun

SMALL = """
model: {model}
seed: 1
out: {out}
corpus: {{songs: 6, held_out: 2}}
vqvae: {{steps: 6, batch: 2, samples: 2048, learning_rate: 0.003, warm_up: 2, evaluate_every: 9, windows: 2}}
level_2: &prior {{steps: 6, batch: 2, learning_rate: 0.02, warm_up: 1, evaluate_every: 9, windows: 2, samples: 0}}
level_1: *prior
level_0: *prior
"""

Pair = tuple[TrainingRecipe, TrainingRecipe]

SYNTHESISED = "corpus: {songs: 6, held_out: 2}"
RECORDINGS = "recordings: {{folder: {}, held_out: 0.2}}"


@pytest.fixture
def small(tiny: Path, tmp_path: Path) -> TrainingRecipe:
    """Return a run on synthesised songs."""
    return recipe(tiny, tmp_path, "out")


@pytest.fixture(params=["synthesised", "recordings"])
def pair(request: pytest.FixtureRequest, tiny: Path, clips: Path, tmp_path: Path) -> Pair:
    """Return two runs that only differ in their folder, on synthesised songs or on a folder of recordings."""
    music = SYNTHESISED if request.param == "synthesised" else RECORDINGS.format(clips)
    return recipe(tiny, tmp_path, "first", music), recipe(tiny, tmp_path, "second", music)


def recipe(model: Path, folder: Path, name: str, music: str = SYNTHESISED) -> TrainingRecipe:
    """Write NAME.yaml for a run into NAME, and read it."""
    path = folder / f"{name}.yaml"
    path.write_text(SMALL.format(model=model, out=folder / name).replace(SYNTHESISED, music))
    return load_training(path)


def measured(run: TrainingRecipe, part: str) -> list[list[float]]:
    facts = Checkpoints(run.out / WORK / part).facts()
    assert facts is not None
    rows: list[list[float]] = facts["measured"]
    return rows


def test_a_run_leaves_a_model_that_samples(small: TrainingRecipe) -> None:
    said = list[str]()
    assert train(small, device="cpu", say=said.append) == small.out
    for part in PARTS:
        rows = measured(small, part)
        assert rows[-1][2] < rows[0][2], part
    model = Model.load(small.out, "cpu")
    model.check_files()
    audio = generate(model, artist="glass bells", seconds=0.5, total_seconds=4.0)
    assert audio.shape[-1] == 8000 // 128 * 128
    assert "trained from scratch" in (small.out / "index.html").read_text()
    before = {path.name: path.read_bytes() for path in small.out.glob("*.safetensors")}
    assert sorted(before) == sorted(f"{part}.safetensors" for part in PARTS)
    said.clear()
    train(small, device="cpu", say=said.append)
    assert said[0].startswith("nothing to train")
    assert before == {path.name: path.read_bytes() for path in small.out.glob("*.safetensors")}


def test_a_run_on_recordings_that_is_stopped_resumes_to_the_same_bits(tiny: Path, clips: Path, tmp_path: Path) -> None:
    whole, stopped = (recipe(tiny, tmp_path, name, RECORDINGS.format(clips)) for name in ("whole", "stopped"))
    parts = ("vqvae", "level_2", "level_1")
    train(whole, parts, "cpu")
    music = Dataset.open(whole.out / WORK / "music")
    assert {song.artist for song in music.songs} == {ORGAN.name}
    assert not (music.root / "audio").exists()
    steps = iter(range(100))
    for _ in range(4):  # twice in the VQ-VAE, once in level 2, once in level 1
        with pytest.raises(StoppedError):
            train(stopped, parts, "cpu", stop=lambda: next(steps) in (1, 4, 8, 13))
    train(stopped, parts, "cpu")
    assert same_model(whole.out, stopped.out)
    for part in parts:
        assert measured(whole, part) == measured(stopped, part)


@pytest.mark.shell
def test_a_run_that_is_killed_resumes_to_the_same_bits(pair: Pair, tmp_path: Path) -> None:
    commands: list[list[str]] = []
    for run in pair:
        path = tmp_path / f"{run.out.name}.yaml"
        path.write_text(re.sub("steps: [0-9]+", "steps: 40, save_minutes: 0.00001", path.read_text()))
        commands.append([sys.executable, "-m", "jukebox_kit", "train", str(path), "--device", "cpu"])
    started = time.monotonic()
    killed_until_done(commands[0], 0, 0, "local", 0)
    assert killed_until_done(commands[1], 6, 1, "local", 0.6 * (time.monotonic() - started)) >= 2
    assert same_model(pair[0].out, pair[1].out)


@pytest.mark.shell
def test_two_processes_train_priors_as_one_with_twice_the_batch(
    small: TrainingRecipe, tmp_path: Path, run: Run
) -> None:
    train(small, ("vqvae",), "cpu")
    for name, count in (("one", 1), ("two", 2)):
        shutil.copytree(small.out, tmp_path / name)
        text = (tmp_path / "out.yaml").read_text().replace(f"out: {small.out}", f"out: {tmp_path / name}")
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.replace("{steps: 6, batch: 2", f"{{steps: 6, batch: {4 // count}"))
        torchrun(count, "train", path, "--device", "cpu", "--part", "level_2")
    one, two = (measured(load_training(tmp_path / f"{name}.yaml"), "level_2") for name in ("one", "two"))
    assert [row[2] for row in one] == pytest.approx([row[2] for row in two], rel=1e-5)
    shutil.rmtree(small.out)
    words = ["train", tmp_path / "out.yaml", "--device", "cpu"]
    assert "several processes train priors only" in torchrun(2, *words, code=1)
    assert run(*words, "--part", "level_1").stderr.endswith("train vqvae first.\n")


def test_a_run_resumes_with_the_same_music_model_and_settings_only(
    small: TrainingRecipe, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        train(small, device="cpu", stop=lambda: True)
    faster = replace(small, vqvae=replace(small.vqvae, learning_rate=0.5))
    with pytest.raises(RequestError, match=r"another learning_rate \(0\.003, not 0\.5\)"):
        train(faster, device="cpu")
    with pytest.raises(RequestError, match="is made of 6 synthesised songs of seed 1 and 2 held-out ones, not of 5"):
        train(replace(small, music=Synthesiser(5, 2, 1)), device="cpu")
    other = tmp_path / "other.yaml"
    other.write_text(
        tiny.read_text().replace("prior_depth: 3", "prior_depth: 2").replace(": artists", f": {tiny.parent}/artists")
    )
    other.write_text(other.read_text().replace(": genres", f": {tiny.parent}/genres"))
    with pytest.raises(RequestError, match="is another model; choose another folder"):
        train(recipe(other, tmp_path, "out"), device="cpu")
    train(replace(small, vqvae=replace(small.vqvae, save_minutes=3.0)), ("vqvae",), "cpu")


def test_what_is_there_already_is_used_or_refused(small: TrainingRecipe, tiny: Path, clips: Path) -> None:
    said = list[str]()
    with pytest.raises(RequestError, match="train vqvae first"):
        train(small, ("level_2",), "cpu")
    small.out.mkdir()
    shutil.copy(tiny.parent / "vqvae.safetensors", small.out)
    train(small, ("level_2",), "cpu")
    assert not (small.out / WORK / "vqvae").exists()
    for save in (small.out / WORK / "level_2").glob(
        "0*"
    ):  # as if it was killed after its weights, before its first save
        save.unlink()
    train(small, ("level_2",), "cpu", said.append)
    assert "training level_2" in said
    with pytest.raises(RequestError, match="contains other files; choose another folder"):
        train(replace(small, out=clips), ("vqvae",), "cpu")


def test_wrong_training_files_are_named(tiny: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(SMALL.format(model=tiny, out=tmp_path).replace("warm_up: 2", "warmup: 2"))
    with pytest.raises(ConfigurationError, match="unknown setting warmup; did you mean warm_up"):
        load_training(path)
    for before, after, sentence in (
        ("vqvae: {steps: 6, batch: 2", "vqvae: {steps: 8, batch: 0", "line 6: vqvae: batch must be above 0, not 0."),
        ("&prior {steps: 6", "&prior {steps: -3", "line 7: level_[02]: steps must be at least 1, not -3."),
        ("&prior {steps: 6", "&prior {lora: 3, steps: 10", "line 7: level_0: unknown setting lora"),
        ("&prior {steps: 6", "&prior {init_scale: 0, steps: 1", "level_0: init_scale must be above 0, not 0."),
        ("&prior {steps: 6, ", "&prior {", "line 7: level_0: missing steps."),
        ("songs: 6", "songs: 0", "line 5: corpus: songs must be at least 1, not 0."),
        ("corpus: ", "recordings: {folder: x, held_out: 1}\n#", "line 5: recordings: held_out must be from 0 to 0.5"),
        ("corpus: ", "recordings: {folder: x}\ncorpus: ", "line 2: name the music by one of corpus"),
        ("samples: 2048", "samples: 2000", "line 6: vqvae: samples must be a multiple of 128 from 1025 to"),
        ("samples: 2048", "samples: 999936", "line 6: vqvae: samples must be a multiple of 128 from 1025 to"),
        ("seed: 1", "seed: -1", "line 3: seed must be from 0 to 2.63 - 5, not -1."),
        ("vqvae: {", "vqvae: 3\nvqva: {", "line 6: vqvae must be a mapping, not 3."),
        ("warm_up: 2,", "warm_up: .nan,", "line 6: vqvae: warm_up must be a whole number, not nan."),
    ):
        text = SMALL.format(model=tiny, out=tmp_path)
        assert before in text
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(ConfigurationError, match=sentence):
            load_training(path)
    path.write_text("seed: 1")
    with pytest.raises(ConfigurationError, match="line 1: missing model, out, vqvae"):
        load_training(path)
    assert "there is no training file" in run("train", tmp_path / "nowhere.yaml").stderr
    assert "there is no component level_3" in run("train", path, "--part", "level_3").stderr


def test_dead_codes_are_revived_and_live_ones_follow_what_chose_them() -> None:
    book, generator = Codebook(4, 2), torch.Generator().manual_seed(0)
    book.k.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [50.0, 50.0], [60.0, 60.0]]))
    averages = CodebookAverages(book, 25.0, decay=0.5, revive_below=1.0)
    latents = torch.cat([torch.zeros(50, 2), torch.ones(50, 2) + 0.2])
    for _ in range(12):
        averages.update(latents, book.nearest(latents), draw_vectors(latents, 4, generator))
    assert book.k.max() < 2  # the two far away were replaced by latents
    nearest = torch.cdist(latents, book.k).min(1)[0]
    assert nearest.max() < 0.1


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    rate = LearningRate.falling(1.0, 10, 100)
    rates = [rate.at(step) for step in range(101)]
    assert [rates[step] for step in (0, 5, 10, 55, 100)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    for shape in SHAPES:
        assert LearningRate(2.0, 4, shape, 0, 8).at(0) == 0
    assert LearningRate(2.0, 4, "cosine", 4, 8).at(8) == pytest.approx(1.0)
    with pytest.raises(ConfigurationError, match="not 'square'"):
        LearningRate(1.0, 1, "square")


def test_the_optimiser_clips_gradients_and_follows_the_rate() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimiser = Optimiser([weight], LearningRate(0.1, 1), clip=1.0)
    assert optimiser.step((100 * weight).sum()) == pytest.approx(100 * 2**0.5)
    assert weight.tolist() == [3.0, 4.0]  # the rate of step 0 is 0
    optimiser.step(weight.sum())
    assert weight.tolist() == pytest.approx([2.9, 3.9], abs=1e-4)


def test_pieces_stay_within_their_song() -> None:
    pieces = Pieces.of([1.5, 0.4, 2.0, 9.0], 1000, 600, Durations(1.0, 8.0))
    assert (pieces.lengths, len(pieces)) == ((1500, 2000), 5)
    for piece in range(len(pieces)):
        for shift in range(-300, 300):
            song, offset = pieces.locate(piece, shift)
            assert 0 <= offset <= pieces.lengths[song] - 600
    with pytest.raises(ConfigurationError, match="use shorter pieces"):
        Pieces.of([1.5], 1000, 1000, Durations(1.0))


def test_windows_know_where_in_their_song_they_are() -> None:
    model = load_definition("demo")
    windows = synthesise_windows(model, 40, 5)
    assert windows.audio.shape == (40, model.top.n_ctx * 128)
    low, high = (seconds * model.vqvae.sr for seconds in model.seconds_range)
    assert all(low - 128 <= label.total < high for label in windows.labels)
    assert all(label.offset == 0 for label in windows.labels[:16])
    assert any(label.offset > 0 for label in windows.labels[16:32])
    assert {(label.artist, label.genres[0]) for label in windows.labels[:16]} == {
        (a, g) for a in range(1, 5) for g in range(1, 5)
    }


def test_upsamplers_see_the_upper_codes_of_the_same_time(tiny: Path) -> None:
    model = Model.load(tiny)
    windows = synthesise_windows(model.definition, 2, 5)
    codes, above = (encode_windows(model.vqvae, windows, level) for level in (0, 1))
    corpus = CodeCorpus(model.prior(0), codes, above, windows.labels)
    z, y, upper = corpus.batch([1], [16])
    assert torch.equal(z[0], codes[1, 16 : 16 + 64].long())
    assert upper is not None
    assert torch.equal(upper[0], above[1, 4 : 4 + 16].long())
    assert y[0, 1] == windows.labels[1].offset + 16 * 8


def test_a_fresh_prior_knows_nothing() -> None:
    definition = load_definition("demo")
    config, state = definition.priors[1], torch.random.get_rng_state()
    prior = draw_prior(config, definition.vqvae, 0.7, 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert float(prior.prior.x_emb.weight.detach().std()) == pytest.approx(0.014, rel=0.02)
    assert float(prior.prior.pos_emb.pos_emb.detach().std()) == pytest.approx(0.007, rel=0.02)
    z = torch.randint(512, (2, 1024))
    y = torch.zeros(2, config.label_width, dtype=torch.long)
    bits = float(prior.losses(z, y, z[:, ::4])[0].detach())
    assert 8.5 < bits < 10.5
