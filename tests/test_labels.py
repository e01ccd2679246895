"""Labels: lyrics, names, tables, rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jukebox_kit.errors import CheckpointError, LabelError
from jukebox_kit.model.configuration import PriorConfig
from jukebox_kit.model.labels import Tables, check_total, clean_lyrics, lyric_tokens, lyric_window, read_ids
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
