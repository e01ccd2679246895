"""The music that the demo model learns: windows of synthesised songs, and their labels.

Shapes: K windows, T samples, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model import VQVAE, Labels, lyric_tokens
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.song import Audio
from jukebox_kit.training.dataset import DatasetSong, codes_name, digest_of
from jukebox_kit.training.synth import ARTISTS, GENRES, SynthSong, synthesise

HELD_OUT_SEED = 1  # added to the seed, for songs that are not trained on


@dataclass(frozen=True)
class Synthesiser:
    """Synthesised songs, of each of which one window of the top prior's length is used; see `dataset.Music`.

    songs: to train on. held_out: to measure progress on.
    """

    songs: int
    held_out: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("songs", "held_out"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}.", field=name)

    @property
    def about(self) -> str:
        """See Music."""
        return f"{self.songs} synthesised songs of seed {self.seed} and {self.held_out} held-out ones"

    def read(self, model: str, say: Callable[[str], None]) -> Iterator[tuple[DatasetSong, Tensor]]:
        """See Music."""
        say(f"synthesising {self.songs} songs and {self.held_out} held-out ones")
        definition = load_definition(model)
        for count, seed, held_out in (
            (self.songs, self.seed, False),
            (self.held_out, self.seed + HELD_OUT_SEED, True),
        ):
            for window in synthesised_windows(definition, count, seed):
                song, audio = window.song, window.audio
                codes = codes_name(digest_of(audio), 0)
                seconds, file = len(audio) / definition.vqvae.sr, f"synthesised, seed {song.seed}"
                labels = (file, song.artist, song.genre, song.lyrics, seconds, len(audio), codes, held_out)
                yield DatasetSong(*labels, window.total, window.offset), torch.from_numpy(audio)


@dataclass(frozen=True)
class SynthWindow:
    """A window of a song: its audio (T,), and in samples the song's whole length and the window's start in it."""

    song: SynthSong
    audio: Audio
    total: int
    offset: int


def synthesised_windows(model: ModelDefinition, count: int, seed: int) -> Iterator[SynthWindow]:
    """Yield `count` windows of the top prior's length, each from another song, over all pairs of artist and genre.

    The songs' lengths cover the model's whole range. Half of the windows are the first of their song, as in sampling.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    top, sr = model.vqvae.hops[-1], model.vqvae.sr
    window = model.top.n_ctx * top
    low, high = model.seconds_range
    for i in range(count):
        artist, genre = i % len(ARTISTS), i // len(ARTISTS) % len(GENRES)
        total = int(rng.uniform(low, high) * sr) // top * top
        offset = int(rng.integers(0, (total - window) // top + 1)) * top if i // 16 % 2 else 0
        song = synthesise(int(seed * 1_000_003 + i), artist, genre, total / sr, sr)
        yield SynthWindow(song, song.audio[offset : offset + window], total, offset)


@dataclass(frozen=True)
class Windows:
    """Windows of songs: audio (K, T) float32, and the labels of each with the offset that the window starts at."""

    audio: Tensor
    labels: list[Labels]


def synthesise_windows(model: ModelDefinition, count: int, seed: int) -> Windows:
    """Return what `synthesised_windows` yields, with the labels of the demo model's tables."""
    audio = np.empty((count, model.top.n_ctx * model.vqvae.hops[-1]), np.float32)
    labels: list[Labels] = []
    for i, window in enumerate(synthesised_windows(model, count, seed)):
        audio[i] = window.audio
        artist, genre = i % len(ARTISTS) + 1, i // len(ARTISTS) % len(GENRES) + 1  # 0 stands for unknown
        tokens = tuple(lyric_tokens(window.song.lyrics, model.top.label_set))
        labels.append(Labels(artist, (genre,), tokens, window.total, window.offset))
    return Windows(torch.from_numpy(audio), labels)


@torch.no_grad()
def encode_windows(vqvae: VQVAE, windows: Windows, level: int) -> Tensor:
    """Return the codes of every window at a level, (K, T // hop) int16."""
    codes = [
        vqvae.codebook(level).nearest(vqvae.latents(piece.unsqueeze(-1), level)).to(torch.int16)
        for piece in torch.split(windows.audio, 1)  # one at a time stays in the cache
    ]
    return torch.cat(codes)
