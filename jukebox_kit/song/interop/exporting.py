"""A song in the layout of the 2020 sampler, for its notebooks and everything that reads them.

level_{2,1,0}/data.pth.tar   a dict: zs, labels, sampling_kwargs, x; item_{i}.wav beside it
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jukebox_kit._files import contents, user_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import SongError
from jukebox_kit.model import DOWNWARD, LEVELS, TOP, lyric_text
from jukebox_kit.song.audio import wav_bytes
from jukebox_kit.song.files import audio_name
from jukebox_kit.song.provenance import tags_of
from jukebox_kit.song.request import load_model
from jukebox_kit.song.song import Song
from jukebox_kit.song.store.local import LocalStore

# What the release's sampler needs beside the temperature to go on; its own notebook's values.
SETTINGS = {"fp16": True, "max_batch_size": 16, "chunk_size": 32}


def export_2020(song: Song, folder: Path, model: Model | None = None) -> list[str]:
    """Write the levels that have codes to an empty or new folder; return notes for the user.

    A level's file holds the codes of its level and the levels above, and the given codes of the levels below.
    Raises SongError if the folder is not empty, or if the song has no codes yet.
    """
    folder = user_path(folder)
    if folder.exists() and not (folder.is_dir() and not contents(folder)):
        raise SongError(f"{folder} is not empty; choose another folder for the export.")
    made = {level: _made(song, level) for level in LEVELS}
    if not made[TOP].shape[1]:
        raise SongError(f"{song.shown_path} has no codes yet; sample some with: jukebox-kit resume {song.shown_path}")
    loaded, store = model or load_model(song.request), LocalStore(folder)
    store.begin()
    labels = [_labels(song, level) for level in LEVELS]
    for level in DOWNWARD:
        if level != TOP and made[level].shape[1] in (0, _given(song, level).shape[1]):
            continue  # its given codes alone, which are in the files above
        audio = [song.audio(level, item, loaded) for item in range(song.request.items)]
        length = min(len(a) for a in audio)
        content = {
            "zs": [made[lower] if lower >= level else _given(song, lower) for lower in LEVELS],
            "labels": labels,
            "sampling_kwargs": [_settings(song, lower) for lower in LEVELS],
            "x": torch.from_numpy(np.stack([a[:length] for a in audio])[:, :, None].copy()),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        store.write(f"level_{level}/data.pth.tar", buffer.getvalue())
        for item, samples in enumerate(audio):
            tags = tags_of(song.state, f"item {item}, level {level}", [(item, level)])
            store.write(audio_name(level, item), wav_bytes(samples, song.sr, tags))
    return [note for level in LEVELS for note in _uneven(song, level)]


def _made(song: Song, level: int) -> Tensor:
    """Return a level's codes as far as every item has them, (items, tokens) int64."""
    held = song.level(level)
    return torch.from_numpy(held.codes[:, : min(held.made)].astype(np.int64))


def _given(song: Song, level: int) -> Tensor:
    """Return the given codes of a level; none if all are, as after an import."""
    held = song.level(level)
    given = min(held.given)
    return torch.from_numpy(held.codes[:, : given if given < held.codes.shape[1] else 0].astype(np.int64))


def _uneven(song: Song, level: int) -> list[str]:
    made = song.level(level).made
    if min(made) == max(made):
        return []
    return [
        f"the items of level {level} differ in length; all were cut to the shortest, {min(made)} tokens: finish "
        f"the level to export the rest."
    ]


def _labels(song: Song, level: int) -> dict[str, Any]:
    """Return a level's labels as the release keeps them: rows of the first window, and the words they came from."""
    config, labels = song.definition.priors[level], song.resolved.labels[level]
    row = labels.row(config, song.definition.vqvae.hops[level], 0)
    lyrics = lyric_text(labels.tokens, config.label_set)
    info = {"artist": song.request.artist, "genre": song.request.genre, "lyrics": lyrics}
    items = song.request.items
    return {
        "y": torch.tensor([row] * items, dtype=torch.int64),
        "info": [{**info, "full_tokens": list(labels.tokens)} for _ in range(items)],
    }


def _settings(song: Song, level: int) -> dict[str, Any]:
    return {"temp": song.request.sampling_params(level, song.definition).temperature, **SETTINGS}
