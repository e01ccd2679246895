"""Measuring by numbers, on signals whose answer is known and on songs that no classifier was fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from jukebox_kit.checks.evaluate.measures import (
    Listener,
    classifier,
    genre_features,
    log_spectral_distance,
    scale_share,
    tempo_bpm,
    timbre_features,
    vowel_features,
)
from jukebox_kit.training.synth import ARTISTS, GENRES, VOWELS, SynthSong, synthesise

RATE = 16000
KINDS = [(artist, genre) for artist in range(len(ARTISTS)) for genre in range(len(GENRES))]


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener.fit(range(1000, 1004))


@pytest.fixture(scope="module")
def unheard() -> list[tuple[int, int, SynthSong]]:
    return [(a, g, synthesise(seed, a, g, 8.0)) for seed in (0, 1) for a, g in KINDS]


def tone(hertz: float, seconds: float = 2.0) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def with_noise(audio: NDArray[np.float32], decibels: float) -> NDArray[np.float64]:
    rng = np.random.Generator(np.random.PCG64(99))
    return audio + rng.standard_normal(len(audio)) * float(np.std(audio)) * 10 ** (-decibels / 20)


def share_equal(first: list[int], second: list[int]) -> float:
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def clicks(bpm: float, seconds: float = 8.0) -> NDArray[np.float64]:
    audio = np.zeros(round(seconds * RATE))
    burst = np.random.Generator(np.random.PCG64(5)).standard_normal(400) * np.exp(-np.arange(400) / 80)
    for start in np.arange(0.0, seconds - 0.1, 60.0 / bpm):
        audio[round(start * RATE) :][:400] += burst
    return audio


def test_scale_share_knows_in_tune_from_out_of_tune() -> None:
    assert scale_share(tone(440.0), RATE, [9]) > 0.99
    assert scale_share(tone(440.0), RATE, [21]) > 0.99
    assert scale_share(tone(440.0), RATE, [8, 10]) < 0.01
    assert scale_share(tone(440.0 * 2 ** (0.5 / 12)), RATE, range(12)) < 0.01
    assert scale_share(tone(440.0) + tone(311.127), RATE, [9]) == pytest.approx(0.5, abs=0.05)
    assert scale_share(np.zeros(RATE), RATE, [0]) == 0.0


@pytest.mark.parametrize("bpm", [66.0, 78.1, 101.0, 120.0, 144.2, 160.0])
def test_tempo_of_clicks(bpm: float) -> None:
    assert tempo_bpm(clicks(bpm), RATE) == pytest.approx(bpm, rel=0.02)


def test_tempo_of_silence_and_of_too_little() -> None:
    assert np.isnan(tempo_bpm(np.zeros(4 * RATE), RATE))
    with pytest.raises(ValueError, match="three seconds"):
        tempo_bpm(clicks(120.0, 2.0), RATE)


def test_log_spectral_distance() -> None:
    audio = synthesise(0, 2, 2, 2.0).audio
    near, far = with_noise(audio, 30.0), with_noise(audio, 5.0)
    assert log_spectral_distance(audio, audio, RATE) == 0.0
    assert log_spectral_distance(far, 0.5 * far, RATE) == pytest.approx(6.02, abs=0.05)
    assert log_spectral_distance(audio, 0.5 * audio, RATE) < 6.02, "what lies under the floor does not count"
    assert log_spectral_distance(audio, near, RATE) < log_spectral_distance(audio, far, RATE)
    assert log_spectral_distance(audio, far, RATE) == log_spectral_distance(far, audio, RATE)
    assert log_spectral_distance(np.zeros(RATE), np.zeros(RATE), RATE) == 0.0
    with pytest.raises(ValueError, match="same length"):
        log_spectral_distance(audio, audio[1:], RATE)


def test_features_have_their_shapes_do_not_depend_on_level_and_bear_silence() -> None:
    audio = synthesise(0, 1, 1, 4.0).audio
    for heard in (audio, np.zeros(4 * RATE)):
        assert timbre_features(heard, RATE).shape == (147,)
        assert genre_features(heard, RATE).shape == (44,)
        assert vowel_features(heard, RATE, 0.64).shape == (64,)
        assert vowel_features(heard, RATE, 100.0).shape == (64,)
        assert np.isfinite(timbre_features(heard, RATE)).all()
        assert np.isfinite(genre_features(heard, RATE)).all()
        assert np.isfinite(vowel_features(heard, RATE, 100.0)).all()
    np.testing.assert_allclose(timbre_features(audio, RATE), timbre_features(0.25 * audio, RATE), atol=1e-6)
    np.testing.assert_allclose(genre_features(audio, RATE), genre_features(0.25 * audio, RATE), atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        timbre_features(np.zeros((2, RATE)), RATE)


def test_artist_and_genre_of_unheard_songs(listener: Listener, unheard: list[tuple[int, int, SynthSong]]) -> None:
    assert all(listener.artist(song.audio) == artist for artist, _, song in unheard)
    assert all(listener.genre(song.audio) == genre for _, genre, song in unheard)


def test_artist_genre_and_tempo_in_noise(listener: Listener, unheard: list[tuple[int, int, SynthSong]]) -> None:
    noisy = [(artist, genre, with_noise(song.audio, 10.0)) for artist, genre, song in unheard[:16]]
    assert sum(listener.artist(audio) == artist for artist, _, audio in noisy) >= 15
    assert sum(listener.genre(audio) == genre for _, genre, audio in noisy) >= 15
    for _, genre, audio in noisy:
        assert tempo_bpm(audio, RATE) == pytest.approx(GENRES[genre].bpm, rel=0.03)


def test_vowels_of_unheard_songs(listener: Listener, unheard: list[tuple[int, int, SynthSong]]) -> None:
    told, sung = list[int](), list[int]()
    for artist, _, song in unheard:
        times = [start for start in song.syllable_seconds if start < 7.5]
        told += listener.vowels(song.audio, times)
        sung += [VOWELS.index(syllable[1]) for syllable in song.lyrics.split()[: len(times)]]
        assert listener.vowels(song.audio, times, artist) == listener.vowels(song.audio, times)
    assert share_equal(told, sung) > 0.9
    assert abs(share_equal(told, sung[1:] + sung[:1]) - 0.2) < 0.1, "chance against the wrong syllable"
    assert listener.vowels(unheard[0][2].audio, []) == []


def test_shuffled_labels_leave_nothing_to_hear(unheard: list[tuple[int, int, SynthSong]]) -> None:
    features = np.stack([timbre_features(song.audio, RATE) for _, _, song in unheard])
    artists = [artist for artist, _, _ in unheard]
    half = len(artists) // 2
    rng = np.random.Generator(np.random.PCG64(1))
    shares = list[float]()
    for _ in range(20):
        shuffled = [artists[int(place)] for place in rng.permutation(half)]
        shares.append(
            share_equal(classifier(features[:half], shuffled).predict(features[half:]).tolist(), artists[half:])
        )
    assert abs(sum(shares) / len(shares) - 0.25) < 0.1
    assert classifier(features[:half], artists[:half]).predict(features[half:]).tolist() == artists[half:]


def test_fitting_hears_what_the_transform_gives_and_is_repeatable() -> None:
    lengths = list[int]()

    def backwards_in_level(clip: NDArray[np.float32]) -> NDArray[np.float32]:
        lengths.append(len(clip))
        return -0.5 * clip

    first = Listener.fit([1, 2], 4.0, transform=backwards_in_level)
    again = Listener.fit([1, 2], 4.0, transform=backwards_in_level)
    assert lengths == [4 * RATE] * 64
    assert np.array_equal(first.artists[-1].coef_, again.artists[-1].coef_)
    assert first.artist(synthesise(50, 3, 0, 4.0).audio) == 3


def test_fitting_refuses_too_little() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        Listener.fit([])
    with pytest.raises(ValueError, match="three seconds"):
        Listener.fit([1], 2.0)
