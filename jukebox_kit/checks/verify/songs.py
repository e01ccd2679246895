"""Replays whole songs of several windows, and the tables of windows and labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jukebox_kit._settings import from_mapping
from jukebox_kit.checks.verify.entries import Entry, close, equal, same
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.engine import UNSAMPLED, LevelJob, SamplingParams, plan_level, sample_level, window_starts
from jukebox_kit.model import (
    Labels,
    PriorConfig,
    Tables,
    clean_lyrics,
    label_rows,
    lyric_tokens,
    lyric_window,
)


def check_song(golden: Golden, name: str) -> Iterator[Entry]:
    """Sample a recorded song's levels again, and compare codes, label rows and the audio of level 0."""
    song, codes = golden.scalars["songs"][name], None
    vqvae = golden.vqvae()
    for level in sorted(song["levels"], reverse=True):
        prior = golden.prior(song["top"] if level == vqvae.config.levels - 1 else golden.level_part(level))
        plan = plan_level(prior.config, vqvae.config, song["sample_length"], song["hop_fraction"][level])
        labels = song_labels(song, prior.config)
        if f"song.{name}.window_y" in golden.tensors:
            rows = [label_rows(labels, prior.config, prior.hop, s, golden.device) for s in plan.starts]
            yield same(f"song.{name}.window_y", torch.stack(rows), golden.tensors[f"song.{name}.window_y"])
        choice = SamplingParams(song["temps"][level], song.get("top_k"), song.get("top_p"))
        items = tuple(range(song["n_samples"]))
        job = LevelJob(plan, items, tuple(labels), codes, song["noise_seed"], choice, golden.placement)
        codes = torch.full((len(items), plan.total), UNSAMPLED, device=golden.device)
        sample_level(prior, job, codes)
        yield same(f"song.{name}.codes_{level}", codes, golden.tensors[f"song.{name}.codes_{level}"])
    if codes is not None:
        lowest = min(song["levels"])
        audio: Tensor = vqvae.decode(codes, lowest)
        if f"song.{name}.audio_{lowest}" in golden.tensors:
            yield close(f"song.{name}.audio_{lowest}", audio, golden.tensors[f"song.{name}.audio_{lowest}"])


def song_labels(song: dict[str, Any], config: PriorConfig) -> list[Labels]:
    """Return the labels of each item of a recorded song, as a prior reads them."""
    return [
        Labels(
            song["artist_ids"][i],
            tuple(song["genre_ids"][i]),
            tuple(song["lyric_tokens"][i]) if config.use_tokens else (),
            song["total_length"],
            song["offset"][i],
        )
        for i in range(song["n_samples"])
    ]


def check_windows(folder: Path) -> Iterator[Entry]:
    """Compare the starts of windows, and the lyrics of each window."""
    table = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    for total, n_ctx, hop, starts in table["window_starts"]:
        yield equal(f"windows.starts.{total}.{n_ctx}.{hop}", window_starts(total, n_ctx, hop), starts)
    for row in table["lyric_windows"]:
        tokens = list(range(1, row["n_full"] + 1))
        window, start = lyric_window(tokens, row["n_tokens"], row["total_length"], row["offset"], row["duration"])
        seen = [token - 1 for token in window if token]
        found = (max(0, -start), seen[0] if seen else -1, seen[-1] if seen else -1)
        name = f"windows.lyrics.{row['n_full']}.{row['offset']}"
        yield equal(name, found, (row["first_nonpad"], row["indices_min"], row["indices_max"]))


def check_labels(folder: Path, ids: Path) -> Iterator[Entry]:
    """Compare artists, genres and lyrics as text with recorded label rows, using the release's own tables."""
    rows = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    sets = {row["label_set"] for row in rows}
    tables = {s: Tables.read(s, ids / f"{s}_artist_ids.txt", ids / f"{s}_genre_ids.txt") for s in sets}
    for number, row in enumerate(rows):
        label_set, table = row["label_set"], tables[row["label_set"]]
        tokens = lyric_tokens(row["lyrics"], label_set)
        artist = table.artist(row["artist"], tidy=False).ids[0]
        genre = table.genre(row["genre"], row["max_genre_words"], tidy=False).ids
        labels = Labels(artist, genre, tuple(tokens), row["total_length"], row["offset"])
        wanted = {"n_tokens": row["n_tokens"], "max_bow_genre_size": row["max_genre_words"]}
        wanted |= {"use_tokens": row["n_tokens"] > 0, "n_ctx": row["sample_length"], "level": 0}
        sizes = {"prior_width": 4, "prior_depth": 1, "heads": 1, "blocks": 1, "y_bins": [1, 1]}
        config = from_mapping(PriorConfig, wanted | sizes, "labels.json")
        found = (labels.row(config, 1, 0), tokens, clean_lyrics(row["lyrics"], label_set))
        yield equal(f"labels.{number}.{label_set}", found, (row["y"], row["full_tokens"], row["cleaned_lyrics"]))
