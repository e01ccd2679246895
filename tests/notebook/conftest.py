"""A stand-in for Colab: a package of its name that notes what it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jukebox_kit.notebook import colab

MODULES = {
    "__init__": "",
    "drive": "import pathlib\ncalls = []\nroot = None\n"
    "def mount(place):\n    calls.append(('mount', place))\n    if root is None:\n"
    "        raise ValueError('mount failed')\n"
    "    (pathlib.Path(place) / 'MyDrive').mkdir(parents=True, exist_ok=True)\n"
    "def flush_and_unmount():\n    calls.append(('flush',))\n",
    "runtime": "calls = []\ndef unassign():\n    calls.append(('unassign',))\n",
    "files": "def upload():\n    return {'../riff.wav': b'RIFF'}\n",
    "output": "callbacks = {}\ndef register_callback(name, function):\n    callbacks[name] = function\n",
}


@pytest.fixture
def on_colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make this look like Colab; gives a function that returns one of the stand-in's modules."""
    package = tmp_path / "site" / "google" / "colab"
    package.mkdir(parents=True)
    for name, text in MODULES.items():
        (package / f"{name}.py").write_text(text)
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "google"}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(package.parent.parent)
    monkeypatch.setattr(colab, "MOUNT", tmp_path / "drive")
    importlib.invalidate_caches()

    def module(name: str) -> Any:
        return importlib.import_module(f"google.colab.{name}")

    module("drive").root = tmp_path
    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "google"]:
        del sys.modules[name]
    sys.modules.update(before)
