"""A small deterministic synthesiser: four artists (timbres) by four genres (scale, tempo, drums).

Every song is a dialogue over bass and drums: on each beat the artist's instrument plays a note of a melody, and
half a beat later a voice answers with one syllable, the same note an octave below. They take turns, and the bass is
struck anew on each beat, so that few things ever sound together and a small model can learn them all. Every sound
starts on a multiple of half a beat, and a beat is a whole, even number of 128-sample frames at 16 kHz, so that the
same note always meets a codec of that hop in the same position. For the same reason levels are fixed and never
normalised song by song.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]

FRAME_SECONDS = 128 / 16000

"""Length in seconds of the frame in which `Genre.beat_frames` counts."""

LOWEST_RATE = 8000  # in Hz

CONSONANTS = "dlmnst"

VOWELS = "aeiou"

_LOWEST_MELODY, _HIGHEST_MELODY = 57, 75  # MIDI numbers: 220 to 622 Hz, about one and a half octaves

_LOWEST_BASS = 36

_MELODY_RMS, _VOICE_RMS, _BASS_RMS = 0.15, 0.14, 0.05

_FADE_SECONDS = 0.25

_RELEASE_SECONDS = 0.016

_STEPS = np.array([-2, -1, 0, 1, 2])

_STEP_ODDS = np.cumsum([0.1, 0.35, 0.1, 0.35, 0.1])

# In the order of VOWELS, in Hz; then in the order of CONSONANTS, (seconds of noise, seconds of attack).
# Formants lie lower than in speech and far apart, for a codec whose frames last 8 ms.
_FORMANTS = ((800.0, 1250.0), (500.0, 1700.0), (280.0, 2000.0), (500.0, 900.0), (280.0, 600.0))

_ONSETS = ((0.008, 0.004), (0.0, 0.048), (0.0, 0.064), (0.0, 0.032), (0.056, 0.016), (0.024, 0.008))

_Choice = TypeVar("_Choice", "Timbre", "Genre")


@dataclass(frozen=True)
class Timbre:
    """How an artist sounds: partials as (ratio to the fundamental, level), attack and decay in seconds.

    `decay` is the time in which the fundamental falls to 1/e; a partial of ratio r falls sqrt(r) times
    faster. Zero means that notes are held at full level.
    """

    name: str
    partials: tuple[tuple[float, float], ...]
    attack: float
    decay: float


@dataclass(frozen=True)
class Genre:
    """What a genre plays: scale, tempo and drums.

    `drums` has one character per half beat of one bar: k (kick), s (snare), h (hat) or . (silence).
    """

    name: str
    root: int
    pitch_classes: tuple[int, ...]
    beat_frames: int
    drums: str

    @property
    def beat_seconds(self) -> float:
        """Length of one beat in seconds."""
        return self.beat_frames * FRAME_SECONDS

    @property
    def bpm(self) -> float:
        """Beats per minute."""
        return 60.0 / self.beat_seconds

    @property
    def beats_per_bar(self) -> int:
        """Beats in one bar."""
        return len(self.drums) // 2


@dataclass(frozen=True, eq=False)
class SynthSong:
    """A rendered song: `audio` is (samples,) float32 in [-1, 1]; `syllable_seconds` holds start times."""

    audio: Audio
    sample_rate: int
    artist: str
    genre: str
    lyrics: str
    syllable_seconds: tuple[float, ...]
    seed: int


ARTISTS: tuple[Timbre, ...] = (
    Timbre("the flutes", ((1.0, 1.0), (2.0, 0.12)), attack=0.04, decay=0.0),
    Timbre("hollow reeds", tuple((float(n), n**-0.7) for n in range(1, 14, 2)), attack=0.012, decay=0.0),
    Timbre("saw strings", tuple((float(n), n**-0.6) for n in range(1, 25)), attack=0.02, decay=0.0),
    Timbre("glass bells", ((1.0, 1.0), (2.76, 0.9), (5.40, 0.7), (8.93, 0.4)), attack=0.002, decay=0.2),
)

GENRES: tuple[Genre, ...] = (
    Genre("lullaby", 0, (0, 2, 4, 7, 9), 88, "k.h.h.h."),
    Genre("waltz", 3, (0, 3, 5, 7, 10), 76, "k.h.h."),
    Genre("march", 6, (1, 3, 6, 8, 10), 64, "k.s.k.s."),
    Genre("dance", 9, (1, 4, 6, 9, 11), 52, "khkhkhkh"),
)


def synthesise(
    seed: int, artist: int | Timbre, genre: int, seconds: float, sample_rate: int = 16000, lyrics: str | None = None
) -> SynthSong:
    """Render a song of `seconds` seconds; the result depends on nothing but the arguments.

    `artist` is an index in `ARTISTS`, or another timbre.
    `lyrics`, when given, is a text of two-letter syllables (one of `CONSONANTS`, then one of `VOWELS`) parted by white
    space; it is sung in order and cycled or cut to one syllable per beat, each begun half a beat after its beat.
    Without it the syllables are drawn at random. Melody and bass do not depend on it. The song's `lyrics` are the
    syllables sung, joined by single spaces. Raises ValueError for an artist or genre index out of range, a negative
    seed, a sample rate under 8000 Hz, a length under one frame of 8 ms, or lyrics that are not such syllables.
    """
    timbre = artist if isinstance(artist, Timbre) else _chosen("artist", artist, ARTISTS)
    voice = zlib.crc32(artist.name.encode()) if isinstance(artist, Timbre) else artist  # of the random numbers
    style = _chosen("genre", genre, GENRES)
    if seed < 0 or sample_rate < LOWEST_RATE:
        raise ValueError(f"need seed >= 0 and sample rate >= 8000 Hz, got {seed} and {sample_rate}")
    if not FRAME_SECONDS <= seconds < math.inf:
        raise ValueError(f"length must be finite and at least {FRAME_SECONDS} s, got {seconds}")
    total = round(seconds * sample_rate)
    beats = 1
    while _position(style, 2 * beats, sample_rate) < total:
        beats += 1
    if lyrics is None:
        syllables = _random_syllables(np.random.Generator(np.random.PCG64([seed, voice, genre, 1])), beats)
    else:
        given = _parse_syllables(lyrics)
        syllables = tuple(given[beat % len(given)] for beat in range(beats))
    notes = _melody(np.random.Generator(np.random.PCG64([seed, voice, genre, 0])), style, beats)
    audio = _render(timbre, style, notes, syllables, total, sample_rate)
    starts = tuple(_position(style, 2 * beat + 1, sample_rate) / sample_rate for beat in range(beats))
    return SynthSong(audio, sample_rate, timbre.name, style.name, " ".join(syllables), starts, seed)


def _chosen(kind: str, index: int, choices: tuple[_Choice, ...]) -> _Choice:
    if not 0 <= index < len(choices):
        listing = ", ".join(f"{place} ({choice.name})" for place, choice in enumerate(choices))
        raise ValueError(f"no {kind} {index}; valid ones are {listing}")
    return choices[index]


def _parse_syllables(lyrics: str) -> tuple[str, ...]:
    syllables = tuple(lyrics.split())
    wrong = [s for s in syllables if len(s) != 2 or s[0] not in CONSONANTS or s[1] not in VOWELS]
    if wrong or not syllables:
        raise ValueError(f"lyrics must be syllables of {CONSONANTS} and {VOWELS}, got {lyrics[:40]!r}")
    return syllables


def _random_syllables(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    choices = rng.integers(0, len(CONSONANTS) * len(VOWELS), count)
    return tuple(CONSONANTS[c // len(VOWELS)] + VOWELS[c % len(VOWELS)] for c in choices.tolist())


def _melody(rng: np.random.Generator, style: Genre, beats: int) -> list[int]:
    """Return the MIDI note of each beat: a random walk; bars begin on the root or the fifth."""
    ladder = [m for m in range(_LOWEST_MELODY, _HIGHEST_MELODY + 1) if m % 12 in style.pitch_classes]
    stable = {style.root, (style.root + 7) % 12}
    homes = [place for place, midi in enumerate(ladder) if midi % 12 in stable]
    place = homes[len(homes) // 2]
    notes: list[int] = []
    for beat, draw in enumerate(rng.random(beats).tolist()):  # drawn in order: a longer song begins like a shorter one
        place = _walk(place, draw, len(ladder))
        if beat % style.beats_per_bar == 0:
            place = min(homes, key=lambda home: (abs(home - place), home))
        notes.append(ladder[place])
    return notes


def _walk(place: int, draw: float, size: int) -> int:
    moved = place + int(_STEPS[min(int(np.searchsorted(_STEP_ODDS, draw)), len(_STEPS) - 1)])
    # Reflection at the ends keeps the walk inside without making the end notes sticky.
    return -moved if moved < 0 else 2 * (size - 1) - moved if moved >= size else moved


def _position(style: Genre, half_beats: int, sample_rate: int) -> int:
    return round(half_beats * style.beat_seconds / 2 * sample_rate)


def _render(timbre: Timbre, style: Genre, notes: list[int], lyrics: tuple[str, ...], total: int, rate: int) -> Audio:
    at = [_position(style, half, rate) for half in range(2 * len(notes) + 1)]
    audio = np.zeros(total, np.float32)
    bass = _LOWEST_BASS + (style.root - _LOWEST_BASS) % 12
    for beat, (midi, syllable) in enumerate(zip(notes, lyrics, strict=True)):
        start, middle, end = at[2 * beat : 2 * beat + 3]
        _add(audio, start, _note(timbre, midi, middle - start, rate))
        _add(audio, middle, _sung(syllable, midi - 12, end - middle, rate))
        _add(audio, start, _bass_note(bass, end - start, rate))
        for half, where in ((0, start), (1, middle)):
            drum = style.drums[(2 * beat + half) % len(style.drums)]
            if drum != ".":
                _add(audio, where, _drum(drum, rate))
    fade = min(total, round(_FADE_SECONDS * rate))
    audio[total - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return np.clip(audio, -1.0, 1.0)


def _add(audio: Audio, start: int, sound: Audio) -> None:
    room = audio[start : start + len(sound)]
    room += sound[: len(room)]


def _sum_partials(
    midi: int, partials: tuple[tuple[float, float], ...], decay: float, samples: int, rate: int
) -> NDArray[np.float64]:
    """Return (samples,) with RMS 1 over the first 125 ms, so that decays do not raise the level."""
    hertz = 440.0 * 2.0 ** ((midi - 69) / 12)
    time = np.arange(samples) / rate
    total = np.zeros(samples)
    for ratio, level in partials:
        if hertz * ratio < 0.45 * rate:
            fall = np.exp(-time * math.sqrt(ratio) / decay) if decay > 0 else 1.0
            total += level * fall * np.sin(2 * np.pi * hertz * ratio * time)
    return total / max(float(np.sqrt(np.mean(total[: rate // 8] ** 2))), 1e-9)


def _envelope(samples: int, attack: float, rate: int) -> NDArray[np.float64]:
    time = np.arange(samples) / rate
    rise = np.clip(time / max(attack, 1 / rate), 0.0, 1.0)
    return rise * np.clip((samples / rate - time) / _RELEASE_SECONDS, 0.0, 1.0)


@lru_cache(maxsize=4096)
def _note(timbre: Timbre, midi: int, samples: int, rate: int) -> Audio:
    sound = _sum_partials(midi, timbre.partials, timbre.decay, samples, rate)
    return (_MELODY_RMS * sound * _envelope(samples, timbre.attack, rate)).astype(np.float32)


@lru_cache(maxsize=256)
def _bass_note(midi: int, samples: int, rate: int) -> Audio:
    sound = _sum_partials(midi, ((1.0, 1.0), (2.0, 0.3)), 0.0, samples, rate)
    return (_BASS_RMS * sound * _envelope(samples, 0.016, rate)).astype(np.float32)


@lru_cache(maxsize=2048)
def _vowel(vowel: str, midi: int, samples: int, rate: int) -> NDArray[np.float64]:
    hertz = 440.0 * 2.0 ** ((midi - 69) / 12)
    partials: list[tuple[float, float]] = [(1.0, 0.3)]
    for number in range(2, int(3500 / hertz) + 1):
        weights = [
            math.exp(-0.5 * ((number * hertz - centre) / width) ** 2)
            for centre, width in zip(_FORMANTS[VOWELS.index(vowel)], (110.0, 170.0), strict=True)
        ]
        partials.append((float(number), max(weights[0], 0.8 * weights[1])))
    audible = tuple((ratio, level) for ratio, level in partials if level > 0.003)
    return _sum_partials(midi, audible, 0.0, samples, rate)


@lru_cache(maxsize=4096)
def _sung(syllable: str, midi: int, samples: int, rate: int) -> Audio:
    noise_seconds, attack = _ONSETS[CONSONANTS.index(syllable[0])]
    lead = min(round(noise_seconds * rate), samples)
    sound, body = np.zeros(samples), samples - lead
    sound[lead:] = _VOICE_RMS * _vowel(syllable[1], midi, samples, rate)[:body] * _envelope(body, attack, rate)
    sound[:lead] += 0.5 * _VOICE_RMS * _noise(3, lead)
    return sound.astype(np.float32)


def _noise(which: int, samples: int) -> NDArray[np.float64]:
    """Return (samples,) of high-passed noise, the same at every call: a small model must learn its hits."""
    white = np.random.Generator(np.random.PCG64([2718, which])).standard_normal(samples + 1)
    return np.diff(white) / math.sqrt(2)


@lru_cache(maxsize=64)
def _drum(drum: str, rate: int) -> Audio:
    if drum == "k":
        time = np.arange(round(0.16 * rate)) / rate
        # The pitch falls from 130 Hz to 50 Hz; the phase is the integral of that.
        phase = 50.0 * time + 80.0 * 0.03 * (1 - np.exp(-time / 0.03))
        sound = 0.26 * np.sin(2 * np.pi * phase) * np.exp(-time / 0.05)
    else:
        seconds, level, which = (0.12, 0.13, 1) if drum == "s" else (0.048, 0.09, 2)
        time = np.arange(round(seconds * rate)) / rate
        sound = level * _noise(which, len(time)) * np.exp(-time / (seconds / 3))
    hit: Audio = (sound * np.clip((time[-1] - time) / 0.008, 0.0, 1.0)).astype(np.float32)
    return hit
