"""The READMEs are true: the front one is short, and commands, options, links, pictures and Python in them work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

import jukebox_kit
from jukebox_kit.cli.app import app
from tests.conftest import TESTS
from tests.tables import TABLES, Table, write

ROOT = TESTS.parent
READMES = sorted(
    p for folder in (".", "jukebox_kit", "configs", "notebooks", "tests") for p in ROOT.glob(f"{folder}/*.md")
)
READMES += sorted(ROOT.glob("jukebox_kit/*/**/README.md"))
FRONT = (ROOT / "README.md").read_text(encoding="utf-8")
EVERY = vars(typer.main.get_command(app))["commands"]
COMMANDS = {name for name, command in EVERY.items() if not command.hidden}
OTHERS = {
    "--extra-index-url",
    "--dist",
    "--help",
    "--version",
    "--check",
    "--nproc-per-node",
}  # those of pip, pytest, ruff and torchrun, and click's own
INNER = "get|check|import|merge|prepare|show"  # commands of `models` and `dataset`
OF_SCRIPTS = {"--quick", "--kills", "--store", "--histories", "--minutes", "--tell"}  # those of the scripts in tests/


def each_readme(test: object) -> object:
    return pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))(test)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def options() -> set[str]:
    """Return every option that some command lists."""
    commands = list(vars(typer.main.get_command(app))["commands"].values())
    commands += [inner for command in commands for inner in vars(command).get("commands", {}).values()]
    return {option for command in commands for parameter in command.params for option in parameter.opts}


def test_the_front_readme_is_short() -> None:
    assert len(FRONT.splitlines()) <= 170
    assert len(FRONT.split()) <= 1350
    assert len(re.findall(r"^\|[-|: ]+\|$", FRONT, re.M)) <= 2


def test_every_room_has_a_readme() -> None:
    table = text_of(ROOT / "jukebox_kit" / "README.md")
    for room in re.findall(r"^\| `(\w+)/`", table, re.M):
        assert (ROOT / "jukebox_kit" / room / "README.md").is_file()


def test_the_readme_of_the_shell_names_every_command_and_no_other() -> None:
    assert set(re.findall(r"^jukebox-kit ([a-z]+)", text_of(ROOT / "jukebox_kit/cli/README.md"), re.M)) == COMMANDS


@each_readme
def test_its_commands_exist(path: Path) -> None:
    assert set(re.findall(r"jukebox-kit ([a-z]+)", text_of(path))) <= set(EVERY)


@each_readme
def test_its_options_exist(path: Path) -> None:
    older = {"--pieces", "--weights", "--batch"}  # still accepted, and named only where it says so
    known = options() | OTHERS | (older if path.name == "CHANGELOG.md" or path.parent.name == "cli" else set())
    known |= OF_SCRIPTS if path.parent.name == "tests" else set()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text_of(path))) <= known


@each_readme
def test_each_command_has_the_options_that_it_is_shown_with(path: Path) -> None:
    text = text_of(path)
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).split("\n")
    lines += re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    commands = vars(typer.main.get_command(app))["commands"]
    for line in lines:
        for name, inner, rest in re.findall(rf"jukebox-kit ([a-z]+) ?({INNER})?([^#]*)", line):
            command = vars(commands[name])["commands"][inner] if inner else commands[name]
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r" (--[a-z][a-z0-9-]+)", rest)) <= known, line


@each_readme
def test_its_links_and_pictures_are_there(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(path)):
        if not target.startswith(("https://", "#")):
            assert (path.parent / target.split("#")[0]).exists(), target


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = FRONT.split("```python\n", 1)[1].split("```", 1)[0]
    exec(compile(block, "README", "exec"), {})
    assert (tmp_path / "songs" / "second" / "level_0" / "item_1.wav").exists()
    assert (tmp_path / "waltz.flac").exists()


def test_the_two_set_up_commands_are_the_first_blocks() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", FRONT, re.DOTALL)
    assert blocks[0].startswith("python3 -m venv")
    assert blocks[0].count("\n") == blocks[1].count("\n") == 1
    assert "pytest" in blocks[1]


@pytest.mark.parametrize(
    "room", re.findall(r"^\| `(\w+)/` \| (.*?) \|$", text_of(ROOT / "jukebox_kit/README.md"), re.M)
)
def test_a_room_says_the_same_of_itself_everywhere(room: tuple[str, str]) -> None:
    name, line = room
    docstring = text_of(ROOT / "jukebox_kit" / name / "__init__.py").split('"""', 2)[1].split("\n")[0]
    assert docstring == line
    front = next(found for found in FRONT.splitlines() if found.startswith(f"- `{name}/`: ")).split(": ", 1)[1]
    assert line.lower().startswith(front.lower().rstrip("."))


def test_what_the_package_offers_can_be_imported() -> None:
    offered = dir(jukebox_kit)
    assert {"Song", "Model", "sample", "generate"} <= set(offered)
    assert all(hasattr(jukebox_kit, name) for name in offered)


def test_each_measured_table_has_its_place_and_its_command() -> None:
    blocks = [
        b for path in READMES for b in re.findall(r"<!-- table (\S+) -->\n(.*?)<!-- end -->", text_of(path), re.S)
    ]
    assert sorted(name for name, _ in blocks) == sorted(table.name for table in TABLES)
    for name, block in blocks:
        (command,) = (table.command for table in TABLES if table.name == name)
        assert re.search(rf"^\*`{re.escape(command)}`, \d{{4}}-\d\d-\d\d, at \w{{7,}}, on .*\*$", block, re.M), name


def test_a_table_is_written_in_its_place(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table t -->\nold\n<!-- end -->\nafter\n")
    table = Table("t", str(readme), "jukebox-kit doctor", lambda _: [])
    write(table, [["a", "b"], ["1", "2"]], "*when*")
    lines = readme.read_text().splitlines()
    assert lines[1:5] == ["<!-- table t -->", "| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert (lines[0], lines[5:]) == ("before", ["", "*when*", "<!-- end -->", "after"])
    with pytest.raises(SystemExit, match="needs one"):
        write(Table("other", str(readme), "", lambda _: []), [["a"]], "")
