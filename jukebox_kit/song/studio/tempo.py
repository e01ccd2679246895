"""The tempo of music as a map for a studio program, and where it is too unclear to have one.

librosa finds the beats. How clear they are is measured apart from that: the correlation of the strength of onsets with
itself one beat later, over eight seconds around each beat. Beats that are clear in succession get a tempo, the same one
as long as it puts every beat where it is. In between, the tempo only bridges the gap with a whole number of beats, so
that the grid meets the next one.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jukebox_kit.song.audio import Audio
from jukebox_kit.song.studio.project import TempoPoint

Floats = NDArray[np.float64]

FRAME_SECONDS = 0.01  # between two values of the strength of onsets

BANDS = 40  # of frequency; the transform's windows are too short for more

CLEAR = 0.25  # confidence below which there is no tempo; noise has up to 0.15

WINDOW_SECONDS = 8.0  # around a beat, in which its confidence is measured

FEWEST_BEATS = 8  # clear in succession, that is two bars

REST_BEATS = 4  # an unclear end that is shorter is part of the last clear stretch

TOLERANCE = 0.03  # seconds that a beat may be off the tempo; drummers are off by as much


def tempo_map(audio: Audio, sr: int) -> tuple[TempoPoint, ...]:
    """Return the tempo of audio (samples,), the first point at 0; nothing if it is unclear throughout."""
    beats, confidence = find_beats(audio, sr)
    stretches = _clear_stretches(confidence)
    if not stretches:
        return ()
    period, at = float(np.median(np.diff(beats))), 0.0
    points: list[TempoPoint] = []
    for first, last in stretches:
        if beats[first] - at < period / 2:  # no beat fits in between; the grid meets the next one
            first += 1
        gap = float(beats[first]) - at
        points.append(TempoPoint(at, 60 * max(1, round(gap / period)) / gap, None))
        turns = [first, *_turns(beats, first, last), last]
        for begin, end in pairwise(turns):
            clear = float(confidence[begin : end + 1].mean())
            points.append(TempoPoint(float(beats[begin]), 60 * (end - begin) / float(beats[end] - beats[begin]), clear))
        at = float(beats[last])
    if len(audio) / sr - at > REST_BEATS * period:
        points.append(TempoPoint(at, points[-1].bpm, None))
    return tuple(points)


def find_beats(audio: Audio, sr: int) -> tuple[Floats, Floats]:
    """Return the times of the beats in seconds, and the confidence of each, both (beats,); none in silence."""
    import librosa  # slow to import

    hop = max(1, round(FRAME_SECONDS * sr))
    tools: Any = librosa
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of audio shorter than a window of the transform
        strength = tools.onset.onset_strength(
            y=np.asarray(audio, np.float32), sr=sr, hop_length=hop, n_fft=2 * 2 ** round(np.log2(hop)), n_mels=BANDS
        )
        if not strength.any():
            return np.zeros(0), np.zeros(0)
        _, frames = tools.beat.beat_track(onset_envelope=strength, sr=sr, hop_length=hop)
    beats = np.asarray(frames, np.float64)
    return beats * hop / sr, _confidence(np.asarray(strength, np.float64), beats, hop / sr)


def _confidence(strength: Floats, beats: Floats, frame: float) -> Floats:
    """Return for each beat the correlation of the strength around it with itself a beat later, from 0 to 1."""
    if len(beats) < 2:
        return np.zeros(len(beats))
    half = round(WINDOW_SECONDS / 2 / frame)
    period = round(float(np.median(np.diff(beats))))
    # Onsets a frame wide would miss each other where a beat is not a whole number of frames. And what changes more
    # slowly than the beat, such as a tone that swells, says nothing about it.
    strength = _mean(strength, 3)
    strength = strength - _mean(strength, period)
    found = np.zeros(len(beats))
    for index, beat in enumerate(beats):
        lag = round(float(np.median(np.diff(beats[max(0, index - 4) : index + 5]))))
        around = strength[max(0, int(beat) - half) : int(beat) + half]
        early, late = around[:-lag], around[lag:]
        if len(early) > 2 * lag and early.std() > 0 and late.std() > 0:
            found[index] = max(0.0, float(np.corrcoef(early, late)[0, 1]))
    return found


def _mean(values: Floats, count: int) -> Floats:
    """Return the moving mean of about `count` values (n,) around each, (n,)."""
    side = count // 2
    return np.convolve(np.pad(values, side, "edge"), np.full(2 * side + 1, 1 / (2 * side + 1)), "valid")


def _clear_stretches(confidence: Floats) -> list[tuple[int, int]]:
    """Return the first and the last beat of each stretch of clear beats that is long enough."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], confidence >= CLEAR, [0]]).astype(np.int8)))
    spans = zip(edges[::2], edges[1::2] - 1, strict=True)
    return [(int(first), int(last)) for first, last in spans if last - first + 1 >= FEWEST_BEATS]


def _turns(beats: Floats, first: int, last: int) -> list[int]:
    """Return the beats between two at which the tempo has to change for every beat to be within the tolerance."""
    if last - first < 2:
        return []
    even = np.linspace(beats[first], beats[last], last - first + 1)
    off = np.abs(beats[first : last + 1] - even)
    worst = int(off.argmax())
    if off[worst] <= TOLERANCE:
        return []
    turn = first + worst
    return [*_turns(beats, first, turn), turn, *_turns(beats, turn, last)]
