"""What a caller may write is known to an editor and to mypy: no call hides its arguments."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from jukebox_kit.song.request import ChangeFields, ForkFields, Request, RequestFields
from tests.conftest import TESTS

PACKAGE = TESTS.parent / "jukebox_kit"
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(PACKAGE)) for path in SOURCES])
def test_no_call_takes_anything_by_any_name(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
            assert ast.unparse(node.args.kwarg.annotation or ast.Constant(None)) != "Any", node.name


def test_the_fields_of_a_request_are_all_of_them() -> None:
    fields = {field.name for field in dataclasses.fields(Request)}
    assert set(RequestFields.__annotations__) == fields
    assert set(ForkFields.__annotations__) == fields - {"model", "items"}
    assert set(ChangeFields.__annotations__) == fields - {
        *("model", "items", "seconds", "prompt", "prompt_seconds", "lora_scale")
    }


def test_mypy_knows_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TESTS.parent)
    lines = {
        'jk.Song.create("x", artist="a", temperature=0.9, hop_fraction=[0.5, 0.5, 0.125], chunks=2)': "",
        'jk.Song.create("x", artist=3)': "artist",
        'jk.Song.create("x", singer="a")': "singer",
        'jk.generate(lyrics="la", seconds=2)': "",
        "jk.generate(items=2)": "items",
        'extend(jk.Song.open("x"), 2, lyrics="la", genre=1)': "genre",
    }
    path = tmp_path / "calls.py"
    path.write_text("\n".join(["import jukebox_kit as jk", "from jukebox_kit.song import extend", *lines]))
    # In a process of its own, since mypy raises the recursion limit for good.
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    wrong = {int(line.split(":")[1]) - 3: line for line in printed.splitlines() if ": error:" in line}
    assert {number: name for number, name in enumerate(lines.values()) if name}.keys() == wrong.keys(), printed
    assert all(name in wrong[number] for number, name in enumerate(lines.values()) if name), printed
