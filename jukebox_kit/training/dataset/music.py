"""The music that a model is trained on from scratch: gathered as audio for its VQ-VAE, then encoded for its priors.

It is a dataset that at first has AUDIO/HASH-0.safetensors in place of codes: `audio`, (samples,) float32. They are
deleted once the VQ-VAE has encoded them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from jukebox_kit._files import read_file, shown_path, write_atomically
from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.model import VQVAE
from jukebox_kit.model.weights import load_definition
from jukebox_kit.training.dataset.dataset import LIST, Dataset, DatasetSong, read_list
from jukebox_kit.training.dataset.examine import encode_audio, read_parts
from jukebox_kit.training.dataset.prepare import examine_folder, workers

AUDIO = "audio"

Say = Callable[[str], None]


class Music(Protocol):
    """A source of songs."""

    @property
    def about(self) -> str:
        """What the songs are, in a few words; a run resumes with the same ones only."""
        ...

    def read(self, model: str, say: Say) -> Iterator[tuple[DatasetSong, Tensor]]:
        """Yield each song with its audio, (samples,) float32, at the rate and within the lengths of a model.

        say: gets sentences about music that is refused or changed. RequestError if there is none.
        """
        ...


@dataclass(frozen=True)
class Recordings:
    """The recordings of a folder, as `dataset prepare` finds, refuses and splits them.

    held_out: the share of the songs that measure progress. processes: that examine recordings at the same time.
    """

    folder: str
    held_out: float = 0.1
    processes: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.held_out <= 0.5:
            raise ConfigurationError(f"held_out must be from 0 to 0.5, not {self.held_out:g}.", field="held_out")
        if self.processes < 1:
            raise ConfigurationError(f"processes must be at least 1, not {self.processes}.", field="processes")

    @property
    def about(self) -> str:
        """See Music."""
        return f"the recordings in {self.folder}, {self.held_out:g} of them held out"

    def read(self, model: str, say: Say) -> Iterator[tuple[DatasetSong, Tensor]]:
        """See Music."""
        config = load_definition(model).vqvae
        with workers(self.processes) as submit:
            examined = examine_folder(Path(self.folder), model, self.held_out, submit, say)
        for recording, one in examined:
            parts = read_parts(recording, len(one.songs), config) if one.songs else []
            for song, part in zip(one.songs, parts, strict=True):
                yield song, torch.from_numpy(np.asarray(part))


def gather(music: Music, model: str, root: Path, say: Say) -> Dataset:
    """Write the audio and the list of a source's songs into an existing folder, and return them as a dataset."""
    songs = list[DatasetSong]()
    for song, audio in music.read(model, say):
        write_atomically(root, _audio_name(song), save({AUDIO: audio.contiguous()}))
        songs.append(song)
    dataset = Dataset(root, model, "", load_definition(model).vqvae.sr, tuple(songs), music=music.about)
    dataset.save()
    return dataset


def gathered(music: Music, root: Path) -> Dataset | None:
    """Return what a folder has of a source's songs, None if it has none; RequestError if it is of another source."""
    content = read_file(root / LIST) if root.is_dir() else None
    if content is None:
        return None
    dataset = read_list(root, content)
    if dataset.music != music.about:
        raise RequestError(
            f"{shown_path(root)} is made of {dataset.music}, not of {music.about}; use the same to resume, or choose "
            f"another folder with `out`."
        )
    return dataset


def has_audio(dataset: Dataset) -> bool:
    """Return whether the audio of all songs is there."""
    return all((dataset.root / _audio_name(song)).is_file() for song in dataset.songs)


def load_audio(dataset: Dataset, song: DatasetSong, start: int, count: int) -> Tensor:
    """Return `count` samples of a song, (count,) float32."""
    with safe_open(dataset.root / _audio_name(song), "pt") as file:
        piece: Tensor = file.get_slice(AUDIO)[start : start + count]
    return piece


def encode_music(dataset: Dataset, vqvae: VQVAE, fingerprint: str) -> Dataset:
    """Encode the audio of a dataset at all levels, and delete it; returns the dataset with codes.

    fingerprint: of the VQ-VAE's file.
    """
    for song in dataset.songs:
        write_atomically(dataset.root, song.codes, encode_audio(vqvae, load_audio(dataset, song, 0, song.samples)))
    encoded = replace(dataset, vqvae=fingerprint)
    encoded.save()
    shutil.rmtree(dataset.root / AUDIO, ignore_errors=True)
    return encoded


def _audio_name(song: DatasetSong) -> str:
    return f"{AUDIO}/{Path(song.codes).name}"
