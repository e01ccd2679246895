"""README's architecture section is true: which module may import which, and the size of files and functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import TESTS

ROOT = TESTS.parent
PACKAGE = ROOT / "jukebox_kit"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def layers() -> list[list[str]]:
    """Return README's table of modules, top to bottom: a module may import from its own row and from rows below."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Architecture", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [re.findall(r"`([\w./]+)`", row) for row in rows]


def row_of(module: str) -> int:
    """Return the row that a module such as `jukebox_kit/model/prior.py` stands in; folders stand for what they hold."""
    name = module.removeprefix("jukebox_kit/")
    for number, names in enumerate(layers()):
        if any(name == n or (n.endswith("/") and name.startswith(n)) for n in names):
            return number
    raise AssertionError(f"{module} is not in README's architecture section")


def imports(path: Path) -> set[str]:
    """Return the files of this package that a file imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jukebox_kit"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = ROOT / (name.replace(".", "/") + ".py")
            if file.exists():
                found.add(str(file.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(PACKAGE)) for p in SOURCES])
def test_imports_point_down(path: Path) -> None:
    if path.name in ("__init__.py", "__main__.py"):
        return  # they only gather what the package offers
    own = row_of(str(path.relative_to(ROOT)))
    for other in imports(path):
        assert row_of(other) >= own, f"{path.name} may not import {other}"


def test_every_name_in_the_section_exists() -> None:
    for names in layers():
        for name in names:
            assert (PACKAGE / name).exists(), name


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(PACKAGE)) for p in SOURCES])
def test_files_are_of_one_idea_and_functions_can_be_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 310
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and path.name != "cli.py":
            assert (node.end_lineno or 0) - node.lineno < 50, f"{node.name} is long"


def test_the_library_does_not_print() -> None:
    for path in SOURCES:
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), path.name


def test_the_model_package_knows_nothing_of_songs() -> None:
    for path in (PACKAGE / "model").glob("*.py"):
        assert all(other.startswith(("jukebox_kit/model/", "jukebox_kit/errors.py")) for other in imports(path))
