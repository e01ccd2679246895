"""The panel for your own model: recordings, plan, training, and what it sounds like. `finetune` shows it."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets

from jukebox_kit.notebook.sections.curves import Curves
from jukebox_kit.notebook.sections.music import Music
from jukebox_kit.notebook.sections.outcome import Outcome
from jukebox_kit.notebook.sections.training import TrainingForm
from jukebox_kit.notebook.sections.training_status import TrainingStatus
from jukebox_kit.notebook.tuning_session import TuningSession
from jukebox_kit.notebook.widgets import button, reachable
from jukebox_kit.training import TrainingRun

NEW = "new model"


class TuningPanel:
    """One training run at a time; datasets, models and uploads are beside the folder of songs."""

    def __init__(self, songs: Path) -> None:
        self.session, self._listing = TuningSession(songs), False
        self.runs = widgets.Dropdown(options=[(NEW, None)], description="model")
        self.runs.add_class("jk-runs")
        self.look = button("Refresh", "look", self.session.changed, "refresh")
        self.music = Music(self.session)
        self.form = TrainingForm(self.session)
        self.status = TrainingStatus(self.session)
        self.curves = Curves(self.session)
        self.outcome = Outcome(self.session)
        sections = (self.music, self.form, self.status, self.curves, self.outcome)
        self.box = widgets.VBox([widgets.HBox([self.runs, self.look]), *(section.box for section in sections)])
        self.box.add_class("jk-panel")
        self.session.watch(self.refresh)
        self.runs.observe(lambda _: self._open(), "value")
        self.session.find_work()

    def wait(self) -> None:
        """Wait until the work has ended, for a cell that should run as long as it does."""
        self.session.worker.wait()

    def refresh(self) -> None:
        """List the runs of the folder; the open one stays selected."""
        self.runs.disabled = self.session.worker.state.busy
        options = [(NEW, None), *((_label(run), (run.folder, run.level)) for run in self.session.runs())]
        self._listing = True  # the selection changes briefly with the options; that is not a request to open a run
        try:
            if list(self.runs.options) != options:
                self.runs.options = options
            if self.session.opened in [value for _, value in options]:
                self.runs.value = self.session.opened
        finally:
            self._listing = False
        reachable(self.box)

    def _open(self) -> None:
        if not self._listing:
            self.session.open_run(self.runs.value)


def _label(run: TrainingRun) -> str:
    how = "trained" if run.finished else f"{run.progress.step} of {run.progress.steps} steps"
    return f"{run.folder.name}, level {run.level}: {how}"
