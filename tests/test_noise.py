"""The sampling noise against the generator's published answers."""

from __future__ import annotations

import pytest
import torch

from jukebox_kit.engine.noise import MASK, gumbel, philox, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((MASK,) * 4, (MASK, MASK), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]) -> None:
    a, b, c, d = (torch.tensor([value]) for value in counter)
    assert philox((a, b, c, d), key)[0].tolist() == list(words)


def test_uniforms_do_not_depend_on_what_they_are_made_with() -> None:
    whole = uniforms(7, 1, torch.arange(3), torch.arange(10), 50)
    assert torch.equal(whole[2:, 4:6, :9], uniforms(7, 1, torch.tensor([2]), torch.tensor([4, 5]), 9))
    assert not torch.equal(whole, uniforms(7, 0, torch.arange(3), torch.arange(10), 50))
    assert not torch.equal(whole, uniforms(7 + 2**32, 1, torch.arange(3), torch.arange(10), 50))


def test_gumbel_is_finite_and_has_its_mean() -> None:
    noise = gumbel(2**64 - 1, 0, torch.arange(4), torch.arange(500), 64)
    assert noise.isfinite().all()
    assert abs(float(noise.mean()) - 0.5772) < 0.02
