"""The music that the demo model learns: windows of synthesised songs, and their labels.

Shapes: K windows, T samples, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jukebox_kit.model import VQVAE, Labels, lyric_tokens
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.training.synth import ARTISTS, GENRES, synthesise

Report = Callable[[str], None]


@dataclass(frozen=True)
class Windows:
    """Windows of songs: audio (K, T) float32, and the labels of each with the offset that the window starts at."""

    audio: Tensor
    labels: list[Labels]


def synthesise_windows(model: ModelDefinition, count: int, seed: int) -> Windows:
    """Return `count` windows of the top prior's length, each from another song, over all pairs of artist and genre.

    The songs' lengths cover the model's whole range. Half of the windows are the first of their song, as in sampling.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    top, sr = model.vqvae.hops[-1], model.vqvae.sr
    window = model.top.n_ctx * top
    low, high = model.seconds_range
    audio = np.empty((count, window), np.float32)
    labels: list[Labels] = []
    for i in range(count):
        artist, genre = i % len(ARTISTS), i // len(ARTISTS) % len(GENRES)
        total = int(rng.uniform(low, high) * sr) // top * top
        offset = int(rng.integers(0, (total - window) // top + 1)) * top if i // 16 % 2 else 0
        song = synthesise(int(seed * 1_000_003 + i), artist, genre, total / sr, sr)
        audio[i] = song.audio[offset : offset + window]
        tokens = tuple(lyric_tokens(song.lyrics, model.top.label_set))
        labels.append(Labels(artist + 1, (genre + 1,), tokens, total, offset))  # 0 stands for unknown
    return Windows(torch.from_numpy(audio), labels)


@torch.no_grad()
def encode_windows(vqvae: VQVAE, windows: Windows, level: int) -> Tensor:
    """Return the codes of every window at a level, (K, T // hop) int16."""
    codes = [
        vqvae.codebook(level).nearest(vqvae.latents(piece.unsqueeze(-1), level)).to(torch.int16)
        for piece in torch.split(windows.audio, 1)  # one at a time stays in the cache
    ]
    return torch.cat(codes)
