"""The set-up cell: where songs are kept, what the machine has, which models fit on it, and how long songs take."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit.checks import examine
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import load_definition, shipped_models
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.sections.estimate import room, words
from jukebox_kit.notebook.widgets import told

ON_DRIVE = "jukebox_kit/songs"


def songs_folder(songs: str | Path, drive: bool | None) -> Path:
    """Return the folder for songs, on Drive where that was wanted and this is Colab; mounts it.

    drive: None mounts on Colab and nowhere else. JukeboxKitError where Drive is not given.
    """
    if drive is None:
        drive = colab.on_colab()
    if not drive:
        return Path(songs)
    if not colab.on_colab():
        raise JukeboxKitError("Drive is mounted by Colab only; leave drive out here, and give a folder as songs.")
    folder = colab.mount_drive()
    return folder / (ON_DRIVE if str(songs) == "songs" else songs)


def report(folder: Path, seconds: float, items: int) -> Any:
    """Return a widget with what the machine has, and with time and batch of every model whose files are here."""
    facts = examine(folder)
    rows = [(name, facts[name]) for name in ("device", "memory", "disk", "torch", "jukebox_kit")]
    rows += [(name, _model(name, seconds, items)) for name in shipped_models()]
    cells = "".join(f"<tr><th align=left>{html.escape(a)}</th><td>{html.escape(b)}</td></tr>" for a, b in rows)
    shown = widgets.HTML(f"<table>{cells}</table>{told(f'Songs are kept in {folder.absolute()}')}")
    shown.add_class("jk-setup")
    return shown


def _model(name: str, seconds: float, items: int) -> str:
    """Return whether a model fits and how long a song takes, or what brings its files."""
    definition = load_definition(name)
    try:
        if definition.missing():
            return f"{room(definition)}; its files are not here, get them with: {definition.get}"
        length = min(seconds, definition.seconds_range[1])
        return f"{length:g} s, {items} items: {words(definition, length, items)}"
    except (JukeboxKitError, RuntimeError) as error:  # torch, where memory does not suffice even to measure
        return f"no estimate: {error}"
