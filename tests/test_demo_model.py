"""The model that ships: its size, that it is what its recipe says, and that it has learnt what it was taught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer.main
import yaml

from jukebox_kit.checks.evaluate.report import CLEAN_SEED, PAIRS, known_pairs, lyric_bits
from jukebox_kit.cli.app import app
from jukebox_kit.engine.model import Model
from jukebox_kit.model.weights.definition import CONFIGS, PACKAGE, PARTS
from jukebox_kit.training.corpus import synthesise_windows
from jukebox_kit.training.synth import synthesise
from jukebox_kit.training.vqvae import relative_errors
from tests.conftest import shell

RESULTS = json.loads((CONFIGS / "training" / "demo-results.json").read_text())


def test_it_is_small_enough_to_travel_in_the_wheel() -> None:
    sizes = [(PACKAGE / "model" / "weights" / "demo" / f"{part}.safetensors").stat().st_size for part in PARTS]
    assert 2e6 < sum(sizes) < 20e6


def test_the_results_are_those_of_the_recipe() -> None:
    recipe = yaml.safe_load((CONFIGS / "training" / "demo.yaml").read_text())
    for part in PARTS:
        assert RESULTS[part]["log"][-1]["step"] == recipe[part]["steps"] - 1


def test_codes_keep_as_much_of_the_music_as_was_measured(demo: Model) -> None:
    recipe = yaml.safe_load((CONFIGS / "training" / "demo.yaml").read_text())
    held_out = synthesise_windows(demo.definition, 8, recipe["seed"] + 1)
    errors = relative_errors(demo.vqvae, held_out.audio)
    measured = RESULTS["vqvae"]["held_out_relative_error"]
    assert errors[0] < errors[1] < errors[2]
    for error, known in zip(errors, measured, strict=True):
        assert 0.7 * known < error < 1.4 * known


def test_the_top_prior_listens_to_its_labels(demo: Model) -> None:
    """Music it never heard is likelier under its own artist and genre than under others."""
    clean = [synthesise(CLEAN_SEED, artist, genre, 8.0) for artist, genre in PAIRS]
    bits = lyric_bits(demo, clean, PAIRS)
    assert bits["own"] < 1  # of the 9 bits that 512 codes at random have
    assert bits["other_artist_and_genre"] > bits["own"] + 0.3
    assert known_pairs(demo) == PAIRS
    assert set(lyric_bits(demo, clean[:3], PAIRS[:3])) == {"own", "other_words"}  # three artists, one genre


@pytest.mark.parametrize("command", ["evaluate", "listen"])
def test_models_without_the_labels_are_not_evaluated(
    command: str, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell(monkeypatch, command, "--model", tiny) == 1
    said = capsys.readouterr().err
    assert "tiny knows no artist of the flutes, hollow reeds, saw strings, glass bells with a genre of lullaby" in said
    assert (said.count("\n"), "listen" in app_help()) == (1, False)


def app_help() -> str:
    return typer.main.get_command(app).get_help(typer.Context(typer.main.get_command(app)))
