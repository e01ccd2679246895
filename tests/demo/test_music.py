"""The synthesiser: the same song from the same arguments, in time, at a fair level, in its scale."""

from __future__ import annotations

import time

import numpy as np
import pytest

from jukebox_kit.checks.evaluate.measures import scale_share, tempo_bpm
from jukebox_kit.training.synth import ARTISTS, CONSONANTS, GENRES, VOWELS, synthesise

EVERY = [(artist, genre) for artist in range(len(ARTISTS)) for genre in range(len(GENRES))]


def test_the_same_arguments_give_the_same_song() -> None:
    first, again, other = (synthesise(seed, 1, 2, 3.0) for seed in (7, 7, 8))
    assert np.array_equal(first.audio, again.audio)
    assert (first.lyrics, first.syllable_seconds) == (again.lyrics, again.syllable_seconds)
    assert not np.array_equal(first.audio, other.audio)
    assert first.lyrics != other.lyrics


def test_a_longer_song_begins_like_a_shorter_one() -> None:
    short, long = synthesise(3, 2, 0, 4.0), synthesise(3, 2, 0, 9.0)
    before_fade = round(3.75 * 16000)
    assert np.array_equal(short.audio[:before_fade], long.audio[:before_fade])
    assert long.lyrics.startswith(short.lyrics)


def test_a_returned_song_is_the_callers_own() -> None:
    first = synthesise(5, 3, 3, 2.0)
    kept = first.audio.copy()
    first.audio[:] = 0.0
    assert np.array_equal(synthesise(5, 3, 3, 2.0).audio, kept)


@pytest.mark.parametrize(("artist", "genre"), EVERY)
def test_level_length_and_fade(artist: int, genre: int) -> None:
    song = synthesise(11, artist, genre, 8.0)
    audio = song.audio
    assert audio.dtype == np.float32
    assert audio.shape == (8 * 16000,)
    assert (song.artist, song.genre) == (ARTISTS[artist].name, GENRES[genre].name)
    assert 0.4 < np.abs(audio).max() < 0.95, "neither quiet nor clipped"
    assert np.sqrt(np.mean(audio**2)) > 0.08
    assert np.sqrt(np.mean(audio[:16000] ** 2)) > 0.08, "no intro"
    assert np.abs(audio[-160:]).max() < 0.05, "faded out"


@pytest.mark.parametrize("genre", range(len(GENRES)))
def test_one_syllable_per_beat_in_three_characters_each(genre: int) -> None:
    song = synthesise(2, 0, genre, 10.0)
    syllables = song.lyrics.split(" ")
    assert len(syllables) == len(song.syllable_seconds) == int(np.ceil(10.0 / GENRES[genre].beat_seconds))
    assert len(song.lyrics) == 3 * len(syllables) - 1
    assert all(len(s) == 2 and s[0] in CONSONANTS and s[1] in VOWELS for s in syllables)
    expected = GENRES[genre].beat_seconds * (0.5 + np.arange(len(syllables)))
    np.testing.assert_allclose(song.syllable_seconds, expected, atol=1e-9)
    frames = np.array(song.syllable_seconds) * 16000 / 128
    np.testing.assert_allclose(frames, np.rint(frames), atol=1e-6)


def test_given_lyrics_are_sung_and_cycled_over_the_same_music() -> None:
    song = synthesise(4, 0, 1, 4.0, lyrics="la\nmo  di")
    assert song.lyrics == "la mo di la mo di la"
    assert synthesise(4, 0, 1, 1.0, lyrics="la mo di").lyrics == "la mo"
    changed = synthesise(4, 0, 1, 4.0, lyrics="la mo du")
    different = np.flatnonzero(song.audio != changed.audio)
    beat = GENRES[1].beat_seconds
    assert {int(sample / 16000 / beat) for sample in different} == {2, 5}, "only the third syllable differs"


@pytest.mark.parametrize("lyrics", ["", "  ", "hello", "la x", "LA", "ba"])
def test_lyrics_that_are_no_syllables_are_refused(lyrics: str) -> None:
    with pytest.raises(ValueError, match="syllables of dlmnst and aeiou"):
        synthesise(0, 0, 0, 1.0, lyrics=lyrics)


def test_bad_arguments_are_refused_and_the_valid_ones_named() -> None:
    with pytest.raises(ValueError, match=r"no artist 4; valid ones are 0 \(the flutes\), .*3 \(glass bells\)"):
        synthesise(0, 4, 0, 1.0)
    with pytest.raises(ValueError, match=r"no genre -1; valid ones are 0 \(lullaby\), .*3 \(dance\)"):
        synthesise(0, 0, -1, 1.0)
    with pytest.raises(ValueError, match="seed"):
        synthesise(-1, 0, 0, 1.0)
    with pytest.raises(ValueError, match="sample rate"):
        synthesise(0, 0, 0, 1.0, sample_rate=4000)
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="length"):
            synthesise(0, 0, 0, seconds)


def test_genres_are_told_apart_by_scale_and_beat() -> None:
    for genre in GENRES:
        assert genre.root in genre.pitch_classes
        assert genre.beat_frames % 2 == 0, "half beats must fall on frames"
        assert genre.bpm * genre.beat_seconds == pytest.approx(60.0)
        for other in GENRES:
            if other is not genre:
                assert len(set(genre.pitch_classes) & set(other.pitch_classes)) <= 2
                assert abs(np.log(genre.bpm / other.bpm)) > np.log(1.15)


@pytest.mark.parametrize(("artist", "genre"), EVERY)
def test_the_scale_and_the_tempo_can_be_measured(artist: int, genre: int) -> None:
    audio = synthesise(21, artist, genre, 8.0).audio
    shares = [scale_share(audio, 16000, other.pitch_classes) for other in GENRES]
    assert shares[genre] > 0.75
    assert int(np.argmax(shares)) == genre
    assert tempo_bpm(audio, 16000) == pytest.approx(GENRES[genre].bpm, rel=0.03)


def test_another_sample_rate_gives_the_same_music() -> None:
    song = synthesise(6, 2, 3, 8.0, sample_rate=22050)
    assert song.audio.shape == (8 * 22050,)
    assert song.lyrics == synthesise(6, 2, 3, 8.0).lyrics
    assert tempo_bpm(song.audio, 22050) == pytest.approx(GENRES[3].bpm, rel=0.03)
    assert scale_share(song.audio, 22050, GENRES[3].pitch_classes) > 0.75


def test_rendering_is_much_faster_than_playing() -> None:
    synthesise(0, 0, 0, 8.0)
    begun = time.process_time()
    for seed in range(10):
        synthesise(seed, seed % 4, 0, 8.0)
    assert 80.0 / (time.process_time() - begun) > 50.0
