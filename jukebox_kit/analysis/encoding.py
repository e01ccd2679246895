"""Recordings as codes: how a convention prepares audio and encodes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jukebox_kit.analysis.conventions import ClipLabels, Convention, Window, label_row, plan_windows, total_samples
from jukebox_kit.errors import AudioError
from jukebox_kit.model import VQVAE, PriorConfig
from jukebox_kit.song import is_silent

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A recording as a prior reads it.

    codes: of the top level, (tokens,) int64; with window_audio, whole windows of them.
    windows: to compute. rows: the label row of each.
    samples: of the audio that has features.
    """

    codes: Tensor
    windows: tuple[Window, ...]
    rows: tuple[list[int], ...]
    samples: int


def prepare(audio: Samples, convention: Convention, least: int = 0) -> Samples:
    """Return mono audio (samples,) as a convention hands it to the encoder, padded with zeros to `least` samples.

    AudioError for another shape, and for silence where the convention divides by the peak.
    """
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1:
        raise AudioError(f"audio must be mono, (samples,), not of the shape {audio.shape}.", field="audio")
    if convention.peak:
        if is_silent(audio):
            raise AudioError(f"it is silent, and {convention.name} divides it by its peak.")
        audio = audio / np.abs(audio).max()
    return np.pad(audio, (0, max(0, least - len(audio))))


def encode(vqvae: VQVAE, audio: Samples, level: int, convention: Convention, window: int) -> Tensor:
    """Return a level's codes of prepared audio (samples,), (tokens,) int64; window: its length in samples."""
    hop = vqvae.config.hops[-1]
    if not convention.window_audio:
        sound = torch.from_numpy(np.ascontiguousarray(audio)).to(vqvae.device)[None, :, None]
        return vqvae.encode_long(sound, level)[0, : len(audio) // hop * hop // vqvae.config.hops[level]]
    codes: list[Tensor] = []
    for start in range(0, len(audio) // hop * hop, window):
        part = np.pad(audio[start : start + window], (0, max(0, start + window - len(audio))))
        codes.append(vqvae.encode_long(torch.from_numpy(part).to(vqvae.device)[None, :, None], level)[0])
    return torch.cat(codes)


def clip_of(vqvae: VQVAE, config: PriorConfig, audio: Samples, convention: Convention, labels: ClipLabels) -> Clip:
    """Return prepared audio (samples,) as the top prior reads it. AudioError if it is too short."""
    hop = vqvae.config.hops[config.level]
    total = total_samples(convention, labels, len(audio), config, vqvae.config)
    windows = plan_windows(convention, labels, len(audio), total, config, vqvae.config)
    rows = tuple(label_row(labels, total, window, config, hop) for window in windows)
    codes = encode(vqvae, audio, config.level, convention, config.n_ctx * hop)
    return Clip(codes, windows, rows, windows[-1].end * hop)


def window_batch(jobs: Sequence[tuple[Clip, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the codes (N, L) and label rows (N, Y) of some windows, each by its clip and number.

    Shorter ones are padded with zeros, which no earlier position sees.
    """
    parts = [clip.codes[clip.windows[number].start : clip.windows[number].end] for clip, number in jobs]
    codes = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True).to(device)
    rows = torch.tensor([clip.rows[number] for clip, number in jobs], dtype=torch.long, device=device)
    return codes, rows
