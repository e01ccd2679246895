"""Measuring music by numbers: pitch, tempo, spectra, and classifiers fitted on synthesised clips.

Audio is a mono array (samples,) at a stated sample rate in Hz, of any float type; no measure depends on the
overall level (`log_spectral_distance`: on the level that its two signals share).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from jukebox_kit.training import synth as music

AnyAudio = NDArray[Any]

Numbers = NDArray[np.float64]

Transform = Callable[[AnyAudio], AnyAudio]

_TINY = 1e-20

_PITCH_BAND = (120.0, 700.0)  # Hz: above the kick drum, below most partials that lie outside the scale

_PEAK_OVER_FLOOR = 8.0

_SLOWEST, _FASTEST = 60.0, 170.0  # bpm

_TEMPO_GRID = np.geomspace(_SLOWEST, _FASTEST, 33)

_FASTER_IF = 0.82

_VERSIONS = 3  # how many ways `as_heard` presents a clip

_SYLLABLE_START, _SYLLABLE_END = 0.07, 0.2  # seconds after it begins: past most of the consonant, before the next note


def scale_share(audio: AnyAudio, sample_rate: int, pitch_classes: Sequence[int], cents: float = 35) -> float:
    """Return the share (0 to 1) of tonal energy within `cents` of a note of the scale (C = 0, A = 440 Hz).

    Tonal energy is the power of the spectral peaks between 120 and 700 Hz that stand well over their
    surroundings, in windows of about a quarter of a second; drums and noise have few. Energy spread evenly
    over all pitches would give len(pitch_classes) * cents / 600. Audio without such peaks gives 0.
    """
    pitches, powers = _tonal_peaks(audio, sample_rate)
    if not len(powers):
        return 0.0
    classes = np.array(sorted({p % 12 for p in pitch_classes}), dtype=np.float64)
    distance = np.abs((pitches[:, None] - classes + 6.0) % 12.0 - 6.0).min(axis=1)
    return float(powers[distance <= cents / 100.0].sum() / powers.sum())


def tempo_bpm(audio: AnyAudio, sample_rate: int) -> float:
    """Return the tempo in beats per minute, between 60 and 170, or nan if nothing in the audio repeats.

    If a tempo and its double explain the onsets about equally well, the faster one is returned. Raises ValueError
    for audio under three seconds.
    """
    tempos, scores = _tempo_scores(audio, sample_rate)
    inner = scores[1:-1]
    peaks = 1 + np.flatnonzero((inner > scores[:-2]) & (inner >= scores[2:]) & (inner > 0))
    if not len(peaks):
        return float("nan")
    good = peaks[scores[peaks] >= _FASTER_IF * scores[peaks].max()]
    return float(tempos[good].max())


def timbre_features(audio: AnyAudio, sample_rate: int) -> Numbers:
    """Return (147,): the spectrum's correlation with itself shifted by 1 to 83 quarter tones, then a band profile.

    The first component describes the partials of a note, independently of its pitch. The second is the mean and the
    deviation over time of the log energy in 32 bands from 100 Hz to 7 kHz.
    """
    size = round(0.064 * sample_rate)
    power = _power_spectra(audio, size, size // 2, pad=4)
    bands = _band_energies(power, sample_rate, 32, 100.0, 7000.0)
    level = np.log10(bands + 1e-2 * bands.sum(axis=1).max() + _TINY)
    level -= level.mean()
    return np.concatenate([_shift_match(power, sample_rate), level.mean(axis=0), level.std(axis=0)])


def genre_features(audio: AnyAudio, sample_rate: int) -> Numbers:
    """Return (44,): square roots of the share of tonal energy by pitch class, then the fit of 32 tempos.

    Raises ValueError for audio under three seconds.
    """
    pitches, powers = _tonal_peaks(audio, sample_rate)
    chroma = np.bincount(np.rint(pitches).astype(np.int64) % 12, weights=powers, minlength=12)
    tempos, scores = _tempo_scores(audio, sample_rate)
    fit = np.zeros(len(_TEMPO_GRID) - 1)
    np.maximum.at(fit, np.clip(np.searchsorted(_TEMPO_GRID, tempos) - 1, 0, len(fit) - 1), scores)
    return np.concatenate([np.sqrt(chroma / max(chroma.sum(), _TINY)), fit])


def vowel_features(audio: AnyAudio, sample_rate: int, start: float) -> Numbers:
    """Return (64,): log energies by band, 100 to 4000 Hz, of the sustained portion of a syllable.

    start: its beginning in seconds. A syllable that begins after the end of the audio counts as silence.
    """
    first = max(round((start + _SYLLABLE_START) * sample_rate), 0)
    size = round((_SYLLABLE_END - _SYLLABLE_START) * sample_rate)
    held = np.zeros(size)
    part = np.asarray(audio[first : first + size], dtype=np.float64)
    held[: len(part)] = part
    power = np.abs(np.fft.rfft(held * np.hanning(size), 2 * size))[None] ** 2
    bands = _band_energies(power, sample_rate, 64, 100.0, 4000.0)[0]
    level: Numbers = np.log10(bands + 1e-3 * bands.sum() + _TINY)
    level -= level.mean()
    return level


def log_spectral_distance(a: AnyAudio, b: AnyAudio, sample_rate: int, floor_db: float = -80.0) -> float:
    """Return the mean over frames of the RMS over bins of the difference of the log power spectra, in dB.

    Frames last about 64 ms. Powers below `floor_db` of the strongest in either signal are raised to that floor: a low
    floor also counts hiss in silence, a high one only loud sounds.
    Raises ValueError for signals of different lengths.
    """
    if a.shape != b.shape:
        raise ValueError(f"signals must have the same length, got {a.shape} and {b.shape}")
    size = round(0.064 * sample_rate)
    first, second = _power_spectra(a, size, size // 4), _power_spectra(b, size, size // 4)
    floor = max(10.0 ** (floor_db / 10.0) * max(float(first.max()), float(second.max())), _TINY)
    gap = 10.0 * (np.log10(np.maximum(first, floor)) - np.log10(np.maximum(second, floor)))
    return float(np.sqrt((gap**2).mean(axis=1)).mean())


def classifier(features: Numbers, labels: Sequence[int], shrinkage: float = 0.1) -> Pipeline:
    """Return a linear discriminant fitted on (examples, features) and one label for each example.

    shrinkage: of the within-class covariance towards the identity, from 0 (none) to 1 (complete).
    """
    fitted: Pipeline = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis("lsqr", shrinkage=shrinkage))
    return fitted.fit(features, np.asarray(labels, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Listener:
    """Classifies audio at `sample_rate` by artist, genre and vowels; best for clips as long as the fitted ones."""

    sample_rate: int
    artists: Pipeline
    genres: Pipeline
    sung: tuple[Pipeline, ...]

    @classmethod
    def fit(
        cls,
        seeds: Sequence[int],
        seconds: float = 8.0,
        sample_rate: int = 16000,
        transform: Transform | None = None,
    ) -> Listener:
        """Fit on one clip of every artist and genre for each seed; the result is a pure function of the seeds.

        transform: maps a clip (samples,) to the clip to listen to, with the same timing, such as a codec's output.
        Each clip is used unchanged, with noise, and low-passed with noise. Raises ValueError without seeds, or for
        clips under three seconds.
        """
        if not seeds:
            raise ValueError("need at least one seed to fit on")
        rng = np.random.Generator(np.random.PCG64([int(s) for s in seeds]))
        timbres, styles = list[Numbers](), list[Numbers]()
        kinds = [(artist, genre) for artist in range(len(music.ARTISTS)) for genre in range(len(music.GENRES))]
        trials = [(seed, artist, genre) for seed in seeds for artist, genre in kinds]
        vowels: list[tuple[list[Numbers], list[int]]] = [([], []) for _ in music.ARTISTS]
        for seed, artist, genre in trials:
            song = music.synthesise(seed, artist, genre, seconds, sample_rate)
            for heard in as_heard(song.audio if transform is None else transform(song.audio), sample_rate, rng):
                timbres.append(timbre_features(heard, sample_rate))
                styles.append(genre_features(heard, sample_rate))
                for start, syllable in zip(song.syllable_seconds, song.lyrics.split(), strict=True):
                    if start + _SYLLABLE_END < seconds:
                        vowels[artist][0].append(vowel_features(heard, sample_rate, start))
                        vowels[artist][1].append(music.VOWELS.index(syllable[1]))
        return cls(
            sample_rate,
            classifier(np.stack(timbres), [a for _, a, _ in trials for _ in range(_VERSIONS)]),
            classifier(np.stack(styles), [g for _, _, g in trials for _ in range(_VERSIONS)]),
            tuple(classifier(np.stack(examples), names, 0.03) for examples, names in vowels),
        )

    def artist(self, audio: AnyAudio) -> int:
        """Return the index in `music.ARTISTS` of the timbre that `audio` resembles most."""
        return int(self.artists.predict(timbre_features(audio, self.sample_rate)[None])[0])

    def genre(self, audio: AnyAudio) -> int:
        """Return the index in `music.GENRES` of the genre that `audio` resembles most.

        Raises ValueError for audio under three seconds.
        """
        return int(self.genres.predict(genre_features(audio, self.sample_rate)[None])[0])

    def vowels(self, audio: AnyAudio, times: Sequence[float], artist: int | None = None) -> list[int]:
        """Return, for the syllables that begin at `times` seconds, indices in `music.VOWELS`.

        artist: the accompanying timbre, by default the result of `self.artist(audio)`.
        """
        if not times:
            return []
        ears = self.sung[self.artist(audio) if artist is None else artist]
        heard = np.stack([vowel_features(audio, self.sample_rate, start) for start in times])
        return [int(vowel) for vowel in ears.predict(heard)]


def as_heard(clip: AnyAudio, sample_rate: int, rng: np.random.Generator) -> list[Numbers]:
    """Return the clip as it is, with white noise at 5 to 25 dB, and low-passed at 2.5 to 7 kHz with noise."""
    plain = np.asarray(clip, dtype=np.float64)
    frequency = np.fft.rfftfreq(len(plain), 1.0 / sample_rate)
    passed = 1.0 / (1.0 + (frequency / rng.uniform(2500.0, 7000.0)) ** 8)
    dull = np.fft.irfft(np.fft.rfft(plain) * passed, len(plain))
    white = rng.standard_normal((2, len(plain))) * float(np.std(plain))
    noisy = plain + white[0] * 10.0 ** (-rng.uniform(5.0, 25.0) / 20.0)
    return [plain, noisy, dull + white[1] * 10.0 ** (-rng.uniform(15.0, 40.0) / 20.0)]


def _power_spectra(audio: AnyAudio, size: int, hop: int, pad: int = 1) -> Numbers:
    """Return (frames, size * pad // 2 + 1); audio shorter than one window is padded with silence."""
    signal = np.asarray(audio, dtype=np.float64)
    if signal.ndim != 1:
        raise ValueError(f"audio must have the shape (samples,), got {signal.shape}")
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(size), size * pad, axis=1)) ** 2


def _band_energies(power: Numbers, sample_rate: int, count: int, low: float, high: float) -> Numbers:
    """Return (frames, count): energy in bands that widen with frequency, each at least one bin wide."""
    bins = power.shape[1]
    hertz = np.geomspace(low, min(high, 0.5 * sample_rate), count + 1)
    edges = np.rint(hertz * 2 * (bins - 1) / sample_rate).astype(np.int64)
    edges = np.maximum.accumulate(edges - np.arange(count + 1)) + np.arange(count + 1)
    return np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)


def _shift_match(power: Numbers, sample_rate: int) -> Numbers:
    """Return (83,): mean autocorrelation of the log spectra along pitch, from 200 Hz up five octaves."""
    hertz = 200.0 * 2.0 ** (np.arange(121) / 24.0)
    bins = np.rint(hertz * 2 * (power.shape[1] - 1) / sample_rate).astype(np.int64)
    profile = np.log10(power[:, np.minimum(bins, power.shape[1] - 1)] + 1e-4 * power.max() + _TINY)
    profile -= profile.mean(axis=1, keepdims=True)
    match = np.fft.irfft(np.abs(np.fft.rfft(profile, 256, axis=1)) ** 2, axis=1).mean(axis=0)
    shifts: Numbers = match[1:84] / max(float(match[0]), _TINY)
    return shifts


def _tonal_peaks(audio: AnyAudio, sample_rate: int) -> tuple[Numbers, Numbers]:
    """Return pitches (MIDI numbers with fractions) and powers of the peaks in the band of the melody."""
    size = 2 * round(0.128 * sample_rate)
    power = _power_spectra(audio, size, size // 4, pad=2) + _TINY
    width = sample_rate / (2 * size)
    first, last = (round(edge / width) for edge in _PITCH_BAND)
    band = power[:, first : last + 1]
    floor = np.median(band, axis=1, keepdims=True)
    inner = band[:, 1:-1]
    crest = (inner > band[:, :-2]) & (inner >= band[:, 2:])
    frame, place = np.nonzero(crest & (inner > _PEAK_OVER_FLOOR * floor))
    left, mid, right = (np.log(band[frame, place + shift]) for shift in range(3))
    offset = 0.5 * (left - right) / np.minimum(left - 2.0 * mid + right, -1e-9)
    hertz = (first + 1 + place + offset) * width
    return 69.0 + 12.0 * np.log2(hertz / 440.0), band[frame, place + 1]


def _tempo_scores(audio: AnyAudio, sample_rate: int) -> tuple[Numbers, Numbers]:
    """Return tempos (bpm) and, for each, the mean autocorrelation of the onsets at one to four beats."""
    if len(audio) < 3 * sample_rate:
        raise ValueError(f"need three seconds of audio to tell a tempo, got {len(audio) / sample_rate:.2f}")
    hop = round(0.008 * sample_rate)
    bands = _band_energies(_power_spectra(audio, 8 * hop, hop), sample_rate, 32, 50.0, 0.5 * sample_rate)
    # The fourth root lets a quiet hat count beside a loud kick, yet raises noise less than a logarithm.
    rises = np.maximum(np.diff(bands**0.25, axis=0), 0.0).sum(axis=1)
    onsets = rises - rises.mean()
    count = len(onsets)
    match = np.fft.irfft(np.abs(np.fft.rfft(onsets, 2 * count)) ** 2)[:count] / (count - np.arange(count))
    match /= max(float(match[0]), _TINY)
    rate = sample_rate / hop
    lags = np.arange(60.0 * rate / _FASTEST, 60.0 * rate / _SLOWEST, 0.25)
    multiples = lags[:, None] * np.arange(1, 5)
    usable = multiples < 0.9 * count
    sums = np.where(usable, np.interp(multiples, np.arange(count), match), 0.0).sum(axis=1)
    return 60.0 * rate / lags, sums / usable.sum(axis=1)
