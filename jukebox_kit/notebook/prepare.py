"""The set-up cell: where songs are saved, what the machine has, which models fit, and how long songs take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit.checks import examine
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import ON_DRIVE, load_definition, shipped_models
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.markup import filled, styled_text
from jukebox_kit.notebook.sections.estimate import describe_estimate, describe_fit


def songs_folder(songs: str | Path, drive: bool | None) -> Path:
    """Return the folder for songs; mounts Google Drive if wanted.

    drive: None mounts on Colab only. JukeboxKitError if Drive cannot be mounted.
    """
    if drive is None:
        drive = colab.on_colab()
    if not drive:
        return Path(songs)
    if not colab.on_colab():
        raise JukeboxKitError("Drive can be mounted by Colab only; omit drive, and pass a local folder as songs.")
    folder = colab.mount_drive()
    return folder / (Path(ON_DRIVE, songs) if str(songs) == "songs" else songs)


def report(folder: Path, seconds: float, items: int) -> Any:
    """Return a widget with the machine's hardware, and time and batch size of every model whose files are present."""
    facts = examine(folder)
    rows = [(name, facts[name]) for name in ("device", "memory", "disk", "torch", "jukebox_kit")]
    rows += [(name, _model(name, seconds, items)) for name in shipped_models()]
    footer = styled_text(f"Songs are saved in {folder.absolute()}")
    shown = widgets.HTML(filled("facts.html", {"rows": rows, "footer": footer}))
    shown.add_class("jk-setup")
    return shown


def _model(name: str, seconds: float, items: int) -> str:
    """Return whether a model fits and how long a song takes, or how to get its files."""
    definition = load_definition(name)
    try:
        if definition.missing():
            return f"{describe_fit(definition)}; files missing; get them with: {definition.get}"
        length = min(seconds, definition.seconds_range[1])
        return f"{length:g} s, {items} items: {describe_estimate(definition, length, items)}"
    except (JukeboxKitError, RuntimeError) as error:  # from torch, if memory is too small even to measure
        return f"no estimate: {error}"
