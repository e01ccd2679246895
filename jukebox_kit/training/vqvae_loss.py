"""The losses of the VQ-VAE's reconstructions, in units that are measured on the training data.

Audio is (N, T). A norm of a spectrogram is taken over the frequencies and frames of one item.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.errors import ConfigurationError

Resolution = tuple[int, int, int]  # FFT length, hop, window length

SPECTRAL: Resolution = (2048, 256, 1536)
MULTISPECTRAL: tuple[Resolution, ...] = ((2048, 240, 1200), (1024, 120, 600), (512, 50, 240))
QUIET = 2e-3  # norm of a spectrogram at or below which its relative error counts as 0


@dataclass(frozen=True)
class Bandwidth:
    """The unit of each loss, measured on the data: variance, mean magnitude, and mean norm of the spectrogram."""

    l2: float
    l1: float
    spectral: float


@dataclass(frozen=True)
class ReconstructionWeights:
    """The weights of a reconstruction's errors; the defaults are the released VQ-VAE's.

    l1, l2: of the mean absolute and the mean squared error.
    linf: of the mean of the `linf_samples` largest squared errors.
    spectral, multispectral: of the spectral error at one resolution, and of its mean over three.
    relative: divide the error at one resolution by the norm of the item instead of that of the data.
    """

    l1: float = 0.0
    l2: float = 1.0
    linf: float = 0.02
    linf_samples: int = 2048
    spectral: float = 0.0
    multispectral: float = 1.0
    relative: bool = False

    def __post_init__(self) -> None:
        if self.linf_samples < 1:
            raise ConfigurationError(f"linf_samples must be at least 1, not {self.linf_samples}.", field="linf_samples")


@dataclass(frozen=True)
class ReconstructionLoss:
    """The terms of one level's loss, scalar tensors in the units of the data; `samples` is weighted already."""

    samples: Tensor
    spectral: Tensor
    multispectral: Tensor

    def total(self, weights: ReconstructionWeights) -> Tensor:
        """Return the weighted sum."""
        return self.samples + weights.spectral * self.spectral + weights.multispectral * self.multispectral


def reconstruction_loss(
    audio: Tensor, out: Tensor, weights: ReconstructionWeights, bandwidth: Bandwidth
) -> ReconstructionLoss:
    """Return the loss terms of a reconstruction `out` of `audio`, both (N, T)."""
    error = spectral_error(audio, out, SPECTRAL, weights.relative) / (1.0 if weights.relative else bandwidth.spectral)
    several = torch.stack([spectral_error(audio, out, resolution) for resolution in MULTISPECTRAL]).mean()
    return ReconstructionLoss(sample_error(audio, out, weights, bandwidth), error, several / bandwidth.spectral)


def sample_error(audio: Tensor, out: Tensor, weights: ReconstructionWeights, bandwidth: Bandwidth) -> Tensor:
    """Return the weighted error of the samples, (N, T) both."""
    difference = out - audio
    squares = difference.square()
    largest = squares.flatten(1).topk(min(weights.linf_samples, squares.shape[1]))[0].mean()
    l2 = weights.l2 * squares.mean() + weights.linf * largest
    return l2 / bandwidth.l2 + weights.l1 * difference.abs().mean() / bandwidth.l1


def spectral_error(audio: Tensor, out: Tensor, resolution: Resolution, relative: bool = False) -> Tensor:
    """Return the mean over items of the norm of the spectrograms' difference; `relative`: over the item's own norm."""
    want, got = spectrogram(audio, resolution), spectrogram(out, resolution)
    norms = (want - got).flatten(1).norm(dim=1)
    if relative:
        magnitude = want.flatten(1).norm(dim=1)
        norms = torch.where(magnitude > QUIET, norms / magnitude.clamp(min=QUIET), torch.zeros_like(norms))
    error: Tensor = norms.mean()
    return error


def spectrogram(audio: Tensor, resolution: Resolution) -> Tensor:
    """Return STFT magnitudes: (N, T) → (N, frequencies, frames), centred, reflected at the ends, Hann window."""
    n_fft, hop, length = resolution
    window = torch.hann_window(length, device=audio.device)
    magnitudes: Tensor = torch.stft(audio, n_fft, hop, length, window, return_complex=True).abs()
    return magnitudes


def measure_bandwidth(pieces: Iterable[Tensor], samples: int) -> Bandwidth:
    """Return the units of the losses on pieces of audio (T, channels); the release takes every sixteenth piece.

    samples: stop after this many samples, counting each channel.
    """
    count, total, squares, magnitudes, norms = 0, 0.0, 0.0, 0.0, []
    for piece in pieces:
        wide = piece.double()
        count, total = count + wide.numel(), total + float(wide.sum())
        squares, magnitudes = squares + float(wide.square().sum()), magnitudes + float(wide.abs().sum())
        norms.append(float(spectrogram(piece.mean(-1)[None], SPECTRAL).norm()))
        if count >= samples:
            break
    if not count:
        raise ConfigurationError("there is no audio to measure the units of the losses on.")
    mean = total / count
    return Bandwidth(squares / count - mean**2, magnitudes / count, sum(norms) / len(norms))
