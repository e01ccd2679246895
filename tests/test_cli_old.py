"""`import` and `export` in the shell: what is printed and asked, exit codes, and that nothing is unpickled bare."""

from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from jukebox_kit import _yaml
from jukebox_kit.song.song import Song
from tests.conftest import TESTS, shell
from tests.old import OLD_FORMATS, OLD_RUN, codes_of, holds, write_mini

PACKAGE = TESTS.parent / "jukebox_kit"
TOP = OLD_FORMATS / "zs-top-level-final.t"


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


def test_import_status_resume_export(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = OLD_FORMATS / "autosave_mid_level.pth.tar", tmp_path / "songs" / "old"
    options = ["--model", mini, "--artist", "a", "--genre", "g", "--seed", 7]
    assert shell(monkeypatch, "import", path, folder, *options) == 0
    assert capsys.readouterr().out == f"{folder}  level_2 264/264  level_1 600/1056  level_0 0/4224\n"
    assert shell(monkeypatch, "status", tmp_path / "songs", "--json") == 0
    levels = json.loads(capsys.readouterr().out)[0]["levels"]
    assert levels["level_2"] == {"done": 264, "total": 264}
    assert levels["level_1"] == {"done": 600, "total": 1056}
    assert shell(monkeypatch, "resume", folder, "--until", "level_1") == 0
    song = Song.open(folder)
    assert song.status()[1].done == 1056
    assert song.request.seed == 7
    assert holds(song, codes_of(path))
    capsys.readouterr()
    assert shell(monkeypatch, "export", folder, tmp_path / "run", "--as", "2020") == 0
    names = ["data.pth.tar", "item_0.wav", "item_1.wav", "item_2.wav"]
    wanted = [f"{tmp_path}/run/level_{level}/{name}" for level in (1, 2) for name in names]
    assert capsys.readouterr().out.splitlines() == wanted


def test_everything_in_one_go_is_1_where_something_failed(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(OLD_FORMATS, tmp_path / "old")
    shutil.copytree(TESTS / "broken", tmp_path / "old" / "broken")
    monkeypatch.chdir(tmp_path)
    options = ["--model", mini, "--artist", "a", "--genre", "g"]
    assert shell(monkeypatch, "import", "old", "songs", *options) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 9
    assert "songs/blue-moon-1-2-1  level_2 264/264  level_1 384/1056  level_0 0/4224" in said.out
    failed = [line for line in said.err.splitlines() if line.startswith("jukebox-kit: ")]
    assert len(failed) == 4
    assert sum("asks for posix.system" in line for line in failed) == 1
    assert not list(tmp_path.rglob("jukebox_kit_was_here"))
    assert b"touch jukebox_kit_was_here" in (tmp_path / "old" / "broken" / "hostile.pth.tar").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["import", TOP, "song"], "does not say which model, artist, genre and lyrics it was made with; pass"),
        (["import", "nowhere", "song"], "there is no file or folder nowhere"),
        (["import", TOP, "song", "--lyrics", "a", "--lyrics-file", "b"], "exclude each other"),
        (["import", TOP, "song", "--model", "2b", "--artist", "a", "--genre", "g"], "there is no model 2b"),
        (["export", "nowhere", "run", "--as", "2020"], "nowhere is not a song folder"),
        (["export", "nowhere", "run", "--as", "2021"], "there is no layout 2021; as takes 2020"),
        (["export", "nowhere", "--as", "2020"], "--as 2020 writes a new folder; name it after the song's folder"),
        (["export", "nowhere", "run"], "pass either --format with an audio format, such as mp3, or --as 2020"),
        (["export", "nowhere", "run", "--as", "2020", "--format", "mp3"], "pass either --format"),
        (["export", "nowhere", "run", "--as", "2020", "--stereo"], "require --format; omit them or --as"),
        (["export", "nowhere", "run", "--as", "2020", "--loudness", "-14"], "require --format; omit them"),
        (["export", "nowhere", "--format", "mp3"], "nowhere is not a song folder"),
        (
            ["export", "nowhere", "--format", "mp3", "--items", "0,x"],
            "--items takes whole numbers, separated by commas",
        ),
        (["export", "nowhere", "--format", "mp3", "--level", "0"], "there is no 0; level takes level_2, level_1"),
    ],
)
def test_bad_requests(
    arguments: list[object],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell(monkeypatch, *arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("jukebox-kit: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_and_the_last_answer_is_offered_again(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / "old").mkdir(exist_ok=True)
        shutil.copy(TOP, tmp_path / "old" / f"{name}.t")
    monkeypatch.setattr("sys.stdin", Terminal(f"{mini}\na\ng\n\nb\n\n"))
    assert shell(monkeypatch, "import", tmp_path / "old", tmp_path / "songs") == 0
    artists = [Song.open(tmp_path / "songs" / name).request.artist for name in ("one", "two")]
    assert artists == ["a", "b"]
    assert "two.t does not say its artist; artist [a]:" in capsys.readouterr().err


def test_lyrics_are_asked_for_as_a_file(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("la la")
    top = tmp_path / "webui" / "blue-1.z"
    top.parent.mkdir()
    empty = torch.zeros(1, 0)
    torch.save([empty, empty, torch.arange(9)[None]], top)
    monkeypatch.setattr("sys.stdin", Terminal(f"pop\n{tmp_path / 'words.txt'}\n"))
    assert shell(monkeypatch, "import", top, tmp_path / "song", "--model", tiny, "--artist", "The Beatles") == 0
    song = Song.open(tmp_path / "song")
    assert (song.request.genre, song.request.lyrics) == ("pop", "la la")


UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}


def name_of(node: ast.expr) -> str:
    """Return a called name with dots."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def safely_composed(node: ast.Call) -> bool:
    """Return whether a call reads YAML nodes with the package's loader, or writes with its dumper, which are safe."""
    classes = [ast.unparse(argument) for argument in node.args[1:]]
    classes += [ast.unparse(setting.value) for setting in node.keywords if setting.arg == "Dumper"]
    assert issubclass(_yaml.Loader, yaml.SafeLoader)
    assert issubclass(_yaml.Dumper, yaml.SafeDumper)
    return (name_of(node.func), classes) in (("yaml.compose", ["Loader"]), ("yaml.dump", ["Dumper"]))


def unsafe_calls(tree: ast.AST) -> list[str]:
    """Return the calls of a module that could run what a file asks for."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE:
            found += [f"{node.module}.{a.name}" for a in node.names]
        if not isinstance(node, ast.Call):
            continue
        name, settings = name_of(node.func), {k.arg: k.value for k in node.keywords}
        root, _, last = name.partition(".")
        safe = settings.get("weights_only")
        numpy_loads = root in ("np", "numpy") and last == "load"
        if (
            root in UNSAFE
            or (
                root in ("torch", "t")
                and last == "load"
                and not (isinstance(safe, ast.Constant) and safe.value is True)
            )
            or (numpy_loads and "allow_pickle" in settings)
            or (root == "yaml" and last not in ("safe_load", "safe_dump", "SafeLoader") and not safely_composed(node))
            or name in ("eval", "exec", "os.system", "torch.hub.load")
            or last.endswith("read_pickle")
            or last.endswith("Unpickler")
        ):
            found.append(ast.unparse(node))
    return found


def test_nothing_is_read_with_a_bare_unpickle() -> None:
    bad = [
        "import pickle\npickle.load(f)",
        "from pickle import loads",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "yaml.compose(f)",
        "yaml.compose(f, yaml.Loader)",
        "pickle.Unpickler(f).load()",
    ]
    assert all(unsafe_calls(ast.parse(source)) for source in bad)
    for path in PACKAGE.rglob("*.py"):
        assert unsafe_calls(ast.parse(path.read_text(encoding="utf-8"))) == [], path


GUARDED = """
import sys
from pathlib import Path
import torch._weights_only_unpickler
from jukebox_kit.engine import Model
from jukebox_kit.song.interop import ImportOverrides, import_songs

def watch(event, arguments):
    if event in ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"):
        raise SystemExit(f"{event} {arguments}")

old, target, mini = map(Path, sys.argv[1:])
Model.load(mini).check_files()
sys.addaudithook(watch)
Model.load(mini).check_files()
done = list(import_songs(old, target, ImportOverrides(str(mini), "a", "g")))
print(sum(o.song is not None for o in done), sum(o.song is None for o in done))
"""


def test_no_file_makes_the_interpreter_unpickle_or_run_anything(mini: Path, tmp_path: Path) -> None:
    """The interpreter itself is asked to report each class that an unpickler looks up, and each process started."""
    shutil.copytree(OLD_FORMATS, tmp_path / "old" / "formats")
    shutil.copytree(OLD_RUN, tmp_path / "old" / "run")
    shutil.copytree(TESTS / "broken", tmp_path / "old" / "broken")
    command = [sys.executable, "-c", GUARDED, str(tmp_path / "old"), str(tmp_path / "songs"), str(mini)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("10 4\n", 0), done.stderr
