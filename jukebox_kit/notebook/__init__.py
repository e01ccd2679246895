"""The panel for Jupyter and Colab, and the overnight run.

Cells call these, and everything else is widgets:

setup             the machine, Drive, which models fit, and how long songs take; returns the folder of songs
compose           the panel: request, openings, choosing, extending, upsampling, exports
resume_overnight  every unfinished song of a folder, one after another
player            one song with its pictures and lyrics
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import IPython.display
import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.embed import embedded_page, framed
from jukebox_kit.notebook.overnight import Night
from jukebox_kit.notebook.panel import Panel
from jukebox_kit.notebook.prepare import report, songs_folder
from jukebox_kit.notebook.widgets import reachable, told
from jukebox_kit.song import Song

__all__ = ["Night", "Panel", "compose", "player", "resume_overnight", "setup", "upload"]


def setup(songs: str | Path = "songs", drive: bool | None = None, seconds: float = 60, items: int = 3) -> Path:
    """Show what this machine has and how long songs of `seconds` take; returns the folder where songs are kept.

    drive: whether to mount Google Drive and keep songs there; left out, that is done on Colab.
    """
    try:
        folder = songs_folder(songs, drive)
    except JukeboxKitError as error:
        _show(widgets.HTML(told(str(error), "error")))
        return Path(songs)
    _show(report(folder, seconds, items))
    return folder


def compose(songs: str | Path = "songs") -> Panel:
    """Show the panel over a folder of songs; work that is under way in this kernel is found again."""
    panel = Panel(Path(songs))
    _show(panel.box)
    return panel


def resume_overnight(songs: str | Path = "songs", old: str | Path | None = None, start: bool = False) -> Night:
    """Show where every song of a folder stands, with one button that goes through all that is unfinished.

    old: a folder of other Jukebox programs' runs to bring in first; start: begin without a click.
    """
    night = Night(Path(songs), None if old is None else Path(old))
    _show(night.box)
    if start:
        night.start()
    return night


def player(song: Song | str | Path) -> None:
    """Show a song's page: every item and level, pictures, lyrics that follow."""
    try:
        page = embedded_page(song if isinstance(song, Song) else Song.open(song))
    except JukeboxKitError as error:
        _show(widgets.HTML(told(str(error), "error")))
        return
    _show(widgets.HTML(framed(page)))


def upload(folder: str | Path = "songs/prompts") -> list[Path]:
    """Ask for recordings through Colab's own dialogue; returns their paths, to be given as prompts."""
    if not colab.on_colab():
        _show(widgets.HTML(told("This is for Colab; here, use the panel's upload or Jupyter's file browser.", "note")))
        return []
    return colab.upload(Path(folder))


def _show(widget: Any) -> None:
    reachable(widget)
    IPython.display.display(widget)  # type: ignore[no-untyped-call]  # IPython leaves it so
