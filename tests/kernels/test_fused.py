"""The fused kernels compute what the plain operations compute, in Triton's interpreter."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cuda.self_check import fuse
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.linear import TransposedLinear
from jukebox_kit.engine.loop import TokenLoop
from jukebox_kit.engine.model import place
from jukebox_kit.engine.noise import NoiseKernel, NoiseTable, gumbel
from jukebox_kit.engine.operations import Operations
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.transformer import LayerNorm, Linear, PlainLinear
from jukebox_kit.model.weights.blank import linears
from tests.conftest import small_prior
from tests.counting import dispatched
from tests.kernels.conftest import filled
from tests.test_decoding import labels

pytestmark = pytest.mark.kernels
CPU = torch.device("cpu")
CLOSE = {torch.float16: 2e-3, torch.float32: 1e-5}  # of the largest
# Songs, in, out: one song, several, more than a program has rows; sizes that no power of two divides.
SHAPES = [(1, 16, 48), (1, 1920, 40), (3, 150, 33), (2, 1100, 20), (16, 480, 50), (5, 40, 7), (17, 64, 20)]
LYRICS = {"use_tokens": True, "n_tokens": 6, "n_vocab": 80}
ENCODER = {"prime_width": 8, "prime_depth": 2, "prime_heads": 2, "prime_blocks": 2}
PARTS: dict[str, dict[str, object]] = {
    "upsampler": {"attn_order": ("row", "column", "previous_row"), "prior_depth": 3, "heads": 1},
    "encoder": {"attn_order": ("encoder", "row"), "prior_depth": 2, "merged_decoder": True} | LYRICS | ENCODER,
    "prime": {"attn_order": ("prime", "dense"), "prior_depth": 2, "single_enc_dec": True} | LYRICS,
}


def map_of(n_in: int, n_out: int, dtype: torch.dtype, weights: str) -> TransposedLinear:
    plain = PlainLinear(n_in, n_out)
    plain.w.data, plain.b.data = (filled(n_in, n_out, seed=1) / n_in**0.5).to(dtype), filled(n_out, seed=2).to(dtype)
    return TransposedLinear(plain, weights)


@pytest.mark.parametrize("weights", ["as they are", "int8"])
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(("songs", "n_in", "n_out"), SHAPES)
@torch.no_grad()
def test_maps(fused: ModuleType, songs: int, n_in: int, n_out: int, dtype: torch.dtype, weights: str) -> None:
    plain, fast = Operations(), fused.FusedOperations(CPU)
    to, norm = map_of(n_in, n_out, dtype, weights), LayerNorm(n_in)
    norm.weight.data, norm.bias.data = 1 + filled(n_in, seed=3) / 10, filled(n_in, seed=4) / 10
    x, residual = filled(songs, n_in, seed=5) * 3 + 1, filled(songs, n_out, seed=6)
    for name, arguments in (
        ("norm_map", (norm, to, x)),
        ("norm_map_gelu", (norm, to, x)),
        ("map_added", (to, x.to(dtype), residual)),
    ):
        want, found = getattr(plain, name)(*arguments), getattr(fast, name)(*arguments)
        assert found.dtype == want.dtype
        assert (found.float() - want.float()).abs().max() <= CLOSE[dtype] * want.float().abs().max(), name
    assert fast.launches == 3


def turned(part: str, dtype: torch.dtype, weights: str = "as they are", **more: object) -> Prior:
    """Return a small prior as a GPU has it."""
    prior = small_prior(**{"n_ctx": 12, "blocks": 3} | PARTS[part] | more)
    place(prior, CPU, dtype)
    for _, holder, attribute, plain in linears(prior):
        setattr(holder, attribute, TransposedLinear(plain, weights))
    return prior


def window(prior: Prior, songs: int, operations: Operations, noise: Any, primed: int) -> Tensor:
    """Return a window's tokens from a primer on."""
    codes = torch.full((songs, prior.config.n_ctx), UNSAMPLED)
    codes[:, :primed] = torch.randint(32, (songs, primed), generator=torch.Generator().manual_seed(0))
    loop = TokenLoop(
        CachedDecoder(prior, songs, operations),
        SamplingParams(0.9),
        noise(3, 2, torch.arange(songs), 32),
        prior.config.n_ctx,
    )
    with torch.no_grad():
        given = prior.condition(labels(prior, songs))
    loop.window(given, codes, 0, range(primed, prior.config.n_ctx))
    return codes


@pytest.mark.parametrize(
    ("part", "songs", "dtype", "weights"),
    [
        ("upsampler", 1, torch.float16, "as they are"),
        ("upsampler", 3, torch.float16, "int8"),
        ("upsampler", 16, torch.float16, "as they are"),
        ("upsampler", 2, torch.float32, "as they are"),
        ("encoder", 1, torch.float32, "as they are"),
        ("encoder", 2, torch.float16, "as they are"),
        ("prime", 1, torch.float16, "int8"),
        ("prime", 3, torch.float32, "as they are"),
    ],
)
def test_whole_windows(few: ModuleType, part: str, songs: int, dtype: torch.dtype, weights: str) -> None:
    """From nothing to the end, kernels for everything, the noise too."""
    prior, fast = turned(part, dtype, weights), few.FusedOperations(CPU)
    found = window(prior, songs, fast, NoiseKernel, 0)
    assert fast.launches == 5 * prior.config.prior_depth * prior.config.n_ctx
    assert torch.equal(found, window(prior, songs, Operations(), NoiseTable, 0))


@pytest.mark.parametrize("part", PARTS)
def test_a_window_that_begins_with_something(fused: ModuleType, part: str) -> None:
    """Keys shared out to as many parts as a GPU has them, some of which see nothing yet."""
    prior = turned(part, torch.float16)
    found = window(prior, 1, fused.FusedOperations(CPU), NoiseTable, 9)
    assert torch.equal(found, window(prior, 1, Operations(), NoiseTable, 9))


@pytest.mark.parametrize(
    ("seed", "level", "items", "position", "bins"),
    [(0, 0, [0], 0, 2048), (2**64 - 1, 2, [1, 5], 330749, 2050), (11, 1, [0, 3, 7], 65537, 30), (2**63, 2, [2], 1, 1)],
)
def test_noise_is_bit_for_bit_that_of_the_table(
    fused: ModuleType, seed: int, level: int, items: list[int], position: int, bins: int
) -> None:
    noise = NoiseKernel(seed, level, torch.tensor(items), bins)
    noise.begin(position)
    for at in (position, position + 1):
        assert torch.equal(noise.next(), gumbel(seed, level, noise.items, torch.tensor([at]), bins)[:, 0])


@pytest.mark.parametrize("songs", [1, 2])
def test_a_decoder_gets_kernels_that_agree(few: ModuleType, songs: int) -> None:
    decoder = CachedDecoder(turned("upsampler", torch.float16), songs)
    assert fuse(decoder)
    assert decoder.operations.optimised
    assert not any(tensor.any() for tensor in (decoder.last, decoder.position, *(c.kv for c in decoder.caches)))


def test_without_matrix_units_many_songs_keep_plain_operations(fused: ModuleType) -> None:
    decoder = CachedDecoder(turned("upsampler", torch.float32), 5)
    assert not fuse(decoder)


@pytest.mark.parametrize(
    ("broken", "told"), [(lambda *_: 1 / 0, "fail on this GPU (ZeroDivisionError"), (None, "differ from the plain")]
)
def test_kernels_that_fail_or_differ_are_not_used(
    few: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: Any, told: str
) -> None:
    def doubled(self: Operations, to: Linear, h: Tensor, x: Tensor) -> Tensor:
        out: Tensor = x + 2 * to(h)
        return out

    monkeypatch.setattr(few.FusedOperations, "map_added", broken or doubled)
    decoder = CachedDecoder(turned("prime", torch.float16), 1)
    with caplog.at_level(logging.WARNING):
        assert not fuse(decoder)
    assert told in caplog.text
    assert "using plain operations instead" in caplog.text
    assert not decoder.operations.optimised


def test_a_layer_is_five_kernels_and_nothing_else(fused: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fused.FusedOperations, "_launch", lambda self, *_, **__: setattr(self, "launches", self.launches + 1)
    )
    found = []
    for depth in (3, 9):
        prior = turned("upsampler", torch.float16, prior_depth=depth)
        fast = fused.FusedOperations(CPU)
        others = dispatched(CachedDecoder(prior, 2, fast).next_logits)
        found.append((fast.launches, sum(others.values())))
    assert [launches for launches, _ in found] == [15, 45]
    assert found[0][1] == found[1][1] <= 12  # a step's own: input, output map, position
