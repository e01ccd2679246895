"""Checkpoints of the 2020 trainer as models: what is taken, what is checked, and the list of a user's own models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import CheckpointError, JukeboxKitError, RequestError
from jukebox_kit.model.weights.blank import blank_prior, blank_vqvae
from jukebox_kit.model.weights.checkpoint import recipe_state
from jukebox_kit.model.weights.definition import MadeFrom, load_definition
from jukebox_kit.model.weights.listing import list_models
from jukebox_kit.song.song import Song
from jukebox_kit.steps.steps import level_2
from jukebox_kit.training.imported import import_checkpoint
from jukebox_kit.training.result import merge
from tests.conftest import shell
from tests.tuned import write_tuned

Write = Callable[..., Path]

HPS: dict[str, Any] = {"prior": True, "level": 2, "levels": 3, "heads": 2, "blocks": 4, "labels_v3": True}


def trained(tiny: Path, level: int, rows: tuple[int, int] = (5, 5)) -> dict[str, Tensor]:
    """Return weights of a level as if trained: linear layers in float16, with some rows of genres and artists."""
    prior = blank_prior(load_definition(tiny), level)
    state = {name: value * 1.25 for name, value in recipe_state(prior).items()}
    state = {name: value.half() if name.endswith(".w") else value for name, value in state.items()}
    for table, count in zip(("bow_genre_emb", "artist_emb"), rows, strict=True):
        state[f"y_emb.{table}.emb.weight"] = torch.arange(count * 16.0).view(count, 16) / 100
    return state


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a checkpoint with all that the trainer saves beside the weights."""

    def checkpoint(state: dict[str, Tensor], legacy: bool = False, **hps: Any) -> Path:
        moments = {0: {"step": 700, "exp_avg": torch.ones(9), "scale_exp_avg": torch.ones(1)}}
        content = {
            "hps": {**HPS, "bandwidth": {"l2": np.float64(0.5)}, "min_duration": 3, "max_duration": None, **hps},
            "model": {f"module.{name}": value for name, value in state.items()},
            "opt": {"state": moments, "param_groups": [{"lr": 0.0003, "params": [0]}]},
            "step": 700,
            "loss": np.float32(3.5),
        }
        path = tmp_path / "checkpoint_latest.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        return path

    return checkpoint


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_becomes_a_model(tiny: Path, tmp_path: Path, write: Write, legacy: bool) -> None:
    state, said = trained(tiny, 2), list[str]()
    path = write(state, legacy)
    before = path.read_bytes()
    folder = import_checkpoint(path, tiny, tmp_path / "models" / "mine", say=said.append)
    assert said[0].endswith("checkpoint_latest.pth.tar: level_2 of tiny, 700 steps")
    assert re.search(r"writing 0\.\d\d MiB to .*mine$", said[1])
    assert path.read_bytes() == before
    written = load_file(folder / "level_2.safetensors")
    assert {name: value.dtype for name, value in written.items()} == {
        name: value.dtype for name, value in state.items() if name != "prior.x_out.weight"
    }
    definition = load_definition(folder)
    assert definition.made_from == MadeFrom("tiny", path.name, 700, hashlib.sha256(before).hexdigest())
    assert (definition.top.min_duration, definition.top.max_duration) == (3, 60)
    model = Model.load(folder, "cpu", engine="plain")
    for name, value in model.prior(2).state_dict().items():
        assert torch.equal(value, state[name].float()), name


def test_its_songs_are_sampled_and_it_can_be_moved(tiny: Path, tmp_path: Path, write: Write) -> None:
    folder = import_checkpoint(write(trained(tiny, 2)), tiny, tmp_path / "a" / "mine")
    text = (folder / "model.yaml").read_text()
    assert "file: level_2.safetensors" in text
    folder.rename(tmp_path / "a" / "other")  # beside it: what it shares with its base has a relative path
    model = Model.load(tmp_path / "a" / "other", "cpu", engine="plain")
    song = Song.create(tmp_path / "song", model, artist="zac brown band", seconds=3)
    assert level_2(song, model).state.finished(2)


def test_renamed_and_added_names_come_from_the_id_files(tiny: Path, tmp_path: Path, write: Write) -> None:
    text = tiny.read_text()
    upsampler, top = text.split("  level_2:")
    base = tmp_path / "base.yaml"  # whose upsamplers have tables of their own, as those of the release
    base.write_text(
        upsampler.replace("labels_v3: true", "labels_v3: false").replace(
            "labels:", "labels:\n  v2: {artists: artists.txt, genres: genres.txt}"
        )
        + "  level_2:"
        + top
    )
    for file in tiny.parent.iterdir():
        if file.suffix != ".yaml":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    artists, genres = tmp_path / "my_artists.txt", tmp_path / "my_genres.txt"
    artists.write_text("\ufeffunknown;0\r\nMy Band;1\r\nher choir;6\r\n", encoding="utf-8")
    genres.write_text("unknown;0\nshoegaze;5\n")
    path = write(trained(tiny, 2, rows=(6, 7)))
    with pytest.raises(RequestError, match="has 6 genres and 7 artists, and tiny 5 and 5; pass the id files"):
        import_checkpoint(path, base, tmp_path / "mine")
    folder = import_checkpoint(path, base, tmp_path / "mine", artists=artists, genres=genres)
    model = Model.load(folder, "cpu")
    model.check_files()
    assert model.definition.top.y_bins == (6, 7)
    assert model.tables["v3"].artist("my band").ids == (1,)
    assert model.tables["v3"].artists["unknown"] == 0
    assert model.tables["v3"].genre("Shoegaze", 1).ids == (5,)
    assert model.tables["v2"].artists["zac brown band"] == 2
    artists.write_text("unknown;0\nnobody;7\n")
    with pytest.raises(RequestError, match=r"has the id 7, and .* has 7 artists; pass the file") as raised:
        import_checkpoint(path, base, tmp_path / "other", artists=artists, genres=genres)
    assert raised.value.field == "artists"
    for content in (b"\xff\xfe", None):
        artists.unlink() if content is None else artists.write_bytes(content)
        with pytest.raises(RequestError, match="is not a text file in UTF-8; pass one with lines of the form name;id"):
            import_checkpoint(path, base, tmp_path / "other", artists=artists, genres=genres)
    assert not (tmp_path / "other").exists()


def test_the_level_is_the_one_that_it_fits_or_names(tiny: Path, tmp_path: Path, write: Write) -> None:
    upsampler = trained(tiny, 0)
    unnamed = write(upsampler, level=None)
    with pytest.raises(RequestError, match="fits level_0 and level_1 of tiny; say which with --level"):
        import_checkpoint(unnamed, tiny, tmp_path / "mine")
    import_checkpoint(unnamed, tiny, tmp_path / "mine", 1)
    assert load_definition(tmp_path / "mine").files["level_1"] == "level_1.safetensors"
    named = write(upsampler, level=0)
    with pytest.raises(CheckpointError, match=r"is of level_0 of tiny, not of level_1; pass --level level_0\."):
        import_checkpoint(named, tiny, tmp_path / "other", 1)
    with pytest.raises(CheckpointError, match=r"is of level_0 of tiny, not of level_2; pass --level level_0\."):
        import_checkpoint(named, tiny, tmp_path / "other", 2)
    both = import_checkpoint(write(trained(tiny, 2)), tmp_path / "mine", tmp_path / "both")
    Model.load(both, "cpu").check_files()
    assert load_definition(both).files["level_1"] == "../mine/level_1.safetensors"


@pytest.mark.parametrize(
    ("hps", "sentence"),
    [
        ({"heads": 4}, "was trained with heads 4, and level_2 of tiny has 2; pass as --base a model's YAML file"),
        ({"attn_order": 12}, "was trained with attn_order 12, and level_2 of tiny has"),
        ({"labels_v3": False}, "was trained with labels_v3 False"),
    ],
)
def test_settings_that_no_shape_shows_are_compared(
    tiny: Path, tmp_path: Path, write: Write, hps: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        import_checkpoint(write(trained(tiny, 2), **hps), tiny, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_the_wrong_file_or_base_is_one_sentence(tiny: Path, tmp_path: Path, write: Write) -> None:
    out = tmp_path / "mine"
    with pytest.raises(CheckpointError, match=r"checkpoint_latest.pth.tar is the checkpoint of another component"):
        import_checkpoint(write(trained(tiny, 2)), "demo", out)
    state = recipe_state(blank_prior(load_definition("demo"), 2))
    with pytest.raises(CheckpointError, match=r"is of level_2 of demo, not of tiny; pass --base demo\."):
        import_checkpoint(write(state), tiny, out)
    vqvae = recipe_state(blank_vqvae(load_definition(tiny)))
    with pytest.raises(CheckpointError, match="is the checkpoint of a VQ-VAE; pass one of a prior"):
        import_checkpoint(write(vqvae, prior=False), tiny, out)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        import_checkpoint(tmp_path / "nothing.pth.tar", tiny, out)
    evil = tmp_path / "evil.pth.tar"
    torch.save({"model": {"w": torch.ones(1)}, "hps": Path("x")}, evil)
    with pytest.raises(CheckpointError, match="which no checkpoint needs; it was not run and not read"):
        import_checkpoint(evil, tiny, out)
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="exists already; choose another name"):
        import_checkpoint(write(trained(tiny, 2)), tiny, out)


def test_what_an_interrupted_import_left_is_written_again(tiny: Path, tmp_path: Path, write: Write) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "level_2.safetensors").write_bytes(b"half")
    Model.load(import_checkpoint(write(trained(tiny, 2)), tiny, out), "cpu").check_files()


def test_models_lists_a_users_own(
    tiny: Path, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(trained(tiny, 2))
    assert shell(monkeypatch, "models", "import", path, "--base", tiny, "--name", "a/b") == 1
    assert "--name must be a plain name, not 'a/b'; use --out for a path." in capsys.readouterr().err
    assert shell(monkeypatch, "models", "import", path, "--base", tiny, "--name", "mine") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models' / 'mine'}\n"
    write_tuned(tmp_path / "models" / "tuned", tiny)
    merge("tuned", tmp_path / "models" / "whole")
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "model.yaml").write_text("name: [")
    assert shell(monkeypatch, "models") == 0
    out = capsys.readouterr().out
    end = r"; 0\.\d\d MiB; \d{4}-\d\d-\d\d\n"
    assert re.search(r"\nbroken +cannot be used: .*this is not YAML", out)
    imported = r"base tiny; whole weights of level_2; imported from checkpoint_latest\.pth\.tar at step 700"
    assert re.search(rf"\nmine +tiny with level_2 trained .*: ready\n +{imported}{end}", out)
    assert re.search(rf"\ntuned +.*: ready\n +base tiny; adapter for level_2{end}", out)
    assert re.search(rf"\nwhole +.*: ready\n +base tiny; whole weights of level_0, level_1, level_2{end}", out)
    assert shell(monkeypatch, "models", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["demo"]["own"] is False
    assert rows["mine"]["made_from"]["step"] == 700
    assert rows["mine"]["trained"] == {"level_2": "whole"}
    assert rows["mine"]["bytes"] == (tmp_path / "models" / "mine" / "level_2.safetensors").stat().st_size
    assert [one.name for one in list_models() if one.own] == ["broken", "mine", "tuned", "whole"]
    with pytest.raises(JukeboxKitError, match="has adapters; pass the model that it was made from"):
        import_checkpoint(path, "tuned", tmp_path / "models" / "again")
