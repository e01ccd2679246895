"""The panels for Jupyter and Colab, and the overnight run.

Cells call these, and everything else is widgets:

setup             the machine, Drive, which models fit, and how long songs take; returns the folder of songs
compose           the panel: request, openings, choosing, extending, upsampling, exports
finetune          your own model: recordings, plan, training, curves and samples
resume_overnight  every unfinished song of a folder, one after another
player            one song with its pictures and lyrics
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    import IPython.display
    import ipywidgets  # not "as widgets": the module of that name in this package would replace it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'jukebox_kit.notebook needs {error.name}: pip install "jukebox_kit[notebook]"', name=error.name
    ) from None

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.embed import embedded_page, page_frame
from jukebox_kit.notebook.markup import style_sheet, styled_text
from jukebox_kit.notebook.overnight import Night
from jukebox_kit.notebook.panel import Panel
from jukebox_kit.notebook.prepare import report, songs_folder
from jukebox_kit.notebook.tuning import TuningPanel
from jukebox_kit.notebook.widgets import reachable
from jukebox_kit.song import Song

__all__ = ["Night", "Panel", "TuningPanel", "compose", "finetune", "player", "resume_overnight", "setup", "upload"]


def setup(songs: str | Path = "songs", drive: bool | None = None, seconds: float = 60, items: int = 3) -> Path:
    """Show what this machine has and how long songs of `seconds` take; returns the folder where songs are saved.

    drive: whether to mount Google Drive and save songs there; None: on Colab only.
    """
    try:
        folder = songs_folder(songs, drive)
    except JukeboxKitError as error:
        _show(ipywidgets.HTML(styled_text(str(error), "error")))
        return Path(songs)
    _show(report(folder, seconds, items))
    return folder


def compose(songs: str | Path = "songs") -> Panel:
    """Show the panel for a folder of songs; it picks up work that is already running in this kernel."""
    panel = Panel(Path(songs))
    _show(panel.box)
    return panel


def finetune(songs: str | Path = "songs") -> TuningPanel:
    """Show the panel that makes a model of your recordings; it picks up training that is running in this kernel.

    songs: the folder of songs; models, datasets and uploads are in `models`, `data` and `music` beside it.
    """
    panel = TuningPanel(Path(songs))
    _show(panel.box)
    return panel


def resume_overnight(songs: str | Path = "songs", old: str | Path | None = None, start: bool = False) -> Night:
    """Show the progress of every song of a folder, with one button that finishes them all.

    old: a folder with runs of other Jukebox programs to import first; start: begin without a click.
    """
    night = Night(Path(songs), None if old is None else Path(old))
    _show(night.box)
    if start:
        night.start()
    return night


def player(song: Song | str | Path) -> None:
    """Show a song's page: every item and level, pictures, synchronised lyrics."""
    try:
        page = embedded_page(song if isinstance(song, Song) else Song.open(song))
    except JukeboxKitError as error:
        _show(ipywidgets.HTML(styled_text(str(error), "error")))
        return
    _show(ipywidgets.HTML(page_frame(page)))


def upload(folder: str | Path = "songs/prompts") -> list[Path]:
    """Ask for recordings with Colab's upload dialogue; returns their paths, for use as prompts."""
    if not colab.on_colab():
        _show(ipywidgets.HTML(styled_text("This works on Colab only; use the panel's upload here.", "note")))
        return []
    return colab.upload(Path(folder))


def _show(widget: Any) -> None:
    shown = ipywidgets.VBox([ipywidgets.HTML(style_sheet()), widget])
    reachable(shown)
    IPython.display.display(shown)  # type: ignore[no-untyped-call]  # IPython leaves it so
