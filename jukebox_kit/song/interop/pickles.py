"""Reads a file of another program into plain arrays and the labels of its items.

There are two forms: the 2020 sampler's dict (zs, labels, sampling_kwargs, x), and a bare list of the three levels'
codes; see `code_lists` for how those are arranged.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from jukebox_kit.errors import CheckpointError, SongError
from jukebox_kit.model.weights import read_pickle
from jukebox_kit.song.interop.code_lists import WHOLE, OldCodes, find_levels, in_level_order, old_codes

RUN, COMPOSER, WEB_UI = "2020 run", "co-composer", "web ui"


TOP_FIRST = "{path} lists level 2 first, as the transformers library does; its levels were put in the other order."


class WeightsError(SongError):
    """A file holds a model's weights, which are often stored beside songs."""


@dataclass(frozen=True)
class OldLabels:
    """The labels and settings of an item; None for those that the files lack.

    label_width: columns of the top level's label row, which identify the model. total_samples: the whole song's length
    in samples. offset: the item's start in it, in samples. temperature: that of the top level, or of levels 0, 1, 2.
    artist_id: the artist's id in the original model's table.
    """

    model: str | None = None
    label_width: int | None = None
    artist: str | None = None
    genre: str | None = None
    lyrics: str | None = None
    total_samples: int | None = None
    offset: int = 0
    temperature: float | tuple[float, ...] | None = None
    artist_id: int | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class OldFile:
    """A file's codes, levels 0, 1, 2 each (items, tokens) int64, the labels of each item, and notes for the user."""

    path: Path
    kind: str
    codes: OldCodes
    labels: tuple[OldLabels, ...]
    notes: tuple[str, ...] = ()


def read_old_file(path: Path) -> OldFile:
    """Read a file of either form.

    Raises CheckpointError if it is missing, damaged or asks for code to be run, SongError if it holds no codes,
    WeightsError if it holds weights.
    """
    content = read_pickle(path)
    if isinstance(content, dict) and "zs" not in content and "model" in content:
        raise WeightsError(f"{path} contains a model's weights, not a song; pass a file with a song's codes.")
    check_sums(path)
    levels = find_levels(content)
    if levels is None:
        raise SongError(f"{path} is not a song; pass a file with a song's codes.")
    codes, top_first = old_codes(levels, path)
    notes = (TOP_FIRST.format(path=path),) if top_first else ()
    if not isinstance(content, dict) or "zs" not in content:
        return OldFile(path, COMPOSER, codes, (OldLabels(),) * len(codes[2]), notes)
    values = cast("dict[str, Any]", content)
    labels = read_labels(in_level_order(values, "labels", top_first), len(codes[2]))
    temperature = _temperature(in_level_order(values, "sampling_kwargs", top_first))
    return OldFile(path, RUN, codes, tuple(replace(one, temperature=temperature) for one in labels), notes)


def check_sums(path: Path) -> None:
    """Compare a file's checksums, which torch does not do; CheckpointError if one differs."""
    if zipfile.is_zipfile(path):  # the container before torch 1.6 has no checksums
        try:
            with zipfile.ZipFile(path) as file:
                wrong = file.testzip()
        except Exception as error:  # damaged bytes make it raise all kinds of errors
            wrong = str(error)
        if wrong:
            raise CheckpointError(f"{path} is damaged ({wrong}); download it again.")


def read_labels(labels: object, items: int | None = None) -> tuple[OldLabels, ...]:
    """Return the labels of each item from a list of three levels' labels; empty ones if it is none, as in autosaves.

    items: their number; None for as many as the labels have rows.
    """
    top = labels[-1] if isinstance(labels, list | tuple) and len(labels) == 3 else None
    values = cast("dict[str, Any]", top) if isinstance(top, dict) else {}
    y, infos = values.get("y"), values.get("info")
    if not isinstance(y, Tensor) or y.dtype not in WHOLE or y.dim() != 2 or y.shape[1] < 4 or not len(y):
        return (OldLabels(),) * (items or 1)
    count = items or len(y)
    if len(y) not in (1, count):
        return (OldLabels(),) * count
    rows = list(infos) if isinstance(infos, list | tuple) and len(infos) == len(y) else [None] * len(y)
    read = [_row_labels(row, y.shape[1], info) for row, info in zip(y[:, :4].tolist(), rows, strict=True)]
    return tuple(read * (count // len(read)))


def _row_labels(row: list[int], width: int, info: object) -> OldLabels:
    total, offset, _, artist_id = (int(value) for value in row)
    words = cast("dict[str, Any]", info) if isinstance(info, dict) else {}
    names = {name: words[name] for name in ("artist", "genre") if isinstance(words.get(name), str)}
    lyrics = (words.get("lyrics") or "") if "lyrics" in words else None
    return OldLabels(
        label_width=width,
        lyrics=lyrics if isinstance(lyrics, str) else None,
        total_samples=total if total > 0 else None,
        offset=max(0, offset),
        artist_id=artist_id,
        **names,
    )


def _temperature(kwargs: object) -> tuple[float, ...] | None:
    """Return the three levels' temperatures in the sampler's settings; None if they are missing."""
    if not isinstance(kwargs, list | tuple) or len(kwargs) != 3:
        return None
    given = [cast("dict[str, Any]", level).get("temp") for level in kwargs if isinstance(level, dict)]
    values = [float(t) for t in given if isinstance(t, int | float) and t > 0]
    return tuple(values) if len(values) == 3 else None
