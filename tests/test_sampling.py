"""Choosing tokens, windows of a level, and that nothing but the request decides which song comes out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.sampling import LevelJob, sample_level
from jukebox_kit.engine.windows import UNSAMPLED, LevelPlan, plan_level, window_starts
from jukebox_kit.errors import RequestError
from jukebox_kit.model.labels import Labels
from jukebox_kit.model.prior import Prior
from tests.conftest import SMALL_VQVAE, small_prior

LABELS = Labels(1, (2,), (), 44100 * 60)


@given(total=st.integers(1, 400), n_ctx=st.integers(1, 100), hop=st.integers(1, 100), primed=st.integers(0, 400))
def test_windows_cover_every_token_once(total: int, n_ctx: int, hop: int, primed: int) -> None:
    hop, primed = min(hop, n_ctx), min(primed, total)
    starts = window_starts(total, n_ctx, hop)
    assert starts == sorted(set(starts))
    assert all(start + n_ctx <= total for start in starts) or starts == [0]
    sampled: list[int] = []
    for start, begin, end in LevelPlan(0, total, n_ctx, tuple(starts), 4).windows(primed):
        assert start <= begin < end <= start + n_ctx
        sampled += range(begin, end)
    assert sampled == list(range(primed, total))


@settings(max_examples=50)
@given(k=st.integers(1, 40), seed=st.integers(0, 1000))
def test_top_k_keeps_the_likeliest_and_their_ties(k: int, seed: int) -> None:
    logits = torch.randint(0, 8, (3, 30), generator=torch.Generator().manual_seed(seed)).float()
    kept = SamplingParams(1.0, top_k=k).filtered(logits).isfinite()
    kth = logits.sort(descending=True)[0][:, min(k, 30) - 1 : min(k, 30)]
    assert torch.equal(kept, logits >= kth)


@settings(max_examples=50)
@given(p=st.floats(0.01, 1.0), seed=st.integers(0, 1000))
def test_top_p_keeps_what_comes_before_the_share_is_full(p: float, seed: int) -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(seed))
    kept = SamplingParams(1.0, top_p=p).filtered(logits).isfinite()[0]
    probabilities = logits.softmax(-1)[0].tolist()
    before = 0.0
    for index in sorted(range(30), key=lambda i: -probabilities[i]):
        if abs(before - p) > 1e-5:  # on the edge, rounding decides
            assert bool(kept[index]) == (before < p)
        before += probabilities[index]


def test_lowest_code_wins_a_tie() -> None:
    assert SamplingParams().choose(torch.zeros(1, 5), torch.zeros(1, 5)).tolist() == [0]


@pytest.mark.parametrize(
    "fields",
    [{"temperature": 0}, {"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": 2, "top_p": 0.5}],
)
def test_wrong_choices_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        SamplingParams(**fields)  # type: ignore[arg-type]  # top_k given as a number is what the test is about


def job(prior: Prior, items: tuple[int, ...], above: Tensor | None, **more: object) -> LevelJob:
    plan = plan_level(prior.config, SMALL_VQVAE, 75 * prior.hop // 128 * 128 or 128 * 20, 0.25)
    picked = None if above is None else above[list(items)]
    return LevelJob(plan, items, (LABELS,) * len(items), picked, 11, SamplingParams(1.0), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def upsampler() -> tuple[Prior, Tensor]:
    conditioner = {"cond_width": 8, "cond_depth": 2, "cond_dilation_growth_rate": 3}
    prior = small_prior(level=1, attn_order=2, **conditioner)
    return prior, torch.randint(32, (4, 30), generator=torch.Generator().manual_seed(1))


def sampled(prior: Prior, items: tuple[int, ...], above: Tensor | None, **more: object) -> Tensor:
    work = job(prior, items, above, **more)
    codes = torch.full((len(items), work.plan.total), UNSAMPLED)
    assert sample_level(prior, work, codes) == []
    return codes


@pytest.mark.parametrize("level", [1, 2])
def test_batch_splits_do_not_change_a_song(level: int, upsampler: tuple[Prior, Tensor]) -> None:
    prior, above = upsampler if level == 1 else (small_prior(attn_order=2), None)
    whole = sampled(prior, (0, 1, 2, 3), above)
    for items in ((0,), (2, 3), (1, 2)):
        assert torch.equal(sampled(prior, items, above), whole[list(items)])


def test_the_cached_engine_samples_what_the_plain_one_does(upsampler: tuple[Prior, Tensor]) -> None:
    prior, above = upsampler
    plain = Placement(torch.device("cpu"), engine="plain")
    assert torch.equal(sampled(prior, (0, 1), above), sampled(prior, (0, 1), above, placement=plain))


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 74), min_size=2, max_size=2))
def test_a_level_goes_on_from_any_state(cuts: list[int]) -> None:
    """Items may even have been left at different places, as they are when they were made in another batch split."""
    prior = small_prior(attn_order=2)
    whole = sampled(prior, (0, 1), None)
    partial = whole.clone()
    for item, cut in enumerate(cuts):
        partial[item, cut:] = UNSAMPLED
    assert sample_level(prior, job(prior, (0, 1), None), partial) == []
    assert torch.equal(partial, whole)


def test_a_token_that_does_not_come_out_as_saved_is_told() -> None:
    prior = small_prior(attn_order=2)
    partial = sampled(prior, (0,), None)
    partial[0, 7] = (partial[0, 7] + 1) % 32
    partial[0, 9:] = UNSAMPLED
    assert sample_level(prior, job(prior, (0,), None), partial)[0] == 7


def test_a_short_song_repeats_the_last_upper_code() -> None:
    plan = LevelPlan(1, 8, 32, (0,), 4)
    assert plan.above(torch.tensor([[5, 6]]), 0).tolist() == [[5, 6, 6, 6, 6, 6, 6, 6]]
