"""Songs saved in format 1 open, show what they showed, and are continued to the codes they would have come to.

See songs_before/README.md. The table here is written apart from `jukebox_kit.song.format_1`, which it checks.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.model import DOWNWARD
from jukebox_kit.song import edits
from jukebox_kit.song.history import Event
from jukebox_kit.song.lyrics.alignment import read_alignments
from jukebox_kit.song.page.page import page_of
from jukebox_kit.song.song import Song
from jukebox_kit.song.version_tree import tree, tree_text
from jukebox_kit.song.versions import version_names
from tests.conftest import TESTS, shell

FOLDER = TESTS / "songs_before"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
SONGS: dict[str, dict[str, Any]] = EXPECTED["songs"]

# What was written, what is shown now, and the kind.
WORDINGS = (
    (r"created", "created", "created"),
    (r"made from (.*)", r"created from \1", "created_from"),
    (r"extended by (.*) seconds", r"extended by \1 seconds", "extended"),
    (r"trimmed to (.*) seconds", r"trimmed to \1 seconds", "trimmed"),
    (r"chose item (.*)", r"chose item \1", "item_chosen"),
    (r"other variations, seed (.*)", r"new variations, seed \1", "varied"),
    (r"undo: back to version (.*)", r"undo: back to version \1", "undone"),
    (r"redo: back to version (.*)", r"redo: back to version \1", "redone"),
    (r"visit: back to version (.*)", r"visit: back to version \1", "visited"),
    (
        r"level 0 is to be made with pieces (.*), level 1 with pieces (.*)",
        r"chunks set to \1 for level 0 and \2 for level 1",
        "chunks_set",
    ),
    (r"level (.) is made in (.*) pieces", r"level \1 started in \2 chunks", "started_in_chunks"),
    (
        r"level (.) goes on at token (\d+) on something else",
        r"level \1 resumed at token \2 on different hardware or settings",
        "resumed_elsewhere",
    ),
    (
        r"level (.): rows (\d+) to (\d+): goes on on something else",
        r"level \1, rows \2-\3 resumed on different hardware or settings",
        "resumed_elsewhere",
    ),
    (
        r"level (.): rows (\d+) to (\d+): tokens came out differently when replayed",
        r"level \1, rows \2-\3: tokens came out differently when replayed",
        "replay_mismatch",
    ),
    (
        r"level (.): tokens came out differently when replayed",
        r"level \1: tokens came out differently when replayed",
        "replay_mismatch",
    ),
    (
        r"level (.): rows (\d+) to (\d+): out of memory, (\d+) items at once were halved",
        r"level \1, rows \2-\3: out of memory with \4 items in a batch, which was halved",
        "out_of_memory",
    ),
    (
        r"level (.): out of memory, (\d+) items at once were halved",
        r"level \1: out of memory with \2 items in a batch, which was halved",
        "out_of_memory",
    ),
    (
        r"level (.): out of memory, (\d+) pieces at once were halved",
        r"level \1: out of memory with \2 chunks in a batch, which was halved",
        "out_of_memory",
    ),
    (
        r"level (.): rows (\d+) to \2 were made by themselves",
        r"level \1, row \2 was sampled by a separate worker",
        "shard_merged",
    ),
    (
        r"level (.): rows (\d+) to (\d+) were made by themselves",
        r"level \1, rows \2-\3 were sampled by a separate worker",
        "shard_merged",
    ),
)


def now_worded(sentence: str) -> tuple[str, str]:
    """Return the sentence that an old one is shown as now, and the kind of event."""
    for old, new, kind in WORDINGS:
        matched = re.fullmatch(old, sentence)
        if matched:
            return matched.expand(new), kind
    raise AssertionError(sentence)


def now_labelled(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes of a tree with their labels as they are worded now."""
    return [{**node, "label": now_worded(node["label"])[0]} for node in nodes]


def digest(values: Any) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def codes_of(song: Song) -> dict[str, Any]:
    """Return what each level holds, as expected.json does."""
    levels: dict[str, Any] = {}
    for level in DOWNWARD:
        held = song.level(level)
        levels[f"level_{level}"] = {
            "sha256": digest(song.codes(level)),
            "shape": list(held.codes.shape),
            "given": list(held.given),
            "done": list(held.done),
            "joins": [[join.begin, join.cut, join.end] for join in held.joins],
            "others_sha256": None if held.others is None else digest(held.others),
        }
    return levels


def with_old_names(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request as JSON holds it, with the names that its fields had."""
    values: dict[str, Any] = json.loads(json.dumps(request))
    assert values.pop("lora_scale") == 1.0  # which requests did not have
    return {"pieces" if name == "chunks" else name: value for name, value in values.items()}


def as_it_was(event: Event) -> dict[str, Any]:
    """Return the facts that an old line had beside its sentence."""
    return {"tokens_of_pieces" if name == "tokens_of_chunks" else name: v for name, v in event.details.items()}


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep journals out of the home folder, and spare the songs their pictures, which would take most of the time."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    for name in ("strip_png", "spectrogram_png"):
        monkeypatch.setattr(f"jukebox_kit.song.render.{name}", lambda *_: b"")


def opened(name: str, place: Path) -> Song:
    """Return a copy of a song; it has the name that it had when expected.json was written."""
    folder = place / Path(name).name
    shutil.copytree(FOLDER / name, folder)
    return Song.open(folder)


@pytest.mark.parametrize("name", SONGS)
def test_old_songs_show_what_they_showed(name: str, tmp_path: Path) -> None:
    before, song = SONGS[name]["before"], opened(name, tmp_path)
    manifest, page = song.manifest, page_of(song.state)
    assert with_old_names(asdict(song.request)) == before["request"]
    assert [(event.sentence, event.kind) for event in manifest.history] == [*map(now_worded, before["history"])]
    assert [as_it_was(event) for event in manifest.history] == before["facts"]
    assert codes_of(song) == before["codes"]
    assert (list(manifest.undo), list(manifest.redo)) == (before["undo"], before["redo"])
    assert manifest.settling == before["settling"]
    assert manifest.came_from == before["came_from"]
    assert list(version_names(song.state)) == before["versions"]
    assert json.loads(json.dumps([asdict(node) for node in tree(song.state)])) == now_labelled(before["tree_json"])
    assert {str(i): digest(found.weights) for i, found in read_alignments(song.state)} == before["alignments"]
    assert [when for when, _ in page.history] == [when for when, _ in before["page"]["history"]]
    assert [[s.audio, s.seconds] for item in page.items for s in item.sounds] == before["page"]["sounds"]
    assert page.recipe is not None
    assert page.recipe.shell == before["again"]["shell"].replace("--pieces", "--chunks")
    assert page.recipe.python == before["again"]["python"].replace("pieces=", "chunks=")
    assert len(page.recipe.remarks) == len(before["again"]["words"])


@pytest.mark.parametrize(("name", "turn"), [(name, turn) for name, song in SONGS.items() for turn in song["turns"]])
def test_old_versions_are_gone_to(name: str, turn: str, tmp_path: Path) -> None:
    expected, song = SONGS[name]["turns"][turn], opened(name, tmp_path)
    turns: dict[str, Callable[[Song], Song]] = {"undo": edits.undo, "redo": edits.redo}
    command, *version = turn.split()
    edits.visit(song, *version) if version else turns[command](song)
    song = Song.open(song.root)
    assert codes_of(song) == expected["codes"]
    assert with_old_names(asdict(song.request)) == expected["request"]
    assert (list(song.manifest.undo), list(song.manifest.redo)) == (expected["undo"], expected["redo"])
    lines = expected["tree"].splitlines()[:-1]
    for line, now in zip(lines, tree_text(tree(song.state)).splitlines(), strict=True):
        mark, label, levels = re.fullmatch(r"([ *]+\w+  )(.*)(, [\d.]+ s  level_2.*)", line).groups()  # type: ignore[union-attr]
        assert now == mark + now_worded(label)[0] + levels
    assert json.loads((song.root / "song.json").read_bytes())["format"] == 2


@pytest.mark.parametrize("name", [name for name in SONGS if name != "album/second"])  # the album comes to that one
def test_old_songs_are_continued_to_the_same_codes(name: str, tmp_path: Path, demo: Model) -> None:
    after, song = SONGS[name]["after"], opened(name, tmp_path)
    song = Song.open(jk.sample(song, model=demo).root)
    assert codes_of(song) == after["codes"]
    assert song.manifest.sounds == after["sounds"]
    before = len(SONGS[name]["before"]["history"])
    # On another CPU, or with another torch, each level that was started is resumed elsewhere.
    resumed = [event for event in song.manifest.history[before:] if event.kind != "resumed_elsewhere"]
    history = [now_worded(line) for line in after["history"]]
    assert [(event.sentence, event.kind) for event in song.manifest.history[:before]] == history[:before]
    assert [(event.sentence, event.kind) for event in resumed] == history[before:]
    assert (list(song.manifest.undo), list(song.manifest.redo)) == (after["undo"], after["redo"])


def test_shards_of_an_old_song_are_merged_rather_than_sampled_again(tmp_path: Path, demo: Model) -> None:
    song = opened("shared", tmp_path)
    assert len(list((song.root / "shares").iterdir())) == 2
    seen = list[int]()
    jk.level_0(song, demo, jk.RunSettings(progress=lambda progress: seen.append(progress.sampled_before)))
    assert min(seen) > 0.5 * song.codes(0).size
    # On another CPU, or with another torch, the level is then resumed elsewhere.
    kinds = [event.kind for event in song.manifest.history if event.kind != "resumed_elsewhere"]
    assert kinds[-2:] == ["shard_merged"] * 2
    assert not (song.root / "shares").exists()


def test_an_old_album_comes_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER / "album", tmp_path / "album")
    monkeypatch.chdir(tmp_path / "album")
    assert shell(monkeypatch, "album", "album.yaml", "--device", "cpu") == 0
    songs = json.loads(Path("album.json").read_text(encoding="utf-8"))["songs"]
    assert {song["name"]: song["end"] for song in songs} == EXPECTED["album"]["ends"]
    assert {name: codes_of(Song.open(name)) for name in ("first", "second")} == EXPECTED["album"]["codes"]
