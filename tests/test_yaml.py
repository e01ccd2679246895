"""Every YAML file goes through one reader: faults come in one sentence with their line, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from jukebox_kit._yaml import read_yaml, write_yaml
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.jobs.album.album import load_album
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.model.weights.download.release import load_release
from jukebox_kit.song import Song
from jukebox_kit.song.presets import Preset, load_preset, save_preset
from jukebox_kit.training.recipe import load_training

READERS: dict[str, Callable[[Path], Any]] = {
    "album": load_album,
    "preset": load_preset,
    "model": load_definition,
    "recipe": load_training,
    "release": load_release,
    "plain": read_yaml,
}

FAULTS = [
    (b"about: x\nabout: y\n", "line 2: duplicate key about (first on line 1); remove one."),
    (b"about: x\n? [a, b]\n: 1\n", "line 2: "),
    (b"- a\n- b\n", "line 1: "),
    (b"only text\n", "line 1: "),
    (b"about:\n\t- x\n", "line 2: this is not YAML"),
    (b"about: [\n", "this is not YAML"),
    (b"about: x\nname: \xff\n", "line 2: the file is not valid UTF-8; save it as UTF-8."),
    (b"about: a\x07b\n", "line 1: YAML does not allow the character"),
    (b"\x00\x01\x02PK", "line 1: "),
    (b"about: " + b"[" * 20000, "line 1: nested too deeply."),
    (b"about: " + b"{a: " * 3000 + b"1" + b"}" * 3000, "line 1: nested too deeply."),
    (b"about: &a [*a]\n", "line 1: an alias makes this contain itself"),
    (b"about: !!python/object/apply:os.system [ls]\n", "line 1: the tag "),
    (b"about: 2020-02-30\n", "line 1: about must be text, not '2020-02-30'; put it into quotes."),
    (b"about: 2020-02-28\n", "line 1: about must be text, not '2020-02-28'; put it into quotes."),
    (b"about: 311\n", "line 1: about must be text, not 311; put it into quotes."),
    (b"about: No\n", "line 1: about must be text, not false; put it into quotes."),
    (b"abuot: x\n", "line 1: unknown setting abuot"),
]


@pytest.mark.parametrize(("content", "sentence"), FAULTS, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("kind", ["album", "preset", "model"])
def test_a_fault_is_one_sentence_with_its_line(kind: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(JukeboxKitError) as caught:
        READERS[kind](path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) < 400


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for path in (tmp_path / "folder.yaml", tmp_path / "none.yaml", tmp_path / ("x" * 300 + ".yaml")):
        with pytest.raises(JukeboxKitError, match=r"there is no|cannot be read"):
            READERS[kind](path)


@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "preset"])
def test_an_empty_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text("# nothing\n")
    with pytest.raises(JukeboxKitError, match=r"line 1: "):
        READERS[kind](tmp_path / "file.yaml")


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: 010\nb: 1e1\nc: 0x1F\nd: 1_000\ne: 1:30\nf: .5\ng: -.inf\nh: 0b11\ni: 1e3\nj: +7\nk: 0o7\n")
    assert read_yaml(path) == {
        "a": 10,
        "b": 10.0,
        "c": 31,
        "d": 1000,
        "e": "1:30",
        "f": 0.5,
        "g": float("-inf"),
        "h": 3,
        "i": 1000.0,
        "j": 7,
        "k": 7,
    }


def test_marks_of_other_systems_are_read_over(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes("\ufeffabout: x\r\nrequest: {artist: y}\r\n".encode())
    assert load_preset(path) == Preset("file", "x", {"artist": "y"})


@pytest.mark.parametrize(
    "text", ["No", "311", "010", "1e3", "2020-02-30", "~", "", " x", "a: b", "\u5b87\U0001f3b5", "<<", "="]
)
def test_a_saved_preset_is_read_as_it_was(text: str, tmp_path: Path) -> None:
    preset = Preset(
        "own", text, {"artist": text, "lyrics": f"{text}\n{text}", "temperature": (0.9, 1.0, 0.99)}, {"batch_size": 2}
    )
    assert load_preset(save_preset(preset, tmp_path)) == preset
    path = tmp_path / "values.yaml"
    path.write_bytes(write_yaml({"text": text}))
    assert read_yaml(path) == {"text": text}
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["text"] == text  # other programs read the same


def test_many_aliases_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    path.write_text("\n".join(lines))
    assert read_yaml(path)["a39"]["x"] == 1


def test_a_home_folder_is_found_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "words.txt").write_text("la la")
    (tmp_path / "tiny").symlink_to(tiny.parent)
    (tmp_path / "album.yaml").write_text(
        "folder: ~/songs\nsongs:\n"
        f"- {{model: ~/tiny/{tiny.name}, lyrics_file: ~/words.txt, seconds: 1e0, seed: 010, artist: a, genre: g}}\n"
    )
    album = load_album(Path("~/album.yaml").expanduser())
    assert album.folder == tmp_path / "songs"
    request = album.songs[0].request
    assert (request.lyrics, request.seed, request.seconds) == ("la la", 10, 1.0)
    assert request.model == str(tmp_path / "tiny" / tiny.name)
    song = Song.create("~/made", model=f"~/tiny/{tiny.name}", artist="a", genre="g", seconds=1)
    assert song.root == tmp_path / "made"
    assert Song.open("~/made").request.model == str(tmp_path / "tiny" / tiny.name)
    assert not Path("~").exists()


def test_a_fault_in_one_project_of_the_web_ui_leaves_the_others(tmp_path: Path, tiny: Path) -> None:
    from jukebox_kit.song.interop import ImportOverrides, import_songs

    empty, top = torch.zeros(1, 0), torch.randint(0, 8, (1, 60))
    contents = {
        "fine": "artist: a\ngenre: g\n",
        "date": "artist: a\ngenre: g\nmade: 2020-02-30\n",
        "deep": "artist: " + "[" * 5000,
        "twice": "artist: a\nartist: b\n",
    }
    for name, content in contents.items():
        folder = tmp_path / "old" / name
        folder.mkdir(parents=True)
        torch.save([empty, empty, top], folder / f"{name}-1.z")
        (folder / f"{name}.yaml").write_text(content)
        (folder / f"{name}-parents.yaml").write_text("x: [" if name == "twice" else "2020-02-30: 2020-1-1\n")
    overrides = ImportOverrides(model=str(tiny), artist="a", genre="g", lyrics="", total_seconds=12)
    outcomes = list(import_songs(tmp_path / "old", tmp_path / "new", overrides))
    imported = {outcome.song.root.name for outcome in outcomes if outcome.song}
    assert {"fine-1", "date-1"} <= imported
    failed = "\n".join(str(outcome.failed) for outcome in outcomes if not outcome.song)
    assert "nested too deeply" in failed
    assert "duplicate key artist" in failed
