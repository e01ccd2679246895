"""Small parts stepped by compiled code: the plain path's tokens, the same bits in any batch, noise bit for bit."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jukebox_kit.checks.verify.parts import teacher_forced
from jukebox_kit.engine import decoders
from jukebox_kit.engine.caches import Cache
from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cpu import large_decoder as large
from jukebox_kit.engine.cpu import numba_noise as compiled_choice
from jukebox_kit.engine.cpu import numba_step as compiled
from jukebox_kit.engine.cpu.large_decoder import LargeDecoder
from jukebox_kit.engine.cpu.numba_noise import CompiledNoise, choosing_step
from jukebox_kit.engine.cpu.small_decoder import SmallDecoder, small
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.decoders import make_decoder, make_loop
from jukebox_kit.engine.linear import LARGE
from jukebox_kit.engine.loop import Rows, TokenLoop
from jukebox_kit.engine.noise import NoiseTable, gumbel
from jukebox_kit.engine.sampling import ON_CPU
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.model.transformer import PlainLinear
from tests.conftest import small_prior
from tests.test_decoding import labels, priors
from tests.test_packed import GOLDEN_PLAIN, window


@pytest.mark.parametrize("name", GOLDEN_PLAIN.prior_names())
def test_whole_windows_are_the_plain_path_s(name: str) -> None:
    prior = GOLDEN_PLAIN.prior(name)
    assert isinstance(make_decoder(prior, 1, ON_CPU), SmallDecoder)
    n_ctx = prior.config.n_ctx
    for songs, primed in ((2, 0), (16, 5 * n_ctx // 6)):
        whole = window(prior, name, songs, "plain", primed)
        for some in (1, 2, songs):
            assert torch.equal(window(prior, name, some, "fast", primed), whole[:some]), (some, primed)


@settings(max_examples=60, deadline=None)
@given(prior=priors(), songs=st.integers(1, 3), data=st.data())
def test_logits_are_the_plain_forward_s_and_of_the_same_bits_in_any_batch(
    prior: Prior, songs: int, data: st.DataObject
) -> None:
    n_ctx = prior.config.n_ctx
    codes = torch.randint(prior.bins, (songs, n_ctx), generator=torch.Generator().manual_seed(n_ctx))
    y = labels(prior, songs)
    whole = prior.logits(codes, y)[:, prior.prefix_length :, prior.shift :]
    with torch.no_grad():
        conditioning = prior.condition(y)
    decoder = SmallDecoder(prior, songs)
    found = teacher_forced(decoder, conditioning, codes)
    assert torch.allclose(found, whole, atol=1e-5)
    last = Conditioning(
        conditioning.positions[-1:],
        conditioning.start[-1:],
        conditioning.prefix[-1:],
        None if conditioning.lyrics is None else conditioning.lyrics[-1:],
    )
    alone = SmallDecoder(prior, 1)
    decoder.prefill(conditioning, codes[:, :0])
    alone.prefill(last, codes[-1:, :0])
    for position in range(n_ctx):
        assert torch.equal(alone.next_logits(), decoder.next_logits()[-1:])
        decoder.feed(codes[:, position])
        alone.feed(codes[-1:, position])
    primed = data.draw(st.integers(0, n_ctx - 1))  # the same decoder, in its next window
    decoder.prefill(conditioning, codes[:, :primed])
    for position in range(primed, n_ctx):
        assert torch.allclose(decoder.next_logits(), whole[:, position], atol=1e-5)
        decoder.feed(codes[:, position])


@pytest.mark.parametrize("n_in", [8, 13, 64])
def test_a_map_sums_in_the_same_order_for_any_number_of_songs(n_in: int) -> None:
    generator = torch.Generator().manual_seed(n_in)
    w, x = (torch.randn(size, generator=generator) for size in ((n_in, 700), (5, n_in)))
    out = torch.zeros(5, 700)
    compiled.add_map(x.view(-1).numpy(), w.view(-1).numpy(), out.view(-1).numpy(), 5)
    assert torch.allclose(out, x @ w, atol=1e-4)
    for song in range(5):
        one = torch.zeros(700)
        compiled.add_map(x[song].numpy(), w.view(-1).numpy(), one.numpy(), 1)
        assert torch.equal(one, out[song])


def test_exp_is_right_to_a_few_units_in_the_last_place() -> None:
    values = np.linspace(-87, 88, 4001, dtype=np.float32)
    found = np.array([compiled.exp(value) for value in values])
    assert np.abs(found / np.exp(values.astype(np.float64)) - 1).max() < 4e-7
    assert compiled.exp(np.float32(-1e30)) < 1e-37


def test_large_parts_leave_their_products_to_torch() -> None:
    prior = small_prior()
    assert small(prior)
    prior.prior.transformer.layers[-1].mlp.c_fc = PlainLinear(512, LARGE // 512)
    assert not small(prior)
    assert type(make_decoder(prior, 1, ON_CPU)) is LargeDecoder


@pytest.mark.parametrize("name", GOLDEN_PLAIN.prior_names())
def test_in_large_parts_either_attention_gives_the_plain_path_s_tokens(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = GOLDEN_PLAIN.prior(name)
    monkeypatch.setattr(decoders, "small", lambda _: False)
    assert type(make_decoder(prior, 1, ON_CPU)) is LargeDecoder
    primed = 5 * prior.config.n_ctx // 6
    whole = window(prior, name, 3, "plain", primed)
    assert torch.equal(window(prior, name, 3, "fast", primed), whole)
    monkeypatch.setattr(large, "MANY", 0)
    attended = list[torch.Size]()
    by_torch = Cache.attend

    def attend(cache: Cache, mapped: Tensor) -> Tensor:
        attended.append(mapped.shape)
        return by_torch(cache, mapped)

    monkeypatch.setattr(Cache, "attend", attend)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert torch.equal(window(prior, name, 3, "fast", primed), whole)
    assert len(attended) == (prior.config.n_ctx - primed) * prior.config.prior_depth


@pytest.mark.parametrize("part", ["small", "large"])
def test_where_nothing_can_be_compiled_torch_does_it_and_the_loop_says_so(
    part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decoders, "small", lambda _: part == "small")
    monkeypatch.setattr(compiled, "attend_songs" if part == "large" else "step_logits", None)
    loop = make_loop(small_prior(), Rows.of(torch.arange(2)), 0, SamplingParams(), ON_CPU)
    assert type(loop.decoder) is CachedDecoder
    assert type(loop.noise) is NoiseTable
    assert not loop.decoder.optimised
    assert "could not be compiled" in caplog.text


@numba.njit
def every_noise(out: np.ndarray) -> None:
    for number in range(2**23):
        out[number] = -compiled_choice.log(-compiled_choice.log((number + 0.5) * 2.0**-23))


def test_noise_of_every_uniform_there_is_has_torch_s_bits() -> None:
    found = torch.empty(2**23)
    every_noise(found.numpy())
    uniforms = torch.arange(2**23).double().add_(0.5).mul_(2.0**-23)
    assert torch.equal(found, uniforms.log_().neg_().log_().neg_().float())


@pytest.mark.parametrize("seed", [0, 7, 2**63 + 12345, 2**64 - 1])
@pytest.mark.parametrize("bins", [30, 512])
def test_a_table_of_noise_is_the_noise(seed: int, bins: int) -> None:
    items, begins = torch.tensor([0, 5, 2**31]), torch.tensor([0, 7, 2**20])
    table = CompiledNoise(seed, 2, items, bins, begins)
    made = table.begin(3)
    assert torch.equal(table.values, gumbel(seed, 2, items, begins[:, None] + torch.arange(3, 3 + made), bins))


@pytest.mark.parametrize("temperature", [1.0, 0.98, 0.37])
def test_choosing_is_what_torch_chooses(temperature: float) -> None:
    prior, songs = small_prior(), 3
    items, choice = torch.arange(songs), SamplingParams(temperature)
    decoder, noise = SmallDecoder(prior, songs), CompiledNoise(1, 2, items, prior.bins, torch.zeros_like(items))
    loop = TokenLoop(decoder, choice, noise, prior.config.n_ctx, torch.zeros_like(items))
    step = choosing_step(decoder, noise, temperature, loop.codes, loop.chosen, loop.position)
    codes, chosen, last = list[Tensor](), list[Tensor](), list[Tensor]()
    with torch.no_grad():
        given = prior.condition(labels(prior, songs))
    for do in (loop.step, step):
        loop.rewind()
        decoder.prefill(given, torch.zeros(songs, 0, dtype=torch.long))
        noise.begin(0)
        loop.codes[1, 4] = 9  # stands already
        for _ in range(prior.config.n_ctx):
            do()
        codes.append(loop.codes.clone())
        chosen.append(loop.chosen.clone())
        last.append(decoder.last.clone())
    assert codes[0][1, 4] == 9
    assert chosen[0][1, 4] != 9
    for both in (codes, chosen, last):
        assert torch.equal(*both)


def test_the_lowest_code_wins_a_tie() -> None:
    zeros, position = np.zeros((1, 1, 5), np.float32), np.zeros(1, np.int64)
    codes, last = np.full((1, 4), -1), np.zeros((1, 2), np.float32)
    row = np.array([[0, 1, 0, 1, 0]], np.float32)
    compiled_choice.choose(
        row, zeros, position.copy(), np.float32(1), codes, codes.copy(), position, np.ones((5, 2), np.float32), last
    )
    assert codes.tolist() == [[1, -1, -1, -1]]


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching._CacheLocator.ensure_cache_path", refused)
    assert compiled.compiled()(add)(1, 2) == 3


def refused(_: object) -> None:
    raise PermissionError("a read-only folder")


def add(a: int, b: int) -> int:
    return a + b
