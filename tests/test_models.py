"""Model definitions, where their files and tables are found, and what a model keeps in memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from jukebox_kit.engine.model import Model, place
from jukebox_kit.errors import CheckpointError, ConfigurationError, RequestError
from jukebox_kit.model.configuration import Pattern, layer_patterns
from jukebox_kit.model.transformer import PlainLinear
from jukebox_kit.model.weights.definition import load_definition, shipped_models
from tests.conftest import TINY, small_prior


def test_shipped_definitions_load() -> None:
    assert shipped_models() == ["1b_lyrics", "5b", "5b_lyrics", "demo"]
    definitions = [load_definition(name) for name in shipped_models()]
    assert [d.top.positions for d in definitions] == [6528, 8192, 8192, 832]
    assert all(d.vqvae.hops == (8, 32, 128) for d in definitions)
    assert load_definition("1b_lyrics").top.prime_length == 448
    assert load_definition("1b_lyrics").priors[0] == load_definition("5b").priors[0]


def test_attention_orders() -> None:
    assert layer_patterns(2, 4) == (Pattern.ROW, Pattern.COLUMN, Pattern.PREVIOUS_ROW, Pattern.ROW)
    ten = layer_patterns(10, 79)
    assert [d for d, p in enumerate(ten) if p is Pattern.ENCODER] == [18, 28, 38, 48, 58, 68, 78]
    assert ten[19] is Pattern.ROW
    twelve = layer_patterns(12, 72)
    assert {d: p for d, p in enumerate(twelve) if d % 16 == 15} == {
        15: Pattern.PRIME,
        31: Pattern.PRIME,
        47: Pattern.DENSE,
        63: Pattern.PRIME,
    }
    assert twelve[16] is Pattern.COLUMN


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("n_ctx: 64", "n_ctx: 63", "63 positions do not divide into 4 blocks"),
        ("heads: 2", "heads: 3", "3 heads do not divide"),
        ("cond_width", "cond_widht", "unknown setting cond_widht; did you mean cond_width"),
        ("blocks: 4, ", "", "missing blocks"),
        ("row, column", "row, diagonal", "attn_order takes only the patterns"),
        ("single_enc_dec: true, ", "", "the prime pattern needs single_enc_dec"),
        ("min_duration: 2, ", "", "needs min_duration and max_duration"),
        ("  vqvae:", "  vqave:", "parts: unknown setting vqave; did you mean vqvae?"),
        ("  v3:", "  v2:", "labels must name the files of the v3 tables"),
        ("name: tiny", "nmae: tiny", "unknown setting nmae"),
        ("name: tiny", "name: [", "this is not YAML"),
        ("prior_width: 16", "prior_width: wide", "level_0: prior_width must be a whole number, not 'wide'."),
        ("sr: 16000", "sr: 0", "sr must be a whole number above 0"),
    ],
)
def test_wrong_definitions_are_told_what_to_write(tmp_path: Path, before: str, after: str, sentence: str) -> None:
    assert before in TINY
    (tmp_path / "own.yaml").write_text(TINY.replace(before, after, 1))
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        assert load_definition(tmp_path / "own.yaml").seconds_range


def test_unknown_models_are_told_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 5b_lyrics"):
        load_definition("5b_lyric")


def test_tables_come_from_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load("1b_lyrics", "cpu")
    monkeypatch.setenv("JUKEBOX_KIT_MODELS", str(tmp_path / "nowhere"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'jukebox_kit\[jukebox\]'"):
        assert model.tables
    monkeypatch.undo()
    folder = tmp_path / "jukebox_infer" / "data" / "ids"
    folder.mkdir(parents=True)
    (tmp_path / "jukebox_infer" / "__init__.py").write_text("raise RuntimeError('never imported')")
    for label_set in ("v2", "v3"):
        (folder / f"{label_set}_artist_ids.txt").write_text("unknown;0\nsomebody;5\n")
        (folder / f"{label_set}_genre_ids.txt").write_text("unknown;0\npop;3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert model.tables["v3"].artist("Somebody").ids == (5,)


def test_tables_that_do_not_fit_are_told(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "artists.txt").write_text("unknown;0\nnumber nine;9\n")
    with pytest.raises(ConfigurationError, match=r"y_bins of level 0 are \[5, 5\]; its tables need \[3, 10\]"):
        assert Model.load(tmp_path / "tiny.yaml").tables


def test_one_prior_is_held_at_a_time(tiny: Path) -> None:
    model = Model.load(tiny, "cpu")
    first = model.prior(0)
    assert model.prior(0) is first
    assert model.top is not first
    assert model.prior(0) is not first


def test_half_precision_is_for_the_maps_alone() -> None:
    """As on a GPU: maps in fp16, tables, norms and the stream between layers in float32."""
    prior = small_prior(attn_order=2)
    place(prior, torch.device("cpu"), torch.float16)
    linear = {id(p) for m in prior.modules() if isinstance(m, PlainLinear) for p in m.parameters()}
    assert linear
    assert all((p.dtype is torch.float16) == (id(p) in linear) for p in prior.parameters())
    y = torch.zeros(1, prior.config.label_width, dtype=torch.long)
    y[0, 0], y[0, 2] = 44100 * 60, 4096
    assert prior.logits(torch.zeros(1, 32, dtype=torch.long), y).dtype is torch.float32


def test_no_gpu_is_a_sentence() -> None:
    if torch.cuda.is_available():
        assert Model.load("demo").device.type == "cuda"
    else:
        with pytest.raises(RequestError, match="there is no GPU that torch can use"):
            Model.load("demo", "cuda")


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "abacus", "mps:0", "cpu:x"])
def test_an_unsupported_device_is_one_sentence(device: str) -> None:
    with pytest.raises(RequestError, match=f"device {device} is not supported; choose cpu, cuda or cuda:N, or omit"):
        Model.load("demo", device)


def test_a_gpu_that_this_machine_lacks_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="there is no GPU that torch can use"):
        Model.load("demo", "cuda:9")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RequestError, match=r"there is no GPU cuda:9; this machine has cuda:0, cuda:1\."):
        Model.load("demo", "cuda:9")
    assert Model.load("demo", "cuda:1").device.index == 1
