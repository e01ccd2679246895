"""Maps in other forms: what they compute, and that whole windows come out as the plain path samples them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.engine import linear as packed
from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.linear import Float16Linear, Float32Linear, Int8Linear, TransposedLinear, in_int8
from jukebox_kit.engine.loop import Rows
from jukebox_kit.engine.model import Model, repack
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.errors import RequestError
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.transformer import Linear, PlainLinear
from jukebox_kit.model.weights.blank import linears
from tests.conftest import GOLDEN

CPU = torch.device("cpu")
GOLDEN_PLAIN = Golden.read(GOLDEN, Placement(CPU, "float32", "plain"))


def linear(n_in: int = 40, n_out: int = 24) -> PlainLinear:
    generator = torch.Generator().manual_seed(n_in)
    plain = PlainLinear(n_in, n_out)
    nn.init.normal_(plain.w, std=0.2, generator=generator)
    nn.init.normal_(plain.b, generator=generator)
    return plain.requires_grad_(False)


def with_weights(plain: PlainLinear, w: Tensor) -> PlainLinear:
    other = copy.deepcopy(plain)
    other.w.data = w
    return other


def in_8_bits(plain: PlainLinear) -> PlainLinear:
    codes, scale = in_int8(plain.w)
    return with_weights(plain, codes.float() * scale)


@pytest.mark.parametrize("rows", [1, 3, 16, 200])
@pytest.mark.parametrize("form", [Float32Linear, Float16Linear, TransposedLinear])
def test_a_form_computes_what_the_plain_map_of_its_weights_does(form: type[Linear], rows: int) -> None:
    plain = linear()
    kept = {
        Float32Linear: plain,
        Float16Linear: with_weights(plain, plain.w.half().float()),
        TransposedLinear: in_8_bits(plain),
    }
    x = torch.randn(2, rows, 40, generator=torch.Generator().manual_seed(1))
    to = torch.randn(2, rows, 24, generator=torch.Generator().manual_seed(2))
    found, same = TransposedLinear(plain, "int8") if form is TransposedLinear else form(plain), kept[form]
    assert torch.allclose(found(x), same(x), atol=2e-5)
    assert torch.allclose(found.added(x, to.clone()), same.added(x, to), atol=2e-5)
    assert torch.allclose(found.gelu(x), same.gelu(x), atol=2e-5)
    assert (found.n_in, found.n_out, found.computes) == (40, 24, torch.float32)


def test_int8_rounds_weights_to_half_a_step_and_inputs_to_the_batch_s_range() -> None:
    plain = linear(512, 64)
    codes, scale = in_int8(plain.w)
    assert codes.dtype is torch.int8
    assert ((codes * scale - plain.w).abs() <= scale / 2 + 1e-7).all()
    assert codes.abs().amax(0).eq(127).all()
    x = torch.randn(4, 512, generator=torch.Generator().manual_seed(1))
    worst = (Int8Linear(plain)(x) - plain(x)).abs().max() / plain(x).abs().max()
    assert 1e-4 < worst < 0.03


def test_a_column_of_zeros_stays_one() -> None:
    codes, scale = in_int8(torch.zeros(3, 2))
    assert not codes.any()
    assert scale.isfinite().all()


def window(prior: Prior, name: str, songs: int, engine: str, primed: int) -> Tensor:
    """Sample a whole window of a recorded part, with labels, upper codes and beginning repeated for more songs."""
    rows = torch.arange(songs) % 2
    tensors = GOLDEN_PLAIN.tensors
    above = tensors[f"{name}.z_above"][rows] if f"{name}.z_above" in tensors else None
    with torch.no_grad():
        given = prior.condition(tensors[f"{name}.y"][rows], above)
    codes = torch.full((songs, prior.config.n_ctx), UNSAMPLED)
    codes[:, :primed] = tensors[f"{name}.z"][rows, :primed]
    loop = make_loop(prior, Rows.of(torch.arange(songs)), 3, SamplingParams(0.95), Placement(CPU, "float32", engine))
    assert loop.window(given, codes, 0, range(primed, prior.config.n_ctx)) == []
    return codes


@pytest.mark.parametrize("name", GOLDEN_PLAIN.prior_names())
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_whole_windows_are_the_plain_path_s(name: str, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights, full forward and fast path, batch 1 to 16; int8 on the form that does not round its input."""
    monkeypatch.setattr(packed, "LARGE", 0)
    plain, fast = GOLDEN_PLAIN.prior(name), GOLDEN_PLAIN.prior(name)
    for _, _, _, one in linears(plain):
        one.w.data = {"float32": one.w, "float16": one.w.half().float(), "int8": in_8_bits(one).w}[weights].data
    repack(fast, Placement(CPU, weights, "cached" if weights == "int8" else "fast"))
    assert not linears(fast)
    n_ctx = plain.config.n_ctx
    for songs, primed in ((2, 0), (16, 5 * n_ctx // 6)) if weights == "float32" else ((5, 3 * n_ctx // 4),):
        whole = window(plain, name, songs, "plain", primed)
        for some in (1, 2, songs):
            assert torch.equal(window(fast, name, some, "fast", primed), whole[:some]), (some, primed)


def test_packed_parts_are_read_map_by_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGE", 0)
    for weights, form in (("float32", Float32Linear), ("float16", Float16Linear), ("int8", Int8Linear)):
        prior = Model.load("demo", "cpu", weights).prior(0)
        assert not linears(prior)
        assert {type(m) for m in prior.modules() if isinstance(m, Linear)} == {form}
    assert isinstance(
        Model.load("demo", "cpu", "int8", "plain").top.prior.transformer.layers[0].mlp.c_fc, TransposedLinear
    )


def test_a_cpu_that_cannot_pack_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.quantized.__class__, "supported_engines", ["qnnpack"])
    with pytest.raises(RequestError, match="choose float32"):
        Model.load("demo", "cpu", "int8").prior(0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": "int4"}, "float32, float16, int8, not int4"),
        ({"engine": "quick"}, "unknown engine quick; choose fast"),
        ({"engine": "graph"}, "graph needs a GPU"),
        ({"engine": "fused"}, "fused needs a GPU"),
        ({"device": "abacus"}, "device abacus is not supported"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        Model.load("demo", **{"device": "cpu", **fields})
