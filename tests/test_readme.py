"""README tells the truth: its Python runs, its commands exist, and it names every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

import jukebox_kit
from jukebox_kit.cli.app import app
from tests.conftest import TESTS

README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
COMMANDS |= {group.name for group in app.registered_groups if group.name}


def test_every_command_is_in_readme_and_every_one_there_exists() -> None:
    assert set(re.findall(r"jukebox-kit ([a-z]+)", README)) == COMMANDS


def test_every_option_in_readme_exists() -> None:
    commands = list(vars(typer.main.get_command(app))["commands"].values())
    commands += [inner for command in commands for inner in vars(command).get("commands", {}).values()]
    known = {option for command in commands for p in command.params for option in p.opts}
    others = {"--extra-index-url", "--dist"}  # pip's and pytest's
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README)) - others - {"--help"} <= known


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = README.split("```python\n", 1)[1].split("```", 1)[0]
    exec(compile(block, "README", "exec"), {})
    assert (tmp_path / "songs" / "second" / "level_0" / "item_1.wav").exists()
    assert (tmp_path / "waltz.flac").exists()


def test_the_two_set_up_commands_are_the_first_blocks() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert blocks[0].startswith("python3 -m venv")
    assert blocks[0].count("\n") == blocks[1].count("\n") == 1
    assert "pytest" in blocks[1]


def test_pictures_are_there() -> None:
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (TESTS.parent / picture).exists()


def test_what_the_package_offers_can_be_imported() -> None:
    offered = dir(jukebox_kit)
    assert {"Song", "Model", "sample", "generate"} <= set(offered)
    assert all(hasattr(jukebox_kit, name) for name in offered)
