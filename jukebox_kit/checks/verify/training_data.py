"""Replays which pieces of which songs were trained on, with their label rows and lyrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jukebox_kit.checks.verify.entries import Entry, equal
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model import Tables, lyric_tokens, lyric_window
from jukebox_kit.training import Durations, Pieces, training_pieces


def check_pieces(golden: Golden, ids: Path | None) -> Iterator[Entry]:
    """Compare the recorded tables of songs and pieces; label ids only with `ids`, the release's tables."""
    for table in golden.scalars["chunks"]:
        name, sr = f"chunks.{table['name']}", table.get("sr", golden.scalars["sr"])
        durations = Durations(table["min_duration_used"], table["max_duration"] or float("inf"))
        try:
            pieces = Pieces.of(table["seconds"], sr, table["sample_length"], durations)
        except ConfigurationError:
            yield equal(f"{name}.refused", True, "refused" in table)
            continue
        kept = durations.kept(table["seconds"])
        found = (kept, list(pieces.lengths), len(pieces), training_pieces(len(pieces)))
        yield equal(f"{name}.songs", found, tuple(table[key] for key in ("kept", "lengths", "chunks", "train_chunks")))
        for row in table["rows"]:
            song, offset = pieces.locate(row["item"], row["shift"])
            place = f"{name}.{row['item']}.{row['shift']}"
            yield equal(place, (kept[song], offset), (row["song"], row["offset"]))
            if "y" in row:
                yield from _check_labels(table, row, (pieces.lengths[song], offset), ids, place)


def _check_labels(
    table: dict[str, Any], row: dict[str, Any], where: tuple[int, int], ids: Path | None, place: str
) -> Iterator[Entry]:
    """Compare a label row; where: the song's length and the piece's offset, in samples."""
    song, label_set = table["songs"][row["song"]], "v3" if table["v3"] else "v2"
    (total, offset), length, n_tokens = where, table["sample_length"], table["n_tokens"]
    tokens = lyric_tokens(song["lyrics"], label_set)
    window, start = lyric_window(tokens, n_tokens, total, offset, length)
    pads = max(0, -start)
    found = (len(tokens), None if pads else start, pads)
    yield equal(f"{place}.lyrics", found, (row["lyric_tokens_in_song"], row["lyric_start"], row["pads"]))
    slots = table["genres"]
    expected = row["y"][:3] + row["y"][4 + slots :]
    yield equal(f"{place}.times", [total, offset, length, *window][: len(expected)], expected)
    if ids is not None:
        names = Tables.read(label_set, ids / f"{label_set}_artist_ids.txt", ids / f"{label_set}_genre_ids.txt")
        genres = names.genre(song["genre"], slots, tidy=False).ids
        labels = [names.artist(song["artist"], tidy=False).ids[0], *genres, *[-1] * (slots - len(genres))]
        yield equal(f"{place}.labels", labels, row["y"][3 : 4 + slots])
