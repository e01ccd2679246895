"""Pictures as PNG files: a song's levels, the strip that a player lays its cursor over, an alignment's heat map."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jukebox_kit._files import printable
from jukebox_kit.song.audio import Audio

Pixels = NDArray[np.uint8]  # (rows, columns, 3)

GROUND, INK, FAINT = "#12131b", "#d9dbe8", "#8b8fa8"  # as in web/base.css, dark

WAVE_SHARE = 0.4  # of a strip's height

SHADES = 24  # of a strip's spectrogram: few enough to compress well, too many to tell apart

FLOOR, CEILING = -90.0, -15.0  # dB of a full-scale sine

LOWEST_HZ = 50.0

FRAMES_A_COLUMN = 8  # at most


def spectrogram_png(levels: dict[int, Audio], sr: int, title: str) -> bytes:
    """Return a PNG with one spectrogram for each level's audio (samples,), the lowest level at the bottom."""
    from matplotlib import mlab  # slow to import, and needed here only
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.2 * len(levels) + 0.4), layout="constrained")
    axes = figure.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (level, audio) in zip(axes, sorted(levels.items(), reverse=True), strict=True):
        whole = np.pad(np.asarray(audio), (0, max(0, 2048 - len(audio))))  # a picture needs two frames
        spectrogram = mlab.specgram(whole, NFFT=1024, Fs=sr, noverlap=768)
        power, hertz, seconds = (np.asarray(values, np.float64) for values in spectrogram)
        decibels = 10 * np.log10(power + 1e-13)  # silence has a colour too
        extent = (0.0, float(seconds[-1]), 0.0, float(hertz[-1]))
        axis.imshow(decibels, cmap="magma", vmin=-120, vmax=-30, origin="lower", aspect="auto", extent=extent)
        axis.set_ylabel(f"level {level}\nHz")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(_literal(title))
    return _saved(figure)


def strip_png(audio: Audio, sr: int, width: int = 900, height: int = 100) -> bytes:
    """Return a PNG of audio (samples,) in [-1, 1]: its waveform above its spectrogram, low tones at the bottom.

    There are no axes and no margins: the picture's width is exactly the audio's length, so that a cursor can be placed
    over it by percent. At the default size it takes about 50 kB, whatever the length.
    """
    from matplotlib import image

    audio = np.asarray(audio, np.float32)
    top = round(height * WAVE_SHARE)
    pixels = np.concatenate([_waveform(audio, top, width), _spectrogram(audio, sr, height - top, width)])
    buffer = io.BytesIO()
    cast(Any, image).imsave(buffer, pixels, format="png", pil_kwargs={"optimize": True})
    return buffer.getvalue()


def heat_map_png(weights: NDArray[np.float32], seconds: float, lines: Sequence[str], title: str) -> bytes:
    """Return a PNG of attention over lyrics, weights (frames, characters), first line at the top.

    seconds: the time of all frames together; lines: the lyrics' lines, which with a character for each line break
    between them are the characters. ValueError if their number differs.
    """
    from matplotlib.figure import Figure

    frames, characters = weights.shape
    if not frames or sum(len(line) + 1 for line in lines) - 1 != characters:
        raise ValueError(f"{len(lines)} lines do not match the {characters} characters of {frames} frames")
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    named = [(int(start), line) for start, line in zip(starts[:-1], lines, strict=True) if line.strip()]
    named = named[:: math.ceil(len(named) / 60) or 1]  # more names than that would overlap
    figure = Figure(figsize=(10, min(2.0 + 0.22 * len(named), 12.0)), layout="constrained", facecolor=GROUND)
    axis = figure.subplots()
    brightest = float(np.quantile(weights, 0.995)) or float(weights.max()) or 1.0
    extent = (0.0, seconds, float(characters), 0.0)
    axis.imshow(weights.T, cmap="magma", vmin=0, vmax=brightest, aspect="auto", extent=extent, interpolation="nearest")
    for start in starts[1:-1]:
        axis.axhline(float(start) - 0.5, color=INK, linewidth=0.4, alpha=0.35)
    axis.set_yticks([start for start, _ in named], [_literal(_first_words(line)) for _, line in named], va="top")
    axis.tick_params(colors=FAINT, labelsize=8)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel("seconds", color=FAINT)
    axis.set_title(_literal(title), color=INK, fontsize=10)
    return _saved(figure)


def _waveform(audio: Audio, rows: int, columns: int) -> Pixels:
    """Return for each column a vertical stroke from the lowest to the highest sample of its time."""
    edges = np.arange(columns) * len(audio) // columns
    samples = audio if len(audio) else np.zeros(1, np.float32)
    if len(audio) >= columns:
        low, high = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
    else:
        low = high = samples[edges]
    middle = (rows - 1) / 2
    first = np.round(middle - np.clip(high, -1, 1) * middle)
    last = np.round(middle - np.clip(low, -1, 1) * middle)
    row = np.arange(rows)[:, None]
    inside = (row >= first) & (row <= last)
    stroke, ground = _rgb("#8e9bff"), _rgb(GROUND)
    return np.where(inside[:, :, None], stroke, ground).astype(np.uint8)


def _spectrogram(audio: Audio, sr: int, rows: int, columns: int) -> Pixels:
    """Return the power at each column's time and each row's frequency; rows are evenly spaced in mel."""
    from matplotlib import colormaps

    size = 1 << round(math.log2(sr * 0.05))
    each = max(1, min(FRAMES_A_COLUMN, len(audio) // (columns * size)))
    centres = ((np.arange(columns * each) + 0.5) * len(audio) / (columns * each)).astype(np.int64)
    padded = np.pad(audio, size // 2)
    window = np.hanning(size).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[centres] * window
    power = (np.abs(np.fft.rfft(frames)) / (window.sum() / 2)) ** 2
    power = power.reshape(columns, each, -1).mean(1)  # (columns, bins)
    mel = np.linspace(_mel(LOWEST_HZ), _mel(sr / 2), rows)
    bins = np.clip(700 * (10 ** (mel / 2595) - 1) * size / sr, 0, size // 2 - 1e-3)
    below = bins.astype(np.int64)
    share = bins - below
    heights = power[:, below] * (1 - share) + power[:, below + 1] * share
    decibels = 10 * np.log10(heights.T[::-1] + 1e-12)
    shade = np.clip((decibels - FLOOR) / (CEILING - FLOOR), 0, 1) * (SHADES - 1)
    palette = colormaps["magma"](np.linspace(0.02, 0.97, SHADES))[:, :3] * 255
    pixels: Pixels = palette.round().astype(np.uint8)[shade.round().astype(np.int64)]
    return pixels


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _rgb(colour: str) -> NDArray[np.uint8]:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], np.uint8)


def _first_words(line: str, limit: int = 24) -> str:
    line = " ".join(line.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _literal(text: str) -> str:
    return printable(text).replace("$", r"\$")  # matplotlib would read mathematics between two of them


def _saved(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
