"""jukebox_kit/README.md is true: its rooms, which may import which, what each offers; and the size of files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukebox_kit.song import files
from tests.conftest import TESTS

ROOT = TESTS.parent
PACKAGE = ROOT / "jukebox_kit"
SOURCES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def rooms() -> dict[str, int]:
    """Return each room of the table in jukebox_kit/README.md with its row, counted from the top."""
    table = (PACKAGE / "README.md").read_text(encoding="utf-8").split("## Rooms", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name: row for row, cell in enumerate(rows) for name in re.findall(r"`([\w./]+)`", cell)}


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """Return the room of a dotted name as the table writes it, such as `song/` or `errors.py`."""
    first = module.split(".")[1]
    return f"{first}/" if (PACKAGE / first).is_dir() else f"{first}.py"


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted module names inside this package that a file imports, in whichever form."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jukebox_kit":
            if node.module == "jukebox_kit":
                yield from (f"jukebox_kit.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("jukebox_kit."))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def in_a_room(path: Path) -> bool:
    return path.parent != PACKAGE or path.name not in ("__init__.py", "__main__.py")  # those only offer the rooms


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_imports_point_down(path: Path) -> None:
    if not in_a_room(path):
        return
    own = room_of(module_name(path))
    for name in imports(parsed(path)):
        other = room_of(name)
        assert other == own or rooms()[other] > rooms()[own], f"{own} may not import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_other_rooms_are_imported_by_their_surface(path: Path) -> None:
    if not in_a_room(path):
        return
    for name in imports(parsed(path)):
        folder = PACKAGE.joinpath(*name.split(".")[1:])
        if room_of(name) != room_of(module_name(path)):
            assert room_of(name).endswith(".py") or folder.is_dir(), f"{name} is a file inside a room"


def test_the_rules_see_every_form_of_import() -> None:
    text = "import jukebox_kit.song.song\nfrom jukebox_kit import steps\nfrom jukebox_kit.engine import Model"
    assert list(imports(ast.parse(text))) == ["jukebox_kit.song.song", "jukebox_kit.steps", "jukebox_kit.engine"]


def test_the_table_names_every_room_and_no_other() -> None:
    assert set(rooms()) == {room_of(module_name(path)) for path in SOURCES if in_a_room(path)}


@pytest.mark.parametrize("stub", sorted(PACKAGE.rglob("__init__.pyi")), ids=lambda path: path.parent.name)
def test_rooms_offer_what_their_files_define(stub: Path) -> None:
    for node in parsed(stub).body:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        source = stub.parent.joinpath(*str(node.module).split("."))
        text = (source.with_suffix(".py") if source.with_suffix(".py").exists() else source / "__init__.pyi").read_text(
            encoding="utf-8"
        )
        for alias in node.names:
            assert re.search(rf"^(class|def) {alias.name}\b|^{alias.name}\b.* =|as {alias.name}\b", text, re.M), (
                alias.name
            )


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_files_are_of_one_idea_and_functions_can_be_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 310
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.parent.name != "cli":
            assert (node.end_lineno or 0) - node.lineno < 50, f"{node.name} is long"


def test_the_library_does_not_print() -> None:
    for path in SOURCES:
        calls = [n for n in ast.walk(parsed(path)) if isinstance(n, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), path.name


FOLDERS = {files.VERSIONS, files.EXPORTS, files.SEGMENTS, files.SHARDS}  # also plain words: names only within a path
NAMES = {files.SONG, files.PAGE, files.SPECTROGRAM, files.PROMPT, files.LOCK, files.SHARD_CODES, files.SHARD_FACTS}


def paths(tree: ast.Module) -> Iterator[str]:
    """Yield the string constants that may be paths, {} standing for what an f-string puts in; no docstrings."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
            text = f"/{node.right.value!s}"
        else:
            continue
        if " " not in text:
            yield text


def spells_a_name(text: str) -> bool:
    """Return whether a path names a file or folder of a song."""
    parts = text.split("/")
    return (
        not NAMES.isdisjoint(parts)
        or text.startswith(files.LEASE_PREFIX)
        or (len(parts) > 1 and not FOLDERS.isdisjoint(parts))
        or re.search(r"level_(\d|\{\})(/item_\{\}\.|/codes\.|/alignment\.|_rows_)", text) is not None
    )


NOT_SONGS = PACKAGE / "model"  # knows of no songs; its folders of checkpoints have a lock of their own


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path != PACKAGE / "song" / "files.py" and not path.is_relative_to(NOT_SONGS)],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_names_of_files_in_a_song_are_spelled_in_one_place(path: Path) -> None:
    assert [text for text in paths(parsed(path)) if spells_a_name(text)] == []


@pytest.mark.parametrize(
    "source", ['root / "shares"', 'f"{root}/song.json"', '"index.html"', 'f"level_{n}/item_{m}.png"', '".lease-a"']
)
def test_a_spelled_name_is_seen(source: str) -> None:
    assert any(spells_a_name(text) for text in paths(ast.parse(f"x = {source}")))
