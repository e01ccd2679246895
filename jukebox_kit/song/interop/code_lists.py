"""Three levels' codes as other programs keep them: in lists, tuples or dicts, in either order, with or without a batch.

Here index 0 is the bottom level, hop 8; 1 the middle, hop 32; 2 the top, hop 128.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jukebox_kit.errors import SongError
from jukebox_kit.song.request import MAX_ITEMS

OldLevel = NDArray[np.int64]  # one level as it lay in a file: (items, tokens), or (tokens,) of one item

OldCodes = tuple[OldLevel, OldLevel, OldLevel]  # levels 0, 1, 2

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

MOST_CODES = 2**28  # a few bytes of a pickle may claim a tensor of any size

LISTS = ("zs", "music_tokens", "codes")  # keys under which dicts keep the levels

NAMES = {"bottom": 0, "middle": 1, "top": 2}

RATE = 4  # tokens of a level for each token of the one above


def find_levels(content: object) -> object:
    """Return what should be the three levels' codes, from level 0 on unless the program counts from the top.

    content: a list or tuple; or a dict with one of `LISTS`, or with a key for each level. None if a dict has neither.
    """
    if not isinstance(content, dict):
        return content
    values = cast("dict[object, object]", content)
    named = [values[name] for name in LISTS if name in values]
    if named:
        return find_levels(named[0])
    numbers = {number: value for key, value in values.items() if (number := _number(key)) is not None}
    return [numbers.get(level) for level in range(3)] if numbers and len(numbers) == len(values) else None


def old_codes(levels: object, path: Path) -> tuple[OldCodes, bool]:
    """Return the codes with as many rows in each level, and whether the file lists the top level first.

    Raises SongError for anything but three levels' codes.
    """
    if not isinstance(levels, list | tuple) or len(levels) != 3:
        raise SongError(f"{path} does not contain a list of three levels' codes, so it is not a Jukebox song; omit it.")
    codes = [_level(value, f"level {level} of {path}") for level, value in enumerate(levels)]
    top_first = lists_top_first([level.shape[1] for level in codes])
    codes = codes[::-1] if top_first else codes
    if not codes[2].size:
        raise SongError(f"{path} has no level 2 codes, with which a song starts; pass a file that has some.")
    items = max(len(level) for level in codes if level.size)
    whole = [_rows(level, items, path) for level in codes]
    return (whole[0], whole[1], whole[2]), top_first


def lists_top_first(lengths: list[int]) -> bool:
    """Return whether levels of these lengths in tokens can only be listed from the top, as by the transformers library.

    The release lists the bottom level first.
    """
    return not _possible(*lengths) and _possible(*lengths[::-1])


def _possible(bottom: int, middle: int, top: int) -> bool:
    """Return whether levels may have so many tokens: none is longer than the one above it.

    A level is begun once the one above it is finished, except that a prompt begins all three.
    """
    within = middle < RATE * (top + 1) and bottom < RATE * (middle + 1)
    begun = not bottom or middle >= RATE * top or bottom >= RATE * middle
    return top > 0 and within and begun


def _number(key: object) -> int | None:
    """Return the level that a dict's key names: 2, "2", "level_2" or "top"."""
    matched = re.fullmatch(r"(?:level|z)?[ _-]?([012])", str(key).lower())
    return int(matched[1]) if matched else NAMES.get(str(key).lower())


def _level(value: object, what: str) -> OldLevel:
    table = _table(value)
    if table is None:
        raise SongError(f"{what} is not a table of codes (items, tokens); the file is not a Jukebox song, omit it.")
    if not table.numel():  # empty levels were kept as float32 by some
        return np.zeros((0, 0), np.int64)
    if table.dtype not in WHOLE:
        raise SongError(f"{what} contains numbers that are not codes ({table.dtype}); the file is damaged, omit it.")
    if table.numel() > MOST_CODES or len(table) > MAX_ITEMS:
        raise SongError(f"{what} claims {tuple(table.shape)} codes, more than any song has; omit it.")
    codes: OldLevel = table.to(torch.int64).numpy().copy()  # what is read may be a slice of a batch, or mapped
    return codes


def _table(value: object) -> Tensor | None:
    """Return a level as (items, tokens); None for what is not a level.

    value: a tensor, of one item without its dimension or of any with further dimensions of 1; a list of items; None.
    """
    try:
        if value is None or (isinstance(value, list | tuple) and not value):
            return torch.zeros(0, 0)
        if isinstance(value, list | tuple):
            items = list(value)
            value = torch.stack(items) if isinstance(items[0], Tensor) else torch.tensor(items)
        if not isinstance(value, Tensor) or value.layout is not torch.strided or not value.dim():
            return None
        table = value.squeeze() if value.dim() > 2 else value
        table = table if table.dim() > 1 else table.reshape(1, -1)
        return table if table.dim() == 2 else None
    except (TypeError, ValueError, RuntimeError, OverflowError):  # items of other lengths, or no numbers
        return None


def _rows(level: OldLevel, items: int, path: Path) -> OldLevel:
    if not level.size:
        return np.zeros((items, 0), np.int64)
    if len(level) not in (1, items):
        raise SongError(f"{path} has {len(level)} items at one level and {items} at another; it is damaged, omit it.")
    return np.repeat(level, items // len(level), 0)


def in_level_order(values: Mapping[str, Any], name: str, top_first: bool) -> Any:
    """Return a list of three levels' facts from level 0 on, such as their labels; None if there is none."""
    found = values.get(name)
    return found[::-1] if top_first and isinstance(found, list | tuple) else found
