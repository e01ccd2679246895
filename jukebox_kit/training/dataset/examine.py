"""Examines a recording and encodes it: the work of one process on one recording."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jukebox_kit._files import shown_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import TOP, VQVAE, VQVAEConfig, clean_lyrics, dropped_characters
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.song import Audio, SampledAudio, read_recording
from jukebox_kit.song.lyrics import without_times
from jukebox_kit.training.dataset.dataset import DatasetSong, codes_bytes, codes_name
from jukebox_kit.training.dataset.recordings import Recording

MOSTLY_READ = 0.5  # share of the characters of lyrics that a model must be able to read


@dataclass(frozen=True)
class Examined:
    """What was found out about a recording.

    songs: what it becomes, several if it is longer than the model's longest song; none if it is refused.
    notes: sentences for the user; of a refused one, the last says why.
    digest: of the audio.
    """

    songs: tuple[DatasetSong, ...]
    notes: tuple[str, ...]
    digest: str = ""


def examine(recording: Recording, model: str) -> Examined:
    """Read a recording and say what it becomes in a dataset of a model's codes; nothing is raised or written."""
    definition, notes = load_definition(model), list[str]()
    sr, path = definition.vqvae.sr, shown_path(recording.path)
    shortest, longest = definition.seconds_range
    shortest = max(shortest, definition.window_seconds(TOP))
    try:
        audio = read_recording(Path(path), sr, note=lambda note: notes.append(recording.located(note)))
    except JukeboxKitError as error:
        return Examined((), (*notes, recording.located(str(error))))
    seconds = len(audio) / sr
    if seconds < shortest:
        least = f"songs of {definition.name} last at least {shortest:g} s"
        return Examined((), (*notes, recording.located(f"{path} is {seconds:.1f} s long; {least}.")))
    lyrics = _readable(recording, definition, notes)
    parts = math.floor(seconds / longest) + 1
    if parts > 1:
        lost = " and lost their lyrics" if lyrics else ""
        most = f"songs of {definition.name} last less than {longest:g} s"
        notes.append(recording.located(f"{path} is {seconds:.0f} s long, and {most}; it became {parts} songs{lost}."))
        lyrics = ""
    digest = digest_of(audio)
    songs = tuple(
        DatasetSong(
            path,
            recording.artist,
            recording.genre,
            lyrics,
            round(len(piece) / sr, 3),
            len(piece),
            codes_name(digest, number),
        )
        for number, piece in enumerate(parts_of(audio, parts, definition.vqvae.hops[-1]))
    )
    return Examined(songs, tuple(notes), digest)


def digest_of(audio: Audio) -> str:
    """Return a hash of audio (samples,) that does not depend on the format of its file."""
    return hashlib.sha256(np.round(audio * 2**15).astype(np.int32).tobytes()).hexdigest()


def parts_of(audio: SampledAudio, count: int, unit: int) -> list[SampledAudio]:
    """Return audio in `count` parts of almost equal length, each beginning at a multiple of `unit` samples."""
    edges = [*(len(audio) * part // count // unit * unit for part in range(count)), len(audio)]
    return [SampledAudio.of(audio[begin:end], audio.sr) for begin, end in pairwise(edges)]


def _readable(recording: Recording, definition: ModelDefinition, notes: list[str]) -> str:
    """Return the lyrics, or "" with a note if the model can hardly read them."""
    top = definition.top
    if not recording.lyrics or not top.use_tokens:
        return recording.lyrics
    words = without_times(recording.lyrics)
    dropped = dropped_characters(words, top.label_set)
    read = len(clean_lyrics(words, top.label_set).strip())
    if read < MOSTLY_READ * (read + len(dropped)):
        cannot = f"the model cannot read {len(dropped)} characters of the lyrics, so they were left out"
        notes.append(recording.located(f"{cannot}; write them in Latin letters."))
        return ""
    if dropped:
        shown = "".join(dict.fromkeys(dropped))[:20]
        notes.append(recording.located(f"{len(dropped)} characters of the lyrics cannot be read: {shown}"))
    return recording.lyrics


def encode(recording: Recording, songs: tuple[DatasetSong, ...], model: str, device: str) -> list[bytes]:
    """Return the content of the file of codes of each song that a recording becomes."""
    loaded = _model(model, device)
    parts = read_parts(recording, len(songs), loaded.definition.vqvae)
    return [encode_audio(loaded.vqvae, torch.from_numpy(np.asarray(part))) for part in parts]


def read_parts(recording: Recording, count: int, config: VQVAEConfig) -> list[SampledAudio]:
    """Return the audio of the songs that a recording becomes, as `examine` has counted them."""
    audio = read_recording(recording.path, config.sr, note=lambda _: None)
    return parts_of(audio, count, config.hops[-1])


@torch.no_grad()
def encode_audio(vqvae: VQVAE, audio: Tensor) -> bytes:
    """Return the content of the file of codes of audio (samples,) float32; what is left of a top code is left out."""
    config = vqvae.config
    whole = len(audio) // config.hops[-1] * config.hops[-1]
    samples = audio[:whole].to(vqvae.device)[None, :, None]
    return codes_bytes([vqvae.encode_long(samples, k)[0].to("cpu", torch.int16) for k in range(config.levels)])


@lru_cache(maxsize=1)
def _model(model: str, device: str) -> Model:
    """Return the model in this process, whose VQ-VAE is read once."""
    return Model.load(model, device, "float32")
