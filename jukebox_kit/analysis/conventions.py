"""How each project takes features of a recording: what is read, how it is encoded, and the label rows.

All agree on what a layer is: layer i, from 1, is the state after the i-th block, without a final norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jukebox_kit.engine import window_starts
from jukebox_kit.errors import AudioError, RequestError
from jukebox_kit.model import Labels, PriorConfig, VQVAEConfig


@dataclass(frozen=True)
class Convention:
    """A project's way.

    peak: a recording is divided by its largest magnitude.
    read_seconds: how much of a recording is read; None for all.
    first_window: only the first window is used. whole_window: and a shorter recording is refused.
    hop: by which share of a window the next one starts later.
    window_audio: the encoder reads each window's audio alone, the last one padded with zeros, not the whole recording.
    total_seconds: the length of the song in the label rows; None for the recording's, within the model's range.
    adds_conditioning: the conditioning is added after the chosen layer, in models that add it before their output.
    fft: frames of a lower rate are resampled by FFT; otherwise they are means.
    """

    name: str
    peak: bool = True
    read_seconds: float | None = None
    first_window: bool = False
    whole_window: bool = False
    hop: float = 1.0
    window_audio: bool = False
    total_seconds: float | None = None
    adds_conditioning: bool = False
    fft: bool = False


CONVENTIONS = {
    one.name: one
    for one in (
        Convention("plain", peak=False, hop=0.5),
        Convention("jukemirlib", read_seconds=25.0, first_window=True, total_seconds=62.0, fft=True),
        Convention(
            "jukemir",
            read_seconds=25.0,
            first_window=True,
            whole_window=True,
            total_seconds=62.0,
            adds_conditioning=True,
            fft=True,
        ),
        Convention("sheetsage", window_audio=True, adds_conditioning=True),
    )
}


@dataclass(frozen=True)
class Window:
    """A window of a recording, in tokens: its states are computed from `start` to `end`, and kept from `kept` on.

    offset: in samples, of its label row.
    """

    start: int
    kept: int
    end: int
    offset: int


@dataclass(frozen=True)
class ClipLabels:
    """What a recording is labelled with.

    artist: its id; genres: ids; tokens: of the lyrics.
    total_seconds: the length of the song that the recording is a part of, by default its own.
    offset_seconds: where in the song it starts.
    """

    artist: int = 0
    genres: tuple[int, ...] = (0,)
    tokens: tuple[int, ...] = ()
    total_seconds: float | None = None
    offset_seconds: float = 0.0


def convention_named(name: str) -> Convention:
    """Return a convention; RequestError about the field "convention" if there is none of that name."""
    if name not in CONVENTIONS:
        raise RequestError(f"convention must be one of {', '.join(CONVENTIONS)}, not {name}.", field="convention")
    return CONVENTIONS[name]


def total_samples(
    convention: Convention, labels: ClipLabels, samples: int, config: PriorConfig, vqvae: VQVAEConfig
) -> int:
    """Return the length of the whole song in samples, a multiple of the top level's hop.

    samples: of the recording.
    """
    hop, sr = vqvae.hops[config.level], vqvae.sr
    if convention.total_seconds is not None:
        return int(convention.total_seconds * sr) // hop * hop
    total = (samples if labels.total_seconds is None else int(labels.total_seconds * sr)) // hop * hop
    low, high = config.min_duration or 0.0, config.max_duration or math.inf
    least = math.ceil(low * sr / hop) * hop
    most = total if math.isinf(high) else int(high * sr) // hop * hop
    return max(least, min(total, most))


def plan_windows(
    convention: Convention, labels: ClipLabels, samples: int, total: int, config: PriorConfig, vqvae: VQVAEConfig
) -> tuple[Window, ...]:
    """Return the windows of a recording of `samples`; total: as `total_samples` returns it.

    AudioError if it is shorter than a token, or than a window where the convention needs a whole one.
    """
    hop, sr, length = vqvae.hops[config.level], vqvae.sr, config.n_ctx
    tokens = samples // hop
    if not tokens:
        raise AudioError(f"it has {samples} samples, and a token of this model covers {hop}.")
    if convention.whole_window and tokens < length:
        raise AudioError(
            f"it lasts {samples / sr:.1f} s, and {convention.name} needs {length * hop / sr:.1f} s; pad it with "
            f"--pad, or choose another convention."
        )
    if convention.first_window:
        return (Window(0, 0, min(tokens, length), 0),)
    step = max(1, int(length * convention.hop))
    starts = window_starts(tokens, length, step) if convention.hop < 1 else list(range(0, tokens, length))
    before = int(labels.offset_seconds * sr) // hop * hop
    windows: list[Window] = []
    done = 0
    for start in starts:
        end = min(start + length, tokens)
        offset = max(0, min(before + start * hop, total - length * hop))
        windows.append(Window(start, done - start, end, offset))
        done = end
    return tuple(windows)


def label_row(labels: ClipLabels, total: int, window: Window, config: PriorConfig, hop: int) -> list[int]:
    """Return the label row of a window, as `Labels.row` does."""
    slots = labels.genres[: config.max_bow_genre_size]
    return Labels(labels.artist, slots, labels.tokens, total, window.offset).row(config, hop, 0)
