"""One reader for every YAML file: each kind of fault, in each kind of file, is one sentence with its line."""

from __future__ import annotations

import ast
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_kit._yaml import read_yaml, write_yaml
from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.jobs.album.album import load_album
from jukebox_kit.model.weights.definition import load_definition, model_source
from jukebox_kit.model.weights.download.release import FACTS, load_release
from jukebox_kit.song.export import export_audio
from jukebox_kit.song.interop.exporting import export_2020
from jukebox_kit.song.interop.finding import find_sources
from jukebox_kit.song.interop.webui import read_project
from jukebox_kit.song.lyrics.reading import read_lyrics
from jukebox_kit.song.presets import Preset, load_preset, save_preset
from jukebox_kit.song.song import Song
from jukebox_kit.training.recipe import load_training
from tests.conftest import TESTS, TINY
from tests.old import OLD_FORMATS, one, write_mini

PACKAGE = TESTS.parent / "jukebox_kit"


def load_project(path: Path) -> Any:
    """Read a web UI project's settings, through one of its nodes."""
    shutil.copy(OLD_FORMATS / "webui" / "blue-moon-1.z", path.with_name(f"{path.stem}-1.z"))
    sources, _ = find_sources(path.with_name(f"{path.stem}-1.z"))
    project = read_project(sources[0])
    if project.failed:
        raise (RequestError if "cannot be read" in project.failed[0] else ConfigurationError)(project.failed[0])
    return [(song.labels, song.parent) for song in project.songs]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: its reader, a faultless one, and a setting of it that is text and not in that one."""

    load: Callable[[Path], Any]
    good: str
    text: str


RECIPE = """\
model: demo
seed: 010
corpus: {songs: 8, held_out: 2}
vqvae: {steps: 4, batch: 2, samples: 2048, learning_rate: 1e-3, warm_up: 2}
level_2: &prior {steps: 3, batch: 2, learning_rate: 0.001, warm_up: 1}
level_1: *prior
level_0: {<<: *prior, steps: 5}
out: here
"""

KINDS = {
    "album": Kind(load_album, "songs:\n  - {artist: glass bells, seconds: 1e1, seed: 010}\n", "about"),
    "preset": Kind(load_preset, "request: {artist: glass bells, seconds: 1e1, seed: 010}\n", "about"),
    "definition": Kind(load_definition, TINY.replace("about: recipe weights, for tests\n", ""), "about"),
    "recipe": Kind(load_training, RECIPE.replace("out: here\n", ""), "out"),
    "project": Kind(load_project, "genre: jazz\ntemperature: 1\nlast_opened: 2020-02-30\n", "artist"),
}

FAULTS: dict[str, tuple[str | bytes, str]] = {
    "an impossible date": ("2020-02-30", "must be text, not '2020-02-30'; put it into quotes."),
    "a date": ("2020-02-01", "must be text, not '2020-02-01'; put it into quotes."),
    "No": ("No", "must be text, not false; put it into quotes."),
    "a number": ("311", "must be text, not 311; put it into quotes."),
    "a list": ("[1]", r"must be text, not \[1\]."),
    "a mapping": ("{a: 1}", "must be text, not a mapping."),
    "half a character": (r'"\ud800"', "must be text, not"),
    "a wrong tag": ("!!int x", "must be text, not 'x'"),
    "an unknown tag": ("!!python/object:os.system x", "the tag !!python/object:os.system is not supported"),
    "deep nesting": ("[" * 60 + "]" * 60, "nested too deeply."),
    "very deep nesting": ("{a: " * 5000, "nested too deeply."),
    "an alias within itself": ("&a [*a]", "an alias makes this contain itself"),
    "an alias within itself, deeper": ("&a {b: {c: *a}}", "an alias makes this contain itself"),
    "an undefined alias": ("*nowhere", "this is not YAML: found undefined alias 'nowhere'"),
    "an open list": ("[", "this is not YAML: while parsing a flow"),
    "a control character": ("'\x07'", r"YAML does not allow the character '\\x07'"),
    "bytes that are not UTF-8": (b"\xff", "the file is not valid UTF-8; save it as UTF-8."),
    "twice": ("x\n{name}: y", "duplicate key {name} .first on line {line}.; remove one."),
    "twice, once in quotes": ("x\n'{name}': y", "duplicate key {name} .first on line {line}.; remove one."),
    "a tab": ("x\n\ty: 1", "this is not YAML"),
    "a second document": ("x\n---\na: b", "expected a single document"),
    "a merge of nothing": ("x\n<<: 3", "<< takes a mapping, or a list of mappings."),
}


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("kind", list(KINDS))
def test_each_fault_is_reported_at_its_line(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, line = KINDS[kind].text, KINDS[kind].good.count("\n") + 1
    value, said = FAULTS[fault]
    values = {"{name}": name, "{line}": str(line)}
    for place, word in values.items():
        value, said = value.replace(place, word) if isinstance(value, str) else value, said.replace(place, word)
    content = value.encode() if isinstance(value, str) else value
    path = tmp_path / "file.yaml"
    path.write_bytes(KINDS[kind].good.encode() + f"{name}: ".encode() + content + b"\n")
    where = line + (b"\n" in content or fault == "an open list")  # an open list is reported where its end is missing
    with pytest.raises(ConfigurationError, match=rf"(?s)line {where}: .*{said}"):
        KINDS[kind].load(path)


@pytest.mark.parametrize("setting", ["311: x", "true: x", "null: x", "? [a, b]\n: x", "2020-02-30: x", "artsit: x"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_unknown_settings_are_reported_unless_the_file_is_another_program_s(
    kind: str, setting: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(KINDS[kind].good + setting + "\n")
    if kind == "project":
        assert KINDS[kind].load(path)
        return
    line = KINDS[kind].good.count("\n") + 1
    with pytest.raises(ConfigurationError, match=rf"line {line}: unknown setting .*(known are|did you mean) "):
        KINDS[kind].load(path)


WHOLE = {
    "an empty file": (b"", "(must contain a mapping, not nothing|the file is empty)"),
    "a comment alone": (b"# nothing\n", "(must contain a mapping, not nothing|the file is empty)"),
    "a list": (b"- a\n", "must (contain|be) a mapping, not"),
    "text": (b"\nsome words\n", "line 2: .* must (contain|be) a mapping, not 'some words'"),
    "UTF-16": ("about: x".encode("utf-16"), "line 1: the file is not valid UTF-8"),
    "zeros": (b"a: b\n" + bytes(9), "line 2: YAML does not allow"),
    "an archive": (b"PK\x03\x04\x14\x00", "line 1: YAML does not allow"),
}


@pytest.mark.parametrize("content", list(WHOLE))
@pytest.mark.parametrize("kind", list(KINDS))
def test_files_that_hold_something_else_are_refused(kind: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(WHOLE[content][0])
    if kind in ("preset", "project") and content in ("an empty file", "a comment alone"):
        assert KINDS[kind].load(path)  # nothing is set
        return
    with pytest.raises(ConfigurationError, match=WHOLE[content][1]):
        KINDS[kind].load(path)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_folder_in_a_file_s_place_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").mkdir()
    with pytest.raises(RequestError, match=r"file\.yaml cannot be read \(Is a directory\); give a YAML file\."):
        KINDS[kind].load(tmp_path / "file.yaml")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "project"])
def test_a_file_that_does_not_exist_is_one_sentence(kind: str, tmp_path: Path) -> None:
    for name in ("none.yaml", f"{'x' * 300}.yaml", "a\0b.yaml"):
        with pytest.raises(RequestError, match=r"there is no|cannot be read"):
            KINDS[kind].load(tmp_path / name)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_byte_order_mark_and_any_line_ends_are_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, read = tmp_path / "file.yaml", list[Any]()
    text = KINDS[kind].good + f"{KINDS[kind].text}: words\n"
    for content in (text, "\ufeff" + text.replace("\n", "\r\n"), text.replace("\n", "\r")):
        path.write_bytes(content.encode())
        read.append(KINDS[kind].load(path))
    assert read[0] == read[1] == read[2]


def test_numbers_are_decimal_and_may_have_an_exponent(tmp_path: Path) -> None:
    for kind in ("album", "preset", "recipe"):
        (tmp_path / f"{kind}.yaml").write_text(KINDS[kind].good + f"{KINDS[kind].text}: x\n")
    (song,) = load_album(tmp_path / "album.yaml").songs
    assert (song.request.seed, song.request.seconds) == (10, 10.0)
    assert load_preset(tmp_path / "preset.yaml").request == {"artist": "glass bells", "seconds": 10.0, "seed": 10}
    recipe = load_training(tmp_path / "recipe.yaml")
    assert (recipe.seed, recipe.vqvae.learning_rate, recipe.priors[0].settings.steps) == (10, 0.001, 5)
    (tmp_path / "a.yaml").write_text(
        "[010, 1e3, 1.5E-1, 0x1F, 0o17, 0b11, 1_000, .5, 5., -08, 1:30, 1e, e1, 0o9]".join(("a: ", "\n"))
    )
    numbers = [10, 1000.0, 0.15, 31, 15, 3, 1000, 0.5, 5.0, -8]
    assert read_yaml(tmp_path / "a.yaml")["a"] == [*numbers, "1:30", "1e", "e1", "0o9"]


@given(words=st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(r"[-+0-9.eEoxb_:]{1,8}", fullmatch=True))
def test_text_is_read_as_it_was_written(words: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "words.yaml"
    path.write_bytes(write_yaml({"words": words, "list": [words, 1, 2.5, None, True]}))
    assert read_yaml(path) == {"words": words, "list": [words, 1, 2.5, None, True]}


@pytest.mark.parametrize("artist", ["No", "311", "010", "1e1", "1:30", "2020-02-30", "~", "null", "", "a\r\nb\x85c"])
def test_a_saved_preset_is_the_same_preset(tmp_path: Path, artist: str) -> None:
    preset = Preset("mine", artist, {"artist": artist, "lyrics": f"{artist}\n", "chunks": (1, 2)}, {"save_every": 1e-5})
    assert load_preset(save_preset(preset, tmp_path)) == preset


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request:\n  artist: x\n  seconds: -1\n", "line 3: request: seconds must be above 0"),
        ("request:\n  top_k: 3\n  top_p: 0.5\n", "line [23]: request: top-k cannot be combined with top-p"),
        ("request:\n\n  model: dem\n  temperature: 1\n", "line 3: request: there is no model dem; did you mean demo"),
        ("options:\n  batch: 2\n  batch_size: 2\n", "line 3: options: batch_size and another name of it are both set"),
        ("options:\n  save_every: 0\n", "line 2: options: save_every must be above 0, not 0."),
        ("options:\n  batch: 2.5\n", "line 2: options: batch must be a whole number, not 2.5."),
    ],
)
def test_what_a_preset_may_not_set_is_reported_at_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "line.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load_preset(tmp_path / "line.yaml")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("  level_1: {", "  level_1: 3\n  x: {", "line 12: parts: level_1 must be a mapping, not 3."),
        (
            "{artists: artists.txt, ",
            "{artists: 3, ",
            "line 7: labels v3: artists must be text, not 3; put it into quotes",
        ),
        ("  v3:", "  v4:", "line 7: labels: unknown setting v4; known are v2, v3."),
        ("{sr: ", "{file: [1], sr: ", r"line 9: vqvae: file must be text, not \[1\]."),
        ("parts:", "base: tiny\nparts:", "line 8: base must be one of 1b_lyrics, .*, not tiny."),
        ("parts:", "base: ../x\nparts:", "line 8: base must be one of 1b_lyrics, .*, not ../x."),
        ("{total_seconds: 4}", "{total_seconds: .inf}", "line 5: sampling: total_seconds must be a number, not inf."),
        ("{total_seconds: 4}", "[4]", r"line 5: sampling must be a mapping, not \[4\]."),
    ],
)
def test_what_a_definition_may_not_say_is_reported_at_its_line(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    assert before in TINY
    (tmp_path / "own.yaml").write_text(TINY.replace(before, after, 1))
    with pytest.raises(ConfigurationError, match=said) as raised:
        load_definition(tmp_path / "own.yaml")
    assert raised.value.field == "model"


def test_the_facts_of_the_release_are_read_by_the_same_rules(tmp_path: Path) -> None:
    text = FACTS.read_text()
    for before, after, said in (
        ("mirrors:", "mirrors: 3\nmirror:", "mirrors must be a list of mappings, not 3"),
        ("hub:", "hub: 3\nhubs:", "hub must be text, not 3; put it into quotes"),
    ):
        assert before in text
        (tmp_path / "facts.yaml").write_text(text.replace(before, after, 1))
        with pytest.raises(ConfigurationError, match=rf"facts\.yaml, line \d+: {said}"):
            load_release(tmp_path / "facts.yaml")


def test_parents_of_a_project_are_read_as_they_are_written(tmp_path: Path) -> None:
    """A node may be called 010, No or 2001-10-3, which are not text to YAML."""
    for name in ("010", "No", "2001-10-3", "child"):
        shutil.copy(OLD_FORMATS / "webui" / "blue-moon-1.z", tmp_path / f"tune-{name}.z")
    (tmp_path / "tune.yaml").write_text("")
    (tmp_path / "tune-parents.yaml").write_text("010: null\nNo: 010\n2001-10-3: No\nchild: 2001-10-3\n")
    sources, _ = find_sources(tmp_path)
    parents = {song.name: song.parent for song in read_project(sources[0]).songs}
    assert parents == {
        "tune-010": None,
        "tune-No": "tune-010",
        "tune-2001-10-3": "tune-No",
        "tune-child": "tune-2001-10-3",
    }
    (tmp_path / "tune-parents.yaml").write_text("No: [1]\n")
    (failed,) = read_project(sources[0]).failed
    assert "tune-parents.yaml, line 1: No must be text, not ['1']" in failed


def test_a_leading_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny.parent, home / "models")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert load_definition("~/models/tiny.yaml").folder == home / "models"
    assert model_source("~/models/tiny.yaml") == str(home / "models" / "tiny.yaml")
    (home / "words.txt").write_text("la")
    (home / "album.yaml").write_text(
        "folder: ~/songs\nsongs: [{model: ~/models/tiny.yaml, lyrics_file: ~/words.txt, seconds: 2}]\n"
    )
    album = load_album(Path("~/album.yaml"))
    assert (album.path, album.folder) == (home / "album.yaml", home / "songs")
    request = album.songs[0].request
    assert (request.model, request.lyrics) == (str(home / "models" / "tiny.yaml"), "la")
    (home / "run.yaml").write_text(RECIPE.replace("out: here", "out: ~/trained"))
    assert load_training(Path("~/run.yaml")).out == home / "trained"
    assert (
        save_preset(Preset("mine", "", {"model": "~/models/tiny.yaml"}), Path("~/presets")).parent == home / "presets"
    )
    assert load_preset(Path("~/presets/mine.yaml")).request == {"model": "~/models/tiny.yaml"}
    song = Song.create("~/song", model="~/models/tiny.yaml", seconds=2)
    assert song.root == home / "song"
    assert Song.open("~/song").request == song.request
    shutil.copy(OLD_FORMATS / "webui" / "blue-moon-1.z", home / "blue-1.z")
    (home / "mini").mkdir(exist_ok=True)
    old = one(Path("~/blue-1.z"), Path("~/old-song"), write_mini(home / "mini"))
    assert old.root == home / "old-song"
    assert all(path.parent == home / "out" for path in export_audio(old, "~/out").paths)
    export_2020(old, Path("~/run"))
    assert (home / "run").is_dir()
    assert read_lyrics(Path("~/words.txt")) == "la"
    assert not (tmp_path / "~").exists()


def test_yaml_is_read_and_written_by_one_module() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if path.name != "_yaml.py":
            assert not [call for call in calls if ast.unparse(call).startswith("yaml.")], path
