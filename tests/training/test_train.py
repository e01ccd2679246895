"""The trainer: a whole small run, what it writes, and its parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from jukebox_kit.engine.model import Model, place
from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.vqvae import Codebook
from jukebox_kit.model.weights.blank import blank_prior, blank_vqvae
from jukebox_kit.model.weights.checkpoint import assign, read_state
from jukebox_kit.model.weights.definition import PARTS, load_definition
from jukebox_kit.training.codebook import CodebookAverages, draw_vectors
from jukebox_kit.training.corpus import encode_windows, synthesise_windows
from jukebox_kit.training.pieces import Durations, Pieces
from jukebox_kit.training.prior import CodeCorpus, initialise
from jukebox_kit.training.recipe import TrainingRun, load_training
from jukebox_kit.training.run import train
from jukebox_kit.training.schedule import SHAPES, LearningRate, Optimiser
from tests.conftest import Run

SMALL = """
model: {model}
seed: 1
out: {out}
corpus: {{songs: 8, held_out: 2}}
vqvae: {{steps: 4, batch: 2, samples: 2048, learning_rate: 0.001, warm_up: 2}}
level_2: {{steps: 3, batch: 2, learning_rate: 0.001, warm_up: 1}}
level_1: {{steps: 3, batch: 2, learning_rate: 0.001, warm_up: 1}}
level_0: {{steps: 3, batch: 2, learning_rate: 0.001, warm_up: 1}}
"""


@pytest.fixture
def small_run(tiny: Path, tmp_path: Path) -> TrainingRun:
    (tmp_path / "run.yaml").write_text(SMALL.format(model=tiny, out=tmp_path / "out"))
    return load_training(tmp_path / "run.yaml")


def test_a_run_writes_parts_that_load_and_sample(small_run: TrainingRun, tiny: Path) -> None:
    train(small_run)
    results = json.loads((small_run.out / "results.json").read_text())
    assert set(results) == set(PARTS)
    assert len(results["vqvae"]["held_out_relative_error"]) == 3
    assert results["level_2"]["log"][-1]["held_out_bits"] < 10
    definition = small_run.model
    for number, part in enumerate(PARTS):
        built = blank_prior(definition, number - 1) if number else blank_vqvae(definition)
        assign(built, read_state(small_run.out / f"{part}.safetensors"), part)
        place(built, torch.device("cpu"), torch.float32)
        assert all(value.isfinite().all() for value in built.state_dict().values())
    before = (small_run.out / "level_2.safetensors").read_bytes()
    lines: list[str] = []
    train(small_run, report=lines.append)
    assert lines[0].startswith("nothing to train")
    assert (small_run.out / "level_2.safetensors").read_bytes() == before


def test_a_seed_makes_the_same_model(small_run: TrainingRun, tmp_path: Path) -> None:
    other = dataclasses.replace(small_run, out=tmp_path / "again")
    for each in (small_run, other):
        train(each, ("vqvae", "level_2"))
    for part in ("vqvae", "level_2"):
        file = f"{part}.safetensors"
        first, second = read_state(small_run.out / file), read_state(other.out / file)
        assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_priors_need_the_vqvae_first(small_run: TrainingRun) -> None:
    with pytest.raises(RequestError, match="train vqvae first"):
        train(small_run, ("level_2",))


def test_wrong_training_files_are_named(tiny: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(SMALL.format(model=tiny, out=tmp_path).replace("warm_up: 2", "warmup: 2"))
    with pytest.raises(ConfigurationError, match="unknown setting warmup; did you mean warm_up"):
        load_training(path)
    for before, after, sentence in (
        ("vqvae: {steps: 4, batch: 2", "vqvae: {steps: 4, batch: 0", "line 6: vqvae: batch must be above 0, not 0."),
        ("level_1: {steps: 3", "level_1: {steps: -3", "line 8: level_1: steps must be above 0, not -3."),
        ("songs: 8", "songs: 2", "line 5: corpus: songs must be at least 4, not 2."),
        ("samples: 2048", "samples: 2000", "line 6: vqvae: samples must be a multiple of 128 from 1025 to"),
        ("samples: 2048", "samples: 999936", "line 6: vqvae: samples must be a multiple of 128 from 1025 to"),
        ("seed: 1", "seed: -1", "line 3: seed must be from 0 to 2.63 - 1, not -1."),
        ("vqvae: {", "vqvae: 3\nvqva: {", "line 6: vqvae must be a mapping, not 3."),
        ("warm_up: 2}", "warm_up: .nan}", "line 6: vqvae: warm_up must be a whole number, not nan."),
    ):
        text = SMALL.format(model=tiny, out=tmp_path)
        assert before in text
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(ConfigurationError, match=sentence):
            load_training(path)
    path.write_text("seed: 1")
    with pytest.raises(ConfigurationError, match="line 1: missing model, out, corpus"):
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
    prior = Prior(definition.priors[1], definition.vqvae)
    torch.manual_seed(0)
    initialise(prior)
    z = torch.randint(512, (2, 1024))
    y = torch.zeros(2, definition.priors[1].label_width, dtype=torch.long)
    bits = float(prior.losses(z, y, z[:, ::4])[0].detach())
    assert 8.5 < bits < 10.5
