"""How alike two recordings are, wherever one lies in the other: a normalised cross-correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jukebox_kit.song.audio import Audio

COARSE_RATE = 4000  # samples a second at which a first look is taken

LEAST_SECONDS = 0.5  # that two recordings must overlap, or half the shorter one

Floats = NDArray[np.float64]

Starts = NDArray[np.int64]

Samples: TypeAlias = Audio | Floats


@dataclass(frozen=True)
class Likeness:
    """How alike a recording and a candidate are.

    value: the correlation where they overlap, times the root of the share of the recording's energy there: 1 if all of
    it is the candidate at some loudness, about 0 if they have nothing in common. start: the sample of the candidate at
    which the recording begins, negative if it begins earlier.
    """

    value: float
    start: int


def rough_likeness(recording: Audio, candidate: Audio, sr: int) -> Likeness:
    """Return how alike two recordings (samples,) of one rate are at the best of all offsets, at a low rate."""
    factor = max(1, round(sr / COARSE_RATE))
    short, long = _thinned(recording, factor), _thinned(candidate, factor)
    size = 2 ** max(1, (len(short) + len(long)).bit_length())
    spectrum = np.fft.rfft(long, size) * np.conj(np.fft.rfft(short, size))
    starts = np.arange(-len(short) + 1, len(long))
    found = _best(np.fft.irfft(spectrum, size)[starts], starts, short, long, sr / factor)
    return Likeness(found.value, found.start * factor)


def likeness(recording: Audio, candidate: Audio, sr: int, near: int) -> Likeness:
    """Return how alike two recordings (samples,) of one rate are around a start that `rough_likeness` found."""
    reach = 2 * max(1, round(sr / COARSE_RATE))
    starts = np.arange(near - reach, near + reach + 1)
    products = np.array([_product(recording, candidate, int(start)) for start in starts])
    return _best(products, starts, recording, candidate, sr)


def _thinned(audio: Audio, factor: int) -> Floats:
    """Return the means of every `factor` samples."""
    means: Floats = audio[: len(audio) // factor * factor].reshape(-1, factor).mean(1, dtype=np.float64)
    return means


def _product(recording: Audio, candidate: Audio, start: int) -> float:
    low, high = max(0, start), min(len(candidate), start + len(recording))
    if low >= high:
        return 0.0
    return float(np.dot(candidate[low:high], recording[low - start : high - start]))


def _best(products: Floats, starts: Starts, recording: Samples, candidate: Samples, sr: float) -> Likeness:
    """Return the best of some starts; products: the sum of products at each."""
    energy = float(np.square(recording, dtype=np.float64).sum())
    sums = np.concatenate([[0.0], np.cumsum(np.square(candidate, dtype=np.float64))])
    low, high = np.clip(starts, 0, len(candidate)), np.clip(starts + len(recording), 0, len(candidate))
    there = sums[high] - sums[low]
    least = min(LEAST_SECONDS * sr, len(recording) / 2, len(candidate) / 2)
    enough = (high - low >= max(1, least)) & (there > 1e-9 * sums[-1])
    if not energy or not enough.any():
        return Likeness(0.0, 0)
    values = np.where(enough, products / np.sqrt(energy * np.where(enough, there, 1.0)), 0.0)
    best = int(values.argmax())
    return Likeness(min(1.0, float(values[best])), int(starts[best]))
