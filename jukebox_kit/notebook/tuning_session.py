"""What the sections of the training panel share: its folders, the dataset, the open run and the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jukebox_kit._files import kept_path, shown_path
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import OWN_MODELS
from jukebox_kit.notebook.session import Session
from jukebox_kit.training import FineTuningJob, TrainingRun, find_runs, finetune, read_run
from jukebox_kit.training.dataset import Dataset

Opened = tuple[Path, int]  # a model's folder, and the level that is trained


class TuningSession(Session):
    """What one open training panel works on.

    models, datasets, music: folders beside that of the songs. data: the dataset to train on. notes: on its recordings.
    opened: the run that is shown, as `training` was when it was last read; None for a new one.
    """

    def __init__(self, songs: Path) -> None:
        super().__init__(songs)
        home = kept_path(songs).parent
        self.models, self.datasets, self.music = home / OWN_MODELS, home / "data", home / "music"
        self.data: Dataset | None = None
        self.notes: tuple[str, ...] = ()
        self.opened: Opened | None = None
        self.training: TrainingRun | None = None

    def changed(self) -> None:
        """Read the run again, and notify all sections."""
        try:
            self.training = None if self.opened is None else read_run(*self.opened)
        except JukeboxKitError as error:
            self.training, self.error = None, str(error)
        super().changed()

    def runs(self) -> list[TrainingRun]:
        """Return the runs in the folder of models."""
        return find_runs(self.models) if self.models.is_dir() else []

    def prepared(self) -> list[Path]:
        """Return the folders of prepared datasets."""
        return sorted(path.parent for path in self.datasets.glob("*/dataset.json"))

    def open_run(self, opened: Opened | None) -> None:
        """Show a run, or none."""
        self.opened, self.error = opened, ""
        self.changed()

    def open_data(self, data: Dataset | None, notes: tuple[str, ...] = ()) -> None:
        """Train on a dataset, or on none yet."""
        self.data, self.notes = data, notes
        self.changed()

    def find_work(self) -> None:
        """Open the run that the kernel is working on, if the page was closed and opened again."""
        state = self.worker.state
        busy = [run for run in self.runs() if state.busy and run.work == state.subject]
        self.open_run((busy[0].folder, busy[0].level) if busy else None)

    def train(self, job: FineTuningJob) -> None:
        """Start a run, or resume it."""

        def piece() -> str:
            last = [""]

            def say(sentence: str) -> None:
                last[0] = sentence
                self.worker.say(sentence)

            self.open_run((job.folder, job.level))
            try:
                finetune(job, say=say, stop=self.worker.stopping, progress=self.worker.note_training)
            finally:
                run = read_run(job.folder, job.level)
                if run is None:  # it was refused: the form shows what was entered
                    self.opened = None
            return f"{shown_path(job.folder)} is trained." if run is not None and run.has_model else last[0]

        self.do(f"{job.folder.name}, preparing to train", piece, job.work)

    def plan(self, piece: Callable[[], str]) -> None:
        """Start making a plan."""
        self.do("planning", piece, self.models)
