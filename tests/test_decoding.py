"""Cached decoding equals the full forward, for every pattern and every position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jukebox_kit.checks.verify.parts import teacher_forced
from jukebox_kit.engine.decoder import CachedDecoder, PlainDecoder
from jukebox_kit.model.attention import pattern_attention
from jukebox_kit.model.configuration import Pattern
from jukebox_kit.model.prior import Prior
from tests.conftest import small_prior

PATTERNS = ["dense", "row", "column", "previous_row", "prime", "encoder"]


@st.composite
def priors(draw: st.DrawFn) -> Prior:
    blocks, block_ctx, heads = draw(st.integers(1, 6)), draw(st.integers(1, 7)), draw(st.sampled_from([1, 2, 4]))
    order = draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4, unique=True))
    # Lyrics in the same sequence and lyrics of an encoder exclude each other.
    if "prime" in order:
        order = [p for p in order if p != "encoder"]
    fields: dict[str, object] = {
        "heads": heads,
        "blocks": blocks,
        "attn_order": tuple(order),
        "prior_depth": len(order),
    }
    fields |= {"merged_decoder": draw(st.booleans()), "n_ctx": blocks * block_ctx}
    if "prime" in order:
        fields |= {
            "single_enc_dec": True,
            "use_tokens": True,
            "n_tokens": blocks * draw(st.integers(1, 3)),
            "n_vocab": 79,
        }
    elif "encoder" in order:
        encoder = {"prime_width": 8, "prime_depth": 2, "prime_heads": 2, "prime_blocks": 2}
        fields |= {"use_tokens": True, "n_tokens": 4, "n_vocab": 80} | encoder
    return small_prior(**fields)


def labels(prior: Prior, songs: int) -> Tensor:
    config = prior.config
    y = torch.zeros(songs, config.label_width, dtype=torch.long)
    y[:, 0], y[:, 1], y[:, 2] = 44100 * 60, torch.arange(songs) * 44100, config.n_ctx * prior.hop
    y[:, 3], y[:, 4] = torch.arange(songs) % 5, 1
    y[:, 5:] = torch.arange(config.n_tokens) % 70
    return y


@settings(max_examples=120, deadline=None)
@given(prior=priors(), songs=st.integers(1, 3), data=st.data())
def test_cached_equals_full_at_every_position(prior: Prior, songs: int, data: st.DataObject) -> None:
    n_ctx = prior.config.n_ctx
    codes = torch.randint(prior.bins, (songs, n_ctx), generator=torch.Generator().manual_seed(n_ctx))
    y = labels(prior, songs)
    whole = prior.logits(codes, y)[:, prior.prefix_length :, prior.shift :]
    assert whole.shape == (songs, n_ctx, prior.bins)
    # From nothing, every position; then from some primer, the positions after it.
    with torch.no_grad():
        conditioning = prior.condition(y)
    assert torch.allclose(teacher_forced(CachedDecoder(prior, songs), conditioning, codes), whole, atol=1e-5)
    primed = data.draw(st.integers(0, n_ctx - 1))
    cached, plain = CachedDecoder(prior, songs), PlainDecoder(prior)
    cached.prefill(conditioning, codes[:, :primed])
    plain.prefill(conditioning, codes[:, :primed])
    for position in range(primed, n_ctx):
        logits = cached.next_logits()
        assert torch.allclose(logits, whole[:, position], atol=1e-5)
        if position in (primed, n_ctx - 1):
            assert torch.allclose(plain.next_logits(), logits, atol=1e-5)
        cached.feed(codes[:, position])
        plain.feed(codes[:, position])


def visible(pattern: Pattern, query: int, key: int, block_ctx: int, prime: int) -> bool:
    """Say, straight from the definition, whether a query sees a key."""
    same_row = query // block_ctx == key // block_ctx
    return {
        Pattern.DENSE: key <= query,
        Pattern.ROW: same_row and key <= query,
        Pattern.COLUMN: query % block_ctx == key % block_ctx and key <= query,
        Pattern.PREVIOUS_ROW: query // block_ctx - 1 == key // block_ctx,
        Pattern.PRIME: key < prime and key <= query,
    }[pattern]


@pytest.mark.parametrize("pattern", [p for p in Pattern if p is not Pattern.ENCODER])
@pytest.mark.parametrize("length", [1, 5, 6, 17, 24])
def test_patterns_see_what_their_definition_says(pattern: Pattern, length: int) -> None:
    block_ctx, prime = 6, 8
    q, k, v = (torch.randn(2, 2, length, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    found = pattern_attention(pattern, q, k, v, block_ctx, prime)
    mask = torch.tensor([[visible(pattern, i, j, block_ctx, prime) for j in range(length)] for i in range(length)])
    scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~mask, float("-inf")).softmax(-1)
    assert torch.allclose(found, scores.nan_to_num(0) @ v, atol=1e-6)  # a row that sees nothing gives zero


def test_cost_of_a_token_is_that_of_its_buffers() -> None:
    """No tensor that a step reads grows with the position."""
    prior = small_prior(n_ctx=64, blocks=8, attn_order=("row", "column", "previous_row", "dense"), prior_depth=4)
    decoder = CachedDecoder(prior, 2)
    with torch.no_grad():
        decoder.prefill(prior.condition(labels(prior, 2)), torch.zeros(2, 0, dtype=torch.long))
    shapes = [cache.kv.shape for cache in decoder.caches]
    for _ in range(64):
        decoder.next_logits()
        decoder.feed(torch.zeros(2, dtype=torch.long))
    assert [cache.kv.shape for cache in decoder.caches] == shapes
    assert [shape[3] for shape in shapes] == [8, 64, 24, 64]
