"""Windows of lyrics with times: what each reads, against a plain count; plain lyrics and songs from before stay."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import LabelError, RequestError
from jukebox_kit.model.configuration import PriorConfig
from jukebox_kit.model.labels import Labels, lyric_text, lyric_tokens, lyric_window
from jukebox_kit.song.edits import extend
from jukebox_kit.song.format_1 import format_1_request
from jukebox_kit.song.lyrics.windows import Stretch, stretch_lines, stretches
from jukebox_kit.song.request import Resolved, normalise_request, resolve
from jukebox_kit.song.song import Song
from tests.conftest import shell, small_prior

HOP, CONTEXT = 128, 32
BARE = small_prior(blocks=1).config
PAUSE = "[00:00.00]one two\n[00:01.00]three four\n[00:02.00]\n[00:06.00]five six\n[00:07.00]seven eight\n[00:08.00]\n"


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny, "cpu")


def resolved(model: Model, **fields: Any) -> Resolved:
    return resolve(normalise_request({"model": model.source, **fields}), model.definition, model.tables)


def prior_of(n_tokens: int) -> PriorConfig:
    return replace(BARE, use_tokens=True, n_tokens=n_tokens, n_vocab=79, single_enc_dec=True)


PHRASES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9000), st.integers(0, 9000)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(PHRASES, st.integers(2, 12), st.integers(0, 200))
def test_a_window_reads_what_is_due_in_it(phrases: list[tuple[int, int, int]], n_tokens: int, start: int) -> None:
    """phrases: characters, samples that they last, samples of pause after them."""
    due: list[tuple[int, int, int]] = []
    samples: list[float] = []  # at which each character is due, one by one
    at = 0
    for count, lasting, pause in phrases:
        if count:
            due.append((len(samples), at, at + lasting))
            samples += [at + k * lasting / count for k in range(count)]
        at += lasting + pause
    if not samples:
        return
    labels = Labels(0, (0,), tuple(range(1, len(samples) + 1)), at + 1, due=tuple(due))
    config = prior_of(n_tokens)
    inside = [place for place, sample in enumerate(samples) if start * HOP <= sample < (start + CONTEXT) * HOP]
    before = sum(sample < start * HOP for sample in samples)
    first, last = labels.due_in(config, HOP, start)
    assert list(range(first, last)) == inside
    assert first == before
    window, index = labels.lyric_window(config, HOP, start)
    assert window == [labels.tokens[place] if place >= 0 else 0 for place in range(index, index + n_tokens)]
    if len(inside) <= n_tokens:
        assert set(inside) <= set(range(index, index + n_tokens))
    else:  # as many are left out before as after, and none that is due elsewhere is read
        assert set(range(index, index + n_tokens)) <= set(inside)
        assert abs((index - first) - (last - index - n_tokens)) <= 1
    assert labels.row(config, HOP, start)[-n_tokens:] == window


@settings(max_examples=40, deadline=None)
@given(st.text("abc [:]\n'0<>.", max_size=60).filter(lambda text: "[0" not in text and "<0" not in text))
def test_plain_lyrics_are_spread_evenly_as_they_were(model: Model, text: str) -> None:
    labels = resolved(model, lyrics=text, seconds=3.0).labels[2]
    config = model.definition.top
    assert (labels.tokens, labels.due) == (tuple(lyric_tokens(text, "v3")), ())
    for start in (0, 100, 300):
        wanted = lyric_window(list(labels.tokens), config.n_tokens, labels.total, start * HOP, config.n_ctx * HOP)
        assert labels.lyric_window(config, HOP, start) == wanted


def test_times_move_words_behind_a_pause(model: Model) -> None:
    """Windows of 0.45 s; with times, those of a pause have nothing to sing; by the even rule, each has some words."""
    timed = stretches(resolved(model, lyrics=PAUSE, seconds=8.0), model.definition)
    words = "one two\nthree four\n\nfive six\nseven eight"
    even = stretches(resolved(model, lyrics=words, seconds=8.0, total_seconds=8), model.definition)
    assert lyric_text(resolved(model, lyrics=PAUSE, seconds=8.0).labels[2].tokens, "v3") == words
    in_pause = [place for place, window in enumerate(timed) if window.start > 2 and window.end < 6]
    assert len(in_pause) > 10
    assert {timed[place].due_text for place in in_pause} == {"nothing, a pause"}
    assert {timed[place].text for place in in_pause} == {"ur\n\nfive"}
    assert len({even[place].text for place in in_pause}) > 5
    after = next(window for window in timed if window.start > 6.9)
    assert after.due_text == "seven"
    assert [window.due for window in even] == [None] * len(even)


def test_the_total_length_follows_from_the_last_line(model: Model) -> None:
    sr, timed = 16000, "[00:00]la la\n[00:10]la la\n[00:20]\n"
    assert resolved(model, lyrics=timed).labels[0].total == 20 * sr
    assert resolved(model, lyrics=timed, total_seconds=30).labels[0].total == 30 * sr
    assert resolved(model, lyrics=timed, seconds=25.0).labels[0].total == 25 * sr
    assert resolved(model, lyrics="[00:00.5]la", seconds=1.0).labels[0].total == 2 * sr  # the model's shortest
    assert resolved(model, lyrics="la la", seconds=1.0).labels[0].total == 4 * sr  # the model's default
    early = resolved(model, lyrics=timed, total_seconds=15, seconds=2.0).notes
    assert "the lyrics have times, until 20.0 s, in a song of 15.0 s; what is due later is not sung." in early
    with pytest.raises(LabelError, match=r"the lyrics last until 75\.0 seconds, and songs .* less than 60; remove"):
        resolved(model, lyrics="[00:00]la\n[01:15]")
    with pytest.raises(RequestError, match=r"lyrics, line 2 has the time"):
        resolved(model, lyrics="[00:00]la\n[01:75]")


def test_a_song_keeps_its_times_and_extends_with_others(tmp_path: Path, model: Model) -> None:
    request = {"model": model.source, "seconds": 2.0, "lyrics": PAUSE}
    song = Song.create(tmp_path / "song", model, **request)  # type: ignore[arg-type]  # fields are checked
    again = Song.open(song.root)
    assert again.resolved == song.resolved
    assert again.request.lyrics == PAUSE
    assert again.resolved.labels[2].due
    assert song.resolved.labels[2].total == 8 * 16000
    extend(song, 1.0, model)
    assert song.resolved.labels[2].due == again.resolved.labels[2].due
    extend(song, 1.0, model, lyrics="[00:00.00]one\n[00:12.00]two\n[00:13.00]")
    assert song.resolved.labels[2].total == 13 * 16000
    extend(song, 1.0, model, lyrics="plain again")
    assert (song.resolved.labels[2].due, song.resolved.labels[2].total) == ((), 5 * 16000)
    fixed = Song.create(tmp_path / "fixed", model, total_seconds=6, **request)  # type: ignore[arg-type]
    extend(fixed, 1.0, model, lyrics="[00:00.00]one\n[00:12.00]two\n[00:13.00]")
    assert fixed.request.total_seconds == 13


def test_songs_without_times_are_saved_and_marked_as_before(tmp_path: Path, model: Model) -> None:
    song = Song.create(tmp_path / "song", model, model=model.source, seconds=0.5, lyrics="la [Chorus] la")
    saved = json.loads((song.root / "song.json").read_bytes())
    assert set(saved["resolved"]["labels"][2]) == {"artist", "genres", "tokens", "total", "offset"}
    before = asdict(song.resolved)
    for labels in before["labels"]:
        del labels["due"]
    assert song.resolved.fields() == before
    assert "due" not in json.dumps(format_1_request(asdict(song.request)))


def test_the_shell_shows_what_windows_read_before_sampling(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.lrc"
    words.write_text("[ti:x]\n[00:00.00]one two\n[00:01.00]three\n", "utf-16")
    arguments = ("--model", tiny, "--seconds", "0.3", "--lyrics-file", words, "--until", "level_2")
    assert shell(monkeypatch, "sample", tmp_path / "song", *arguments) == 0
    said = capsys.readouterr().err
    assert "note: the lyrics have times, until 1.7 s, in a song of 2.0 s." in said
    assert "   0.0 to 0.3 s reads characters 1-8: one two; sung in it: one\n" in said
    words.write_text("[00:00.00]one\n[00:99.00]two")
    assert shell(monkeypatch, "sample", tmp_path / "other", *arguments) == 1
    said = capsys.readouterr().err
    assert f"{words}, line 2 has the time [00:99.00], with more than 59 seconds; write [01:39.00]." in said
    assert not (tmp_path / "other").exists()


def test_many_windows_are_shown_in_few_lines() -> None:
    windows = [Stretch(at, at + 1.0, 0, 90, "la " * 30, (0, 99)) for at in range(50)]
    shown = list(stretch_lines(windows, 20))
    assert len(shown) == 17
    assert "…" in shown[0]
    assert shown[0].endswith("(9 more characters do not fit)")
    assert list(stretch_lines([], 20)) == []
