"""Variations, the tree of a song's versions, and going to any of them; on both stores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import jukebox_kit as jk
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song import edits
from jukebox_kit.song.page.tree_svg import tree_svg
from jukebox_kit.song.song import Song
from jukebox_kit.song.version_tree import Node, tree, tree_text
from tests.conftest import shell

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "seconds": 0.4, "items": 2, "seed": 7}
STOOD = int(0.4 * 16000) // 128  # tokens of level 2


def all_codes(song: Song) -> list[Any]:
    return [song.codes(level) for level in LEVELS]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def shape(song: Song) -> list[tuple[str, str | None, str, bool]]:
    """Return what is to be seen in the tree of the song on the disk."""
    return [(n.name, n.parent, n.label, n.is_now) for n in tree(Song.open(song.root).state)]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the songs their spectrograms, which would take half of the time."""
    monkeypatch.setattr("jukebox_kit.song.render.spectrogram_png", lambda *_: b"")


@pytest.fixture(params=["local", "segments"])
def song(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Song:
    """A song of which level 2 is made, on each kind of store."""
    monkeypatch.setenv("JUKEBOX_KIT_STORE", request.param)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))


def test_choose_go_on_vary_and_back(song: Song) -> None:
    """What a person does who composes by ear, and what they then hear."""
    opening = song.codes(2)
    edits.choose(song, 1)
    edits.extend(song, 0.3)
    first = jk.level_2(song).codes(2)
    assert (first[:, :STOOD] == opening[1]).all(), "all items start with the trunk"
    assert not np.array_equal(first[0, STOOD:], first[1, STOOD:])

    edits.vary(song)
    assert song.request.seed == 8
    assert (song.codes(2)[:, :STOOD] == opening[1]).all()
    assert (song.codes(2)[:, STOOD:] == UNSAMPLED).all()
    second = jk.level_2(song).codes(2)
    assert (second[:, :STOOD] == opening[1]).all()
    for item in range(2):
        assert all(not np.array_equal(second[item, STOOD:], other[STOOD:]) for other in first)

    edits.undo(song)
    assert np.array_equal(song.codes(2), first), "undo keeps what was sampled"
    assert song.request.seed == 7
    edits.redo(song)
    assert np.array_equal(song.codes(2), second), "and so does redo"
    edits.vary(song)
    assert song.request.seed == 9, "a seed that was used is not used again"
    edits.undo(song)
    edits.undo(song)
    edits.choose(song, 0)
    edits.extend(song, 0.2)
    last = jk.level_2(song).codes(2)
    assert (last[:, : first.shape[1]] == first[0]).all()
    assert not np.array_equal(last[0], last[1])
    assert [event.sentence for event in song.manifest.history if event.kind == "varied"] == [
        "new variations, seed 8",
        "new variations, seed 9",
    ]


def test_vary_keeps_what_is_given_at_each_level(song: Song) -> None:
    jk.level_1(song)
    edits.trim(song, 0.2)
    jk.sample(song)
    before = all_codes(song)
    edits.vary(song)
    assert np.array_equal(song.codes(2), before[2])
    assert np.array_equal(song.codes(1), before[1])
    assert song.codes(0).max() == UNSAMPLED
    assert not np.array_equal(jk.sample(song).codes(0), before[0])
    edits.undo(song)
    assert same(all_codes(song), before)


def test_nothing_sampled_cannot_be_varied(song: Song, tiny: Path, tmp_path: Path) -> None:
    fresh = Song.create(tmp_path / "fresh", model=tiny, **REQUEST)
    edits.choose(song, 0)
    for one in (fresh, song):
        before = one.manifest
        with pytest.raises(SongError, match="was sampled since the last edit"):
            edits.vary(one)
        assert Song.open(one.root).manifest == before


def test_the_tree_of_a_composition(song: Song) -> None:
    assert shape(song) == [("now", None, "created", True)]
    edits.choose(song, 1)
    edits.extend(song, 0.2)
    jk.level_2(song)
    made = all_codes(song)
    edits.vary(song)
    grown = [
        ("1", None, "created", False),
        ("2", "1", "chose item 1", False),
        ("3", "2", "extended by 0.2 seconds", False),
        ("now", "3", "new variations, seed 8", True),
    ]
    assert shape(song) == grown
    edits.undo(song)  # the present is version 3 again, and not a second node beside it
    grown[2:] = [(*grown[2][:3], True), ("4", *grown[3][1:3], False)]
    assert shape(song) == grown
    edits.redo(song)
    edits.undo(song)
    assert shape(song) == grown, "going to and fro adds nothing"
    edits.choose(song, 0)
    assert shape(song)[2] == ("3", "2", "extended by 0.2 seconds", False)
    assert shape(song)[-1] == ("now", "3", "chose item 0", True)

    edits.visit(song, "2")
    assert next(n for n in tree(song.state) if n.is_now).name == "2"
    with pytest.raises(SongError, match="nothing to redo"):  # as when that version was kept
        edits.redo(song)
    edits.visit(song, "3")
    assert same(all_codes(song), made)


def test_visits_lose_nothing_and_go_on_from_there(song: Song) -> None:
    edits.choose(song, 0)
    edits.extend(song, 0.2)
    jk.level_2(song)
    states = {node.name: None for node in tree(song.state)}
    last = all_codes(song)
    edits.visit(song, "1")
    assert song.manifest.undo == ()
    assert song.request.seconds == 0.4
    names = {node.name for node in tree(song.state)}
    assert names == (set(states) - {"now"}) | {"3"}
    edits.trim(song, 0.2)
    assert shape(song)[-1] == ("now", "1", "trimmed to 0.2 seconds", True)
    edits.undo(song)
    edits.visit(song, "3")
    assert same(all_codes(Song.open(song.root)), last)
    edits.undo(song)
    assert shape(song)[1] == ("2", "1", "chose item 0", True)
    for wrong in ("9", "next", "now", "../song", ""):
        with pytest.raises(SongError, match=r"has no version .*; it has 1, 2, 3"):
            edits.visit(song, wrong)


def test_a_state_that_is_sampled_further_stays_one_node_and_the_furthest_is_gone_to(song: Song) -> None:
    edits.choose(song, 0)
    edits.undo(song)
    jk.level_1(song)  # from here on more than version 1 kept
    assert shape(song) == [("1", None, "created", True), ("2", "1", "chose item 0", False)]
    before = song.codes(1)
    edits.choose(song, 1)
    assert shape(song)[0] == ("3", None, "created", False)
    assert shape(song)[2][1] == "3"
    edits.visit(song, "3")
    assert (song.codes(1) == before).all()


def test_lost_and_damaged_versions_are_left_out(tiny: Path, tmp_path: Path) -> None:
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    for seconds in (0.1, 0.1, 0.1, 0.1):
        edits.extend(song, seconds)
        jk.level_2(song)
    versions = song.root / "versions"
    shutil.rmtree(versions / "4")
    (versions / "3" / "song.json").write_text("{")
    (versions / "2" / "level_1" / "codes.safetensors").unlink()
    (versions / "holiday").mkdir()
    (versions / "holiday" / "song.json").write_text("{}")
    assert shape(song) == [("1", None, "created", False), ("now", "1", "extended by 0.1 seconds", True)]
    before = all_codes(song)
    turns: list[Callable[[], Song]] = [
        lambda: edits.visit(song, "3"),
        lambda: edits.visit(song, "2"),
        lambda: edits.undo(song),
    ]
    for turn in turns:
        with pytest.raises(SongError, match="put back a copy of it"):
            turn()
        assert same(all_codes(Song.open(song.root)), before)
        assert not (versions / "5").exists(), "nothing is written before it is clear that it can be done"
    edits.vary(song)
    assert (versions / "5").exists(), "the name of a version that was lost is not another one's"
    assert Song.open(song.root).manifest.undo[-2:] == ("4", "5")


def nodes(*names: tuple[str, str | None]) -> list[Node]:
    return [
        Node(name, parent, f"did <{name}> & more words than fit a box", 8.0, 3, name == "4", (0.0, 0.5, 1.0))
        for name, parent in names
    ]


def test_the_picture_has_a_box_for_each_node_and_none_over_another() -> None:
    found = tree_svg(nodes(("1", None), ("2", "1"), ("3", "1"), ("4", "2"), ("5", "2"), ("6", "3"), ("7", "1")))
    root = ElementTree.fromstring(found)
    svg = "{http://www.w3.org/2000/svg}"
    groups = root.findall(f"{svg}g")
    assert sorted(str(g.get("data-version")) for g in groups) == ["1", "2", "3", "4", "5", "6", "7"]
    assert [g.get("data-version") for g in groups if g.get("class") == "now"] == ["4"]
    corners = {}
    for group in groups:
        box = group.find(f"{svg}rect")
        assert box is not None
        corners[group.get("data-version")] = (int(box.get("x", "")), int(box.get("y", "")))
        assert int(box.get("x", "")) + int(box.get("width", "")) < int(root.get("width", ""))
        assert int(box.get("y", "")) + int(box.get("height", "")) < int(root.get("height", ""))
        title = group.find(f"{svg}title")
        assert title is not None
        assert f"did <{group.get('data-version')}> & more words than fit a box" in str(title.text)
        assert all(len(str(text.text)) < 30 for text in group.findall(f"{svg}text"))
    assert len(set(corners.values())) == 7
    assert len(root.findall(f"{svg}path")) == 6
    assert corners["4"][0] > corners["2"][0] > corners["1"][0]
    assert "script" not in found
    assert "http" not in found.replace("http://www.w3.org/2000/svg", "")


def test_a_long_tree_is_drawn_and_told() -> None:
    chain = nodes(("0", None), *((str(n), str(n - 1)) for n in range(1, 3000)))
    assert tree_svg(chain).count("<rect") == 3000
    lines = tree_text(chain).splitlines()
    assert len(lines) == 3000
    assert lines[4].startswith(" " * 8 + "* 4  did <4>")


def test_tree_vary_and_visit_in_the_shell(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: object) -> str:
        assert shell(monkeypatch, *arguments) == 0
        return capsys.readouterr().out

    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    assert "new variations, seed 8; level_2   0%" in told("vary", song.root)
    lines = told("tree", song.root).splitlines()
    assert lines[0] == "  1  created, 0.4 s  level_2 100%  level_1   0%  level_0   0%"
    assert lines[1].startswith("  * now  new variations, seed 8, 0.0 s")
    assert lines[2] == f"go to a version with: jukebox-kit visit {song.root} VERSION"
    assert "visit: back to version 1; level_2 100%" in told("visit", song.root, 1)
    found = json.loads(told("tree", song.root, "--json"))
    assert [(n["name"], n["parent"], n["is_now"]) for n in found] == [("1", None, True), ("2", "1", False)]
    assert shell(monkeypatch, "visit", song.root, 7) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "has no version 7; it has 1, 2" in said
