"""Codes of other programs are recognised in any order and container, and files and zips under any name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jukebox_kit.song.interop.code_lists import lists_top_first
from tests.old import holds, imported, write_mini


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


def levels(*lengths: int, items: int = 1) -> list[Tensor]:
    """Return codes of levels of these lengths, (items, tokens) each."""
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(0, 64, (items, n), generator=generator) for n in lengths]


@pytest.mark.parametrize(
    ("lengths", "top_first"),
    [
        ((1600, 400, 100), False),
        ((100, 400, 1600), True),
        ((0, 0, 100), False),
        ((100, 0, 0), True),
        ((0, 230, 100), False),  # level 1 is being sampled
        ((100, 230, 0), True),
        ((3, 400, 100), False),  # level 0 is being sampled
        ((300, 400, 100), False),
        ((100, 400, 3), True),
        ((100, 400, 300), True),
        ((160, 40, 100), False),  # a prompt of 10 tokens
        ((100, 40, 160), True),
        ((160, 200, 100), False),  # a prompt, and level 1 is being sampled
        ((100, 403, 1615), True),  # lengths that were not rounded to whole tokens of level 2
        ((1615, 403, 100), False),
        ((16, 4, 1), False),
        ((1, 4, 16), True),
        ((0, 0, 0), False),
        ((100, 100, 100), False),  # neither: left as the release's
    ],
)
def test_the_order_of_levels_is_told_by_their_lengths(lengths: tuple[int, int, int], top_first: bool) -> None:
    assert lists_top_first(list(lengths)) is top_first


@pytest.mark.parametrize("lengths", [(320, 80, 20), (100, 80, 20), (0, 50, 20), (0, 0, 20)])
@pytest.mark.parametrize("container", ["list", "dict", "music_tokens"])
def test_codes_from_the_top_are_reordered_with_a_note(
    mini: Path, tmp_path: Path, lengths: tuple[int, ...], container: str
) -> None:
    codes = levels(*lengths, items=2)
    found = codes[::-1]
    torch.save(
        {"list": found, "dict": {"zs": found}, "music_tokens": {"music_tokens": found}}[container], tmp_path / "a.t"
    )
    (outcome,) = imported(tmp_path / "a.t", tmp_path / "song", mini)
    assert outcome.song is not None, outcome.failed
    assert holds(outcome.song, codes)
    assert [outcome.song.request.items, *(s.done for s in outcome.song.status())] == [
        2,
        *(2 * n for n in lengths[::-1]),
    ]
    assert outcome.notes[0] == (
        f"{tmp_path / 'a.t'} lists level 2 first, as the transformers library does; its levels were put in the other "
        f"order."
    )


TOP = levels(20)[0]
EMPTY = torch.zeros(1, 0)
WHOLE = levels(320, 80, 20)


@pytest.mark.parametrize(
    "content",
    [
        tuple(WHOLE),
        {"zs": tuple(WHOLE)},
        {"codes": WHOLE},
        dict(enumerate(WHOLE)),
        {"level_2": WHOLE[2], "level_1": WHOLE[1], "level_0": WHOLE[0]},
        {"top": WHOLE[2], "bottom": WHOLE[0], "middle": WHOLE[1]},
        [z[0] for z in WHOLE],
        [z[None] for z in WHOLE],
        [z[:, None] for z in WHOLE],
        [z[..., None] for z in WHOLE],
        [z.tolist() for z in WHOLE],
        [z[0].tolist() for z in WHOLE],
        [[z[0]] for z in WHOLE],
        [z.to(torch.int16) for z in WHOLE],
        [z.to(torch.int8) for z in WHOLE],
    ],
)
def test_containers_and_dimensions(mini: Path, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth.tar")
    (outcome,) = imported(tmp_path / "a.pth.tar", tmp_path / "song", mini)
    assert outcome.song is not None, outcome.failed
    assert holds(outcome.song, WHOLE)
    assert outcome.song.request.items == 1
    assert not any("level 2 first" in note for note in outcome.notes)


@pytest.mark.parametrize("content", [{"level_2": TOP}, {2: TOP}, [None, None, TOP], [[], [], TOP], [EMPTY, EMPTY, TOP]])
def test_levels_that_are_missing_are_empty(mini: Path, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth.tar")
    (outcome,) = imported(tmp_path / "a.pth.tar", tmp_path / "song", mini)
    assert outcome.song is not None, outcome.failed
    assert [status.done for status in outcome.song.status()] == [20, 0, 0]
