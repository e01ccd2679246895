"""Labels: lyrics, names, tables, rows."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from jukebox_kit.errors import CheckpointError, LabelError
from jukebox_kit.model.configuration import PriorConfig
from jukebox_kit.model.labels import (
    Tables,
    check_total,
    clean_lyrics,
    dropped_characters,
    lyric_tokens,
    lyric_window,
    normalise,
    read_ids,
)
from tests.conftest import GOLDEN

ROWS = json.loads((GOLDEN / "labels.json").read_text(encoding="utf-8"))


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Tables]:
    (tmp_path / "a2").write_text("unknown;0\nthe_beatles;7\nr_e_m_;8\nr_e_m;9\nfrank_sinatra;3\n")
    (tmp_path / "g2").write_text("unknown;0\npop;14\nrock;15\nhip;1\nhop;2\n")
    (tmp_path / "a3").write_text("frank sinatra;5\nthe beatles;7\nodd name ;8\nbj\u00f6rk;4\n", encoding="utf-8")
    (tmp_path / "g3").write_text("pop rock;3\nclassic pop;4\n")
    return {
        "v2": Tables.read("v2", tmp_path / "a2", tmp_path / "g2"),
        "v3": Tables.read("v3", tmp_path / "a3", tmp_path / "g3"),
    }


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_recorded_lyrics(row: dict[str, object]) -> None:
    lyrics, label_set = str(row["lyrics"]), str(row["label_set"])
    assert clean_lyrics(lyrics, label_set) == row["cleaned_lyrics"]
    assert lyric_tokens(lyrics, label_set) == row["full_tokens"]


def test_names(tables: dict[str, Tables]) -> None:
    v2, v3 = tables["v2"], tables["v3"]
    assert v2.artist("The Beatles!").ids == (7,)
    assert v2.artist("R.E.M.").ids == (9,)
    assert v2.genre("Pop, Rock", 5).ids == (14, 15)
    assert v3.artist("BJ\u00d6RK").ids == (4,)
    found = v3.artist("  Frank   Sinatra ")
    assert found.ids == (5,)
    assert "read as 'frank sinatra'" in found.notes[0]
    assert v3.artist("  Frank   Sinatra ", tidy=False).ids == (0,)


UNREADABLE = ["\u5b87\u591a\u7530\u30d2\u30ab\u30eb", "\u041a\u0438\u043d\u043e", "!!!", "", " ", "\u200b", "___"]


@pytest.mark.parametrize("name", UNREADABLE, ids=ascii)
def test_a_name_without_letters_that_a_table_knows_is_unknown(name: str) -> None:
    tables = Tables("v2", {"unknown": 0, "": 0, "kino": 3}, {"unknown": 0, "": 0, "rock": 1})
    for found in (tables.artist(name), tables.genre(name, 5)):
        assert (found.ids, found.used) == ((0,), ("unknown",))
        assert f"{name!r} is unknown to the v2 labels" in found.notes[0]
    assert tables.artist("unknown").notes == ()
    assert tables.matching("artist", name) == (["kino", "unknown"] if not name.strip() else [])


@pytest.mark.parametrize("name", ["Beyonc\u00e9", "bj\u00f6rk", "\u00c5sa", "D\u1ec7p", "\u30ac\u30ac", "\ud55c\uad6d"])
def test_composed_and_decomposed_names_are_the_same(name: str) -> None:
    forms = [unicodedata.normalize(form, case) for form in ("NFC", "NFD") for case in (name, name.upper())]
    v3 = Tables("v3", {"unknown": 0, unicodedata.normalize("NFC", name.lower()): 7}, {"pop": 1})
    v2 = Tables("v2", {"unknown": 0, normalise(name, "v2"): 7}, {"pop": 1})
    for form in forms:
        assert v3.artist(form) == v3.artist(form, tidy=False) == v3.artist(name)
        assert v3.artist(form).ids == (7,)
        assert v2.artist(form).ids == v2.artist(name).ids
        assert v3.matching("artist", form) == [name.lower()]


@pytest.mark.parametrize(
    "typed", ["death metal", "Death\u00a0 Metal ", "dea\u200bth metal", "\ufeffdeath metal", "dark wave"]
)
def test_names_that_look_the_same_are_found_and_not_offered(typed: str) -> None:
    genres = {"death  metal": 5, "dark wave\u200f\u200e": 6, "death metal core": 7, "pop": 1, "pop\u200e": 2}
    tables = Tables("v3", {"unknown": 0}, genres)
    found = tables.genre(typed, 1)
    assert found.ids == ((6,) if typed == "dark wave" else (5,))
    assert found.notes == (f"genre {typed!r} was read as {found.used[0]!r}.",)
    assert tables.genre(typed, 1, tidy=False).ids == (0,)
    assert tables.genre("pop", 1).ids == (1,)
    assert tables.nearest("genre", "pup") == tables.matching("genre", "pop") == ["pop"]


def test_lost_characters_are_those_that_can_be_seen() -> None:
    assert dropped_characters("\ufeffla\r\nla\u200b \u00e9 e\u0301", "v3") == []
    assert dropped_characters("la % + x\u0302 %", "v3") == ["%", "+", "\u0302", "%"]


def test_unknown_names_are_told_with_the_nearest(tables: dict[str, Tables]) -> None:
    found = tables["v2"].artist("The Beetles")
    assert found.ids == (0,)
    assert "the_beatles" in found.notes[0]
    found = tables["v2"].genre("one two three four five pop", 5)
    assert len(found.ids) == 5
    assert "6 words" in found.notes[-1]


def test_names_that_cannot_be_written_are_not_offered(tables: dict[str, Tables]) -> None:
    assert "r_e_m_" not in tables["v2"].nearest("artist", "r e m")
    assert tables["v2"].matching("artist", "r_e") == ["r_e_m"]


def test_later_lines_win_and_bad_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("a;1\na;2\nb;c;3\n")
    assert read_ids(path) == {"a": 2, "b;c": 3}
    path.write_text("a;1\nnothing\n")
    with pytest.raises(CheckpointError, match="line 2"):
        read_ids(path)


def test_lyric_window_follows_the_song() -> None:
    tokens = list(range(1, 101))
    assert lyric_window([1, 2], 4, 100, 0, 10) == ([0, 0, 1, 2], -2)
    assert lyric_window(tokens, 10, 1000, 0, 100) == (tokens[:10], 0)
    assert lyric_window(tokens, 10, 1000, 450, 100) == (tokens[45:55], 45)
    assert lyric_window(tokens, 10, 1000, 5000, 100) == (tokens[90:], 90)


def test_total_length_outside_the_range_is_told_in_seconds() -> None:
    sizes = {"level": 2, "n_ctx": 8, "prior_width": 4, "prior_depth": 1, "heads": 1, "blocks": 1, "y_bins": (1, 1)}
    config = PriorConfig(**sizes, min_duration=17.84, max_duration=600.0)  # type: ignore[arg-type]  # checked when made
    check_total(17.84, config)
    for total in (17.83, 600.0):
        with pytest.raises(LabelError, match=r"at least 17.84 and under 600 seconds"):
            check_total(total, config)
