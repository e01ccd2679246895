"""What training leaves: where the model is, and how to sample from it."""

from __future__ import annotations

import ipywidgets as widgets

from jukebox_kit._files import shown_path
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import MODEL_FILE, model_source
from jukebox_kit.notebook.markup import filled, styled_text
from jukebox_kit.notebook.tuning_session import TuningSession
from jukebox_kit.notebook.widgets import heading, show
from jukebox_kit.song import PAGE
from jukebox_kit.training import TrainingRun


class Outcome:
    """How to use the model; the best one so far can be used while training goes on."""

    def __init__(self, session: TuningSession) -> None:
        self.session = session
        self.facts = widgets.HTML()
        self.facts.add_class("jk-outcome")
        self.box = widgets.VBox([heading("Your model"), self.facts])
        session.watch(self.refresh)

    def refresh(self) -> None:
        """Show the model of the open run, if there is one."""
        run = self.session.training
        self.box.layout.display = "" if run is not None and run.has_model else "none"
        if run is not None and run.has_model:
            footer = styled_text("" if run.finished else "It is the best so far; training can go on.", "note")
            show(self.facts, filled("facts.html", {"rows": _usage(run), "footer": footer}))


def _usage(run: TrainingRun) -> list[tuple[str, str]]:
    """Return where a model is and how to sample from it, as names and values."""
    name, file = run.folder.name, str(run.folder / MODEL_FILE)
    try:
        known = model_source(name) == file
    except JukeboxKitError:
        known = False
    model = name if known else file
    return [
        ("folder", shown_path(run.folder)),
        ("compose.ipynb", f"choose {name} as the model"),
        ("Python", f'jk.Song.create("songs/first", model="{model}", artist="…")'),
        ("shell", f"jukebox-kit sample songs/first --model {model} --artist …"),
        ("page", f"{shown_path(run.folder / PAGE)}: curves and all samples, in any browser"),
    ]
