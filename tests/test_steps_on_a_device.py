"""What makes a step fit for a CUDA graph, as far as can be seen without a GPU."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cuda.graph import warmed_up
from jukebox_kit.engine.cuda.self_check import fuse
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.linear import TransposedLinear
from jukebox_kit.engine.loop import Rows, TokenLoop
from jukebox_kit.engine.model import place, repack
from jukebox_kit.engine.noise import NoiseTable
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.errors import RequestError
from jukebox_kit.model.configuration import PriorConfig
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.transformer import PlainLinear
from jukebox_kit.model.weights.blank import linears
from tests.conftest import SMALL_VQVAE, small_prior
from tests.counting import dispatched
from tests.test_decoding import labels

META = torch.device("meta")
ORDERS = {
    "encoder": (("row", "column", "previous_row", "dense", "encoder"), {"use_tokens": True, "n_tokens": 4}),
    "prime": (("row", "column", "previous_row", "prime"), {"use_tokens": True, "n_tokens": 8, "single_enc_dec": True}),
}
ENCODER = {"prime_width": 8, "prime_depth": 2, "prime_heads": 2, "prime_blocks": 2}
LAYER = 28  # operations of torch's own a layer, attention in its parts, as where no fused attention takes the shape


def on_meta(order: str, depth: int) -> Prior:
    """Return a part of some layers that has no memory, so that whatever reads a value of a tensor raises."""
    names, more = ORDERS[order]
    fields = {"level": 2, "n_ctx": 32, "prior_width": 16, "heads": 2, "blocks": 4, "y_bins": (5, 5)}
    fields |= {"attn_order": names, "prior_depth": depth, "n_vocab": 80, "min_duration": 1.0, "max_duration": 600.0}
    with META:
        prior = Prior(PriorConfig(**fields | more | ENCODER), SMALL_VQVAE)  # type: ignore[arg-type]  # as small_prior
    place(prior, META, torch.float16)
    return prior


def loop_of(prior: Prior, songs: int, choice: SamplingParams) -> TokenLoop:
    items = torch.zeros(songs, dtype=torch.long, device=prior.prior.pos_emb.pos_emb.device)
    return TokenLoop(CachedDecoder(prior, songs), choice, NoiseTable(0, 2, items, prior.bins), prior.config.n_ctx)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("choice", [SamplingParams(0.9), SamplingParams(top_k=5), SamplingParams(top_p=0.8)])
def test_a_step_reads_nothing_back(order: str, choice: SamplingParams) -> None:
    loop = loop_of(on_meta(order, 5), 3, choice)
    with pytest.raises(RuntimeError, match="meta"):
        loop.position.item()
    loop.step()


def test_a_step_is_few_operations() -> None:
    counts = [sum(dispatched(loop_of(on_meta("prime", depth), 2, SamplingParams()).step).values()) for depth in (4, 8)]
    assert counts[1] - counts[0] <= 4 * LAYER
    assert counts[0] - 4 * LAYER <= 45  # tables, choosing, feeding


def windows(prior: Prior, loop: TokenLoop) -> Tensor:
    """Return two windows' tokens, the second of which begins with some of the first's."""
    songs, n_ctx = len(loop.codes), prior.config.n_ctx
    codes = torch.full((songs, n_ctx + 8), UNSAMPLED)
    with torch.no_grad():
        given = prior.condition(labels(prior, songs))
    loop.window(given, codes, 0, range(n_ctx))
    loop.window(given, codes, 8, range(n_ctx, n_ctx + 8))
    return codes


@pytest.mark.parametrize("order", ORDERS)
def test_warming_up_leaves_nothing_behind(order: str) -> None:
    names, more = ORDERS[order]
    prior = small_prior(attn_order=names, prior_depth=len(names), n_vocab=80, **more, **ENCODER)
    fresh, warm = (loop_of(prior, 2, SamplingParams()) for _ in range(2))
    warmed_up(warm.step, warm.rewind)
    assert torch.equal(windows(prior, warm), windows(prior, fresh))


def test_a_step_that_cannot_be_captured_names_the_switch() -> None:
    prior = small_prior()
    with pytest.raises(RequestError, match="--engine fused or --engine cached") as raised:
        loop_of(prior, 1, SamplingParams()).capture()
    assert raised.value.__cause__ is not None


def test_turned_maps_are_the_same_maps() -> None:
    plain, x = PlainLinear(24, 10), torch.randn(3, 24, generator=torch.Generator().manual_seed(0))
    for value in plain.parameters():
        value.data = torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(TransposedLinear(plain, "float32")(x), plain(x), atol=1e-6)
    bytes_ = TransposedLinear(plain, "int8")
    assert bytes_.w.dtype == torch.int8
    apart = (bytes_(x) - plain(x)).abs().max() / plain(x).abs().max()
    assert 0 < apart < 0.02


@pytest.mark.parametrize("engine", ["fast", "fused", "graph", "cached"])
def test_maps_are_turned_where_kernels_may_read_them(engine: str) -> None:
    prior = small_prior()
    repack(prior, Placement(torch.device("cuda"), "float16", engine))
    assert (not linears(prior)) == (engine in ("fast", "fused"))


def test_plain_operations_stay_where_kernels_cannot_be(caplog: pytest.LogCaptureFixture) -> None:
    prior = small_prior()
    with caplog.at_level(logging.INFO):
        assert not fuse(CachedDecoder(prior, 1))  # without triton, or for maps that are not turned
    assert "no fused kernels" in caplog.text


def test_the_loop_is_what_the_placement_says() -> None:
    prior, items = small_prior(), torch.arange(2)
    loops = [
        make_loop(prior, Rows.of(items), 0, SamplingParams(), Placement(items.device, engine=name))
        for name in ("plain", "cached", "fast")
    ]
    assert [loop.decoder.optimised for loop in loops] == [False, False, True]
    plain, *others = (windows(prior, loop) for loop in loops)
    assert all(torch.equal(plain, other) for other in others)
