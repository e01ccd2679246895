"""The VQ-VAE: codes decode in pieces to the samples of decoding them whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_kit.errors import AudioError
from jukebox_kit.model.configuration import VQVAEConfig
from jukebox_kit.model.vqvae import VQVAE
from tests.conftest import SMALL_VQVAE, small_vqvae


@settings(max_examples=40, deadline=None)
@given(
    level=st.integers(0, 2),
    length=st.integers(1, 300),
    piece=st.integers(1, 120),
    reverse=st.booleans(),
    multipliers=st.sampled_from([(2, 1, 1), (1, 1, 1)]),
)
def test_pieces_are_the_whole(level: int, length: int, piece: int, reverse: bool, multipliers: tuple[int, ...]) -> None:
    config = VQVAEConfig(
        emb_width=4,
        l_bins=16,
        width=4,
        depth=2,
        hvqvae_multipliers=multipliers,
        vqvae_reverse_decoder_dilation=reverse,
    )
    vqvae = small_vqvae(config)
    codes = torch.randint(16, (1, length), generator=torch.Generator().manual_seed(length))
    whole = vqvae.decode(codes, level, piece=10**6)
    assert whole.shape == (1, length * config.hops[level], 1)
    assert torch.allclose(vqvae.decode(codes, level, piece), whole, atol=1e-5 * float(whole.abs().max()))


def test_memory_does_not_grow_with_the_song(monkeypatch: pytest.MonkeyPatch) -> None:
    vqvae, lengths = small_vqvae(), list[int]()
    whole = vqvae.reconstruct

    def watched(vectors: torch.Tensor, level: int) -> torch.Tensor:
        lengths.append(vectors.shape[1])
        return whole(vectors, level)

    monkeypatch.setattr(vqvae, "reconstruct", watched)
    longest = []
    for seconds in (40, 80, 160):
        lengths.clear()
        vqvae.decode(torch.zeros(1, seconds * 44100 // 128, dtype=torch.long), 2)
        longest.append(max(lengths))
    assert longest[0] == longest[1] == longest[2]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_margin_reaches_as_far_as_a_sample_can_see(level: int) -> None:
    """A changed code changes samples within the margin, and none beyond it."""
    vqvae = small_vqvae()
    hop, margin = SMALL_VQVAE.hops[level], vqvae.margin(level)
    codes = torch.zeros(1, 4 * margin, dtype=torch.long)
    changed = codes.clone()
    changed[0, 2 * margin] = 5
    differs = (vqvae.decode(codes, level, 10**6) != vqvae.decode(changed, level, 10**6))[0, :, 0].nonzero()[:, 0]
    reach = max(2 * margin * hop - int(differs[0]), int(differs[-1]) - (2 * margin + 1) * hop + 1)
    assert 0.5 * margin * hop < reach <= margin * hop


def test_released_margins_are_those_measured_on_the_release() -> None:
    with torch.device("meta"):
        vqvae = VQVAE(VQVAEConfig(hvqvae_multipliers=(2, 1, 1)))
    for level, measured in enumerate((5743, 81, 83)):
        assert measured <= vqvae.margin(level) <= measured + 4


def test_encode_refuses_what_is_no_whole_token() -> None:
    vqvae = small_vqvae()
    for shape in ((1, 100, 1), (1, 128), (1, 0, 1), (1, 128, 2)):
        with pytest.raises(AudioError, match="multiple of 128"):
            vqvae.encode(torch.zeros(shape))
