"""Lyrics alignment: from one window to a song, kept and never stale; and lines followed on it."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import ConfigurationError, SongError, StoppedError
from jukebox_kit.model.labels import label_rows
from jukebox_kit.model.prior import Prior
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.edits import extend, undo
from jukebox_kit.song.files import ALIGNMENT, is_kept
from jukebox_kit.song.lyrics import alignment as al
from jukebox_kit.song.lyrics.alignment import (
    Alignment,
    align,
    ensure_alignments,
    follow,
    read_alignments,
    write_alignments,
)
from jukebox_kit.song.lyrics.timing import Line, line_spans
from jukebox_kit.song.song import Song

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": "la la la", "seed": 3}
SIZE = 12  # tokens a frame of the tiny model: 0.096 seconds


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> Model:
    return Model.load(tiny, "cpu")


def song_of(folder: Path, model: Model, tokens: int, made: tuple[int, ...] = (), **fields: Any) -> Song:
    """Return a song of random codes at level 2; `made` says how many of each item there are, else all."""
    made = made or (tokens,)
    request = REQUEST | {"seconds": tokens * 128 / 16000, "items": len(made)} | fields
    song = Song.create(folder, model, model=model.source, **request)
    codes = np.random.default_rng(0).integers(0, 32, (len(made), tokens)).astype(np.int16)
    for row, count in enumerate(made):
        codes[row, count:] = -1
    song.write_level(2, LevelCodes(codes, (0,) * len(made)))
    return song


def saved_alignment(song: Song, item: int) -> Alignment | None:
    return dict(read_alignments(song.state)).get(item)


def whole_window(song: Song, prior: Prior, start: int, codes: Tensor) -> np.ndarray[Any, Any]:
    """Return a window's alignment, as the prior gives it: codes (L,) → (L, lyric columns)."""
    given = prior.condition(label_rows([song.resolved.labels[2]], prior.config, prior.hop, start, codes.device))
    return prior.alignment(codes[None], given)[0].numpy()


def means(rows: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    return np.stack([rows[first : first + size].mean(0) for first in range(0, len(rows), size)])


@pytest.mark.parametrize("tokens", [1, 11, 12, 30, 48, 55])
def test_one_window_is_what_the_prior_says(tmp_path: Path, loaded: Model, tokens: int) -> None:
    song = song_of(tmp_path / "song", loaded, tokens)
    found = align(song.state, 0, loaded.top)
    codes = torch.from_numpy(song.codes(2)[0].astype(np.int64))
    wanted = means(whole_window(song, loaded.top, 0, codes[:48]), SIZE)
    assert found.text == "la la la"
    assert found.frame_seconds == pytest.approx(0.096)
    assert len(found.weights) == -(-tokens // SIZE)
    assert np.allclose(found.weights[: len(wanted)], wanted, atol=1e-7)
    assert found.weights.sum(1) == pytest.approx(1, abs=0.5)


def test_windows_are_stitched_where_the_later_one_has_context(tmp_path: Path, loaded: Model) -> None:
    """Lyrics of 30 characters in windows of 8, 200 tokens in windows of 56: each frame against its own window."""
    lyrics = "abcdefghijklmnopqrstuvwxyz0123"
    song = song_of(tmp_path / "song", loaded, 200, lyrics=lyrics)
    found = align(song.state, 0, loaded.top)
    codes = torch.from_numpy(song.codes(2)[0].astype(np.int64))
    total = song.resolved.labels[2].total
    for frame in range(17):
        start = max(0, min(2 * ((frame - 2) // 2), 13))  # frames: windows of 4, every 2, the last flush with the end
        piece = codes[start * SIZE : start * SIZE + 48]
        rows = whole_window(song, loaded.top, start * SIZE, piece)
        middle = int(30 * ((start * SIZE * 128 + 28 * 128) / total))
        first = min(max(middle - 4, 0), 22)
        inside = (frame - start) * SIZE
        wanted = np.zeros(30)
        wanted[first : first + 8] = rows[inside : inside + SIZE].mean(0)
        assert np.allclose(found.weights[frame], wanted, atol=1e-7), frame


def test_peaks_come_out_at_the_characters_that_they_stand_for(
    tmp_path: Path, loaded: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prior that attends to a known character of the whole lyrics at each moment, wherever its window begins."""
    lyrics = "".join(chr(ord("a") + i % 26) for i in range(60))
    song = song_of(tmp_path / "song", loaded, 500, lyrics=lyrics)
    labels = song.resolved.labels[2]

    def pointing(prior: Prior, codes: Tensor, given: Any) -> Tensor:
        seen = given.prefix[0].tolist()
        start = next(i for i in range(53) if list(labels.tokens[i : i + 8]) == seen and i >= pointing_from[-1])
        pointing_from.append(start)
        rows = torch.zeros(1, codes.shape[1], 8)
        rows[:, :, 3] = 1  # the fourth character of the window
        return rows

    pointing_from = [0]
    monkeypatch.setattr(Prior, "alignment", pointing)
    found = align(song.state, 0, loaded.top)
    assert set(np.unique(found.weights)) == {0.0, 1.0}
    peaks = found.weights.argmax(1)
    assert (np.diff(peaks) >= 0).all()
    assert set(peaks) <= {first + 3 for first in pointing_from}
    # of 4 s made 4 s are the whole: the window's middle goes with the frame's own share of the song
    assert abs(peaks[-1] - 56) <= 1
    assert peaks[0] == 3


def test_only_what_is_made_is_aligned_and_items_apart(tmp_path: Path, loaded: Model) -> None:
    song = song_of(tmp_path / "song", loaded, 150, made=(150, 70, 0))
    assert [len(align(song.state, item, loaded.top).weights) for item in range(3)] == [13, 6, 0]
    alone = song_of(tmp_path / "alone", loaded, 150, made=(150, 70, 0), total_seconds=4)
    assert np.array_equal(align(alone.state, 1, loaded.top).weights, align(song.state, 1, loaded.top).weights)
    assert follow(align(song.state, 2, loaded.top)) == ()
    with pytest.raises(SongError, match="items 0 to 2"):
        align(song.state, 3, loaded.top)


def test_what_cannot_be_aligned_is_said(tmp_path: Path, loaded: Model) -> None:
    wordless = song_of(tmp_path / "song", loaded, 30, lyrics="")
    assert not al.can_align(wordless.state)
    with pytest.raises(SongError, match="no lyrics"):
        align(wordless.state, 0, loaded.top)
    ensure_alignments(wordless, loaded)
    assert saved_alignment(wordless, 0) is None
    song = song_of(tmp_path / "sung", loaded, 30)
    with pytest.raises(ConfigurationError, match="alignment_layer"):
        align(song.state, 0, loaded.prior(1))


def test_level_2_ends_with_its_alignment_and_no_other_step_makes_one(tmp_path: Path, tiny: Path, loaded: Model) -> None:
    song = Song.create(tmp_path / "song", loaded, model=tiny, seconds=1.2, items=2, **REQUEST)
    jk.level_2(song, loaded)
    for item in range(2):
        kept, made = saved_alignment(Song.open(song.root), item), align(song.state, item, loaded.top)
        assert kept is not None
        assert (kept.text, kept.frame_seconds) == (made.text, made.frame_seconds)
        assert np.array_equal(kept.weights, made.weights.astype(np.float16))
    file = song.root / ALIGNMENT
    before = file.stat().st_mtime_ns
    jk.level_1(jk.level_2(song, loaded), loaded)
    ensure_alignments(song)
    assert file.stat().st_mtime_ns == before


def test_a_stale_or_damaged_alignment_is_never_used(tmp_path: Path, loaded: Model) -> None:
    song = song_of(tmp_path / "song", loaded, 150, made=(150, 150))
    ensure_alignments(song, loaded)
    first = saved_alignment(song, 1)
    assert first is not None
    kept = (song.root / ALIGNMENT).read_bytes()
    codes = song.codes(2).copy()
    codes[1, 100] ^= 1
    song.write_level(2, LevelCodes(codes, (0, 0)))
    assert saved_alignment(song, 0) is not None
    assert saved_alignment(song, 1) is None
    with song.locked():
        write_alignments(song.state, loaded.top)
    again = saved_alignment(song, 1)
    assert again is not None
    assert not np.array_equal(again.weights, first.weights)
    extend(song, 0.2, loaded, lyrics="so so so")
    assert saved_alignment(song, 0) is None
    undo(song)
    assert saved_alignment(song, 0) is not None
    now = (song.root / ALIGNMENT).read_bytes()
    for damaged in (kept, now[:-7], now[:5], b"", now[:-9] + bytes([now[-9] ^ 64]) + now[-8:]):
        (song.root / ALIGNMENT).write_bytes(damaged)
        assert saved_alignment(song, 1) is None
    ensure_alignments(song, loaded)
    assert saved_alignment(song, 1) is not None


def test_it_is_no_part_of_what_a_mount_must_keep(
    tmp_path: Path, tiny: Path, loaded: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_kept("level_2/codes.safetensors")
    assert not is_kept(ALIGNMENT)
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "segments")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    song = jk.level_2(Song.create(tmp_path / "song", loaded, model=tiny, seconds=0.3, **REQUEST), loaded)
    assert saved_alignment(Song.open(song.root), 0) is not None
    (song.root / ALIGNMENT).unlink()
    assert saved_alignment(Song.open(song.root), 0) is None
    assert not any(b"alignment" in file.read_bytes() for file in (song.root / "segments").iterdir())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), MemoryError()])
def test_a_song_is_whole_without_it(
    tmp_path: Path,
    loaded: Model,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def failing(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr(Prior, "alignment", failing)
    song = Song.create(tmp_path / "song", loaded, model=tiny, seconds=0.3, **REQUEST)
    with caplog.at_level(logging.WARNING):
        jk.level_2(song, loaded)
    assert song.status()[0].done == song.status()[0].total
    assert (song.root / "level_2" / "item_0.wav").exists()
    assert "were not aligned" in caplog.text
    assert "Tried" not in caplog.text
    assert not (song.root / ALIGNMENT).exists()
    monkeypatch.undo()
    ensure_alignments(song, loaded)
    assert saved_alignment(song, 0) is not None


def test_who_asks_for_a_stop_gets_it_between_windows(tmp_path: Path, loaded: Model, tiny: Path) -> None:
    song = Song.create(tmp_path / "song", loaded, model=tiny, seconds=0.6, **REQUEST)
    tokens = song.resolved.plans[2].total
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > tokens + 1

    with pytest.raises(StoppedError):
        jk.level_2(song, loaded, jk.RunSettings(stop=stop))
    assert song.status()[0].done == tokens
    assert saved_alignment(song, 0) is None


def test_an_alignment_checks_its_shape() -> None:
    with pytest.raises(ValueError, match="do not fit 2 characters"):
        Alignment(np.zeros((3, 4), np.float32), 0.1, "ab")


# Following lines


def sung(text: str, at: list[int | None], noise: float = 0.0, seed: int = 0) -> Alignment:
    """Return an alignment of one second a frame-tenth: at[f] is the character sung at frame f, None where none is."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((len(at), len(text)))
    for frame, character in enumerate(at):
        if character is None:
            weights[frame] = 1 / len(text)
        else:
            around = np.exp(-0.5 * ((np.arange(len(text)) - character) / 1.5) ** 2)
            weights[frame] = around / around.sum()
    background = rng.exponential(1.0, weights.shape)
    mixed = (1 - noise) * weights + noise * background / background.sum(1, keepdims=True)
    return Alignment(mixed.astype(np.float32), 0.1, text)


def through(text: str, lines: list[int], frames: int) -> list[int | None]:
    """Return the characters of some lines, each line sung in `frames` frames."""
    spans = list(line_spans(text))
    found: list[int | None] = []
    for line in lines:
        begin, end = spans[line]
        found += [int(c) for c in np.linspace(begin, end - 1, frames)]
    return found


VERSE = "the first line\nand then another\n\n  a third one \nof four in all"
SUNG = ["the first line", "and then another", "a third one", "of four in all"]


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.5])
def test_lines_are_followed_through_noise(noise: float) -> None:
    silence: list[int | None] = [None] * 25
    found = follow(sung(VERSE, silence + through(VERSE, [0, 1, 2, 3], 30) + silence, noise))
    assert [line.text for line in found] == SUNG
    for number, line in enumerate(found):
        assert line.start == pytest.approx(2.5 + 3 * number, abs=0.3)
        assert line.end == pytest.approx(5.5 + 3 * number, abs=0.3)


def test_rests_inside_and_between_lines() -> None:
    rest: list[int | None] = [None] * 40
    first = through(VERSE, [0], 30)
    found = follow(sung(VERSE, first[:15] + rest + first[15:] + rest + through(VERSE, [1], 30), 0.3))
    assert [(line.text, round(line.start), round(line.end)) for line in found] == [(SUNG[0], 0, 7), (SUNG[1], 11, 14)]


def test_lines_that_are_skipped_or_never_reached_are_left_out() -> None:
    assert [line.text for line in follow(sung(VERSE, through(VERSE, [1, 3], 25), 0.3))] == [SUNG[1], SUNG[3]]
    assert [line.text for line in follow(sung(VERSE, through(VERSE, [0, 1], 25), 0.3))] == SUNG[:2]
    assert follow(sung(VERSE, [None] * 100, 0.5)) == ()


def test_repeated_lines_are_told_apart_by_where_they_stand() -> None:
    text = "la la la la\noh my love\nla la la la\ngood night now"
    at = through(text, [0, 1, 2, 3], 25)
    one = sung(text, at, 0.2)
    twin = sung(text, [None if c is None else (c + 23 if c < 11 else c - 23 if 23 <= c < 34 else c) for c in at], 0.2)
    both: NDArray[np.float32] = (one.weights + twin.weights) / np.float32(2)
    unsure = Alignment(both, 0.1, text)  # each refrain draws on both of its places
    found = follow(unsure)
    assert [line.text for line in found] == ["la la la la", "oh my love", "la la la la", "good night now"]
    assert [line.start for line in found] == pytest.approx([0, 2.5, 5, 7.5], abs=0.5)


def test_one_line_none_and_nothing() -> None:
    only = "na na na, na na na"
    assert follow(sung(only, [None, None, *range(18)])) == (Line(2 * 0.1, 2.0, only),)
    assert follow(sung(only, [None] * 10)) == ()
    assert follow(sung("\n \n", [0] * 10)) == ()
    assert follow(Alignment(np.zeros((0, 3), np.float32), 0.1, "a\nb")) == ()
    assert follow(Alignment(np.zeros((9, 3), np.float32), 0.1, "a\nb")) == ()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_lines_sung_in_any_lengths_are_found_in_order(data: st.DataObject) -> None:
    # In a text of a line or two attention on one of them says little; see the test after this one.
    lengths = data.draw(st.lists(st.integers(6, 20), min_size=6, max_size=12))
    text = "\n".join(chr(ord("a") + i) * length for i, length in enumerate(lengths))
    lines = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, unique=True).map(sorted))
    frames = [data.draw(st.integers(10, 40)) for _ in lines]
    at = [c for line, count in zip(lines, frames, strict=True) for c in through(text, [line], count)]
    found = follow(sung(text, at, data.draw(st.sampled_from([0.0, 0.2, 0.4])), data.draw(st.integers(0, 9))))
    assert [line.text[0] for line in found] == [chr(ord("a") + line) for line in lines]
    ends = np.cumsum(frames) / 10
    assert [line.end for line in found] == pytest.approx(list(ends), abs=0.35)


def test_in_a_text_of_two_short_lines_little_is_too_little() -> None:
    text = "aaaaaa\nbbbbbb"
    assert follow(sung(text, through(text, [0], 8), 0.4)) == ()
    assert [line.text for line in follow(sung(text, through(text, [0], 40), 0.4))] == ["aaaaaa"]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(2, 60))
def test_whatever_the_weights_lines_are_in_order_and_inside(seed: int, frames: int, characters: int) -> None:
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice(list("ab \n"), characters))
    weights = rng.dirichlet(np.full(characters, 0.1), frames).astype(np.float32)
    found = follow(Alignment(weights, 0.1, text))
    assert all(0 <= line.start < line.end <= frames * 0.1 + 1e-9 for line in found)
    assert all(one.end <= other.start + 1e-9 for one, other in itertools.pairwise(found))
    whole = [line.strip() for line in text.split("\n") if line.strip()]
    assert [line.text for line in found] == [t for t in whole if t in {line.text for line in found}] or len(
        set(whole)
    ) < len(whole)
