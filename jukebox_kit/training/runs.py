"""Runs of fine-tuning as their folders hold them: the job of each, how far it is, and what it has sampled."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit._files import shown_path, write_atomically
from jukebox_kit._settings import from_mapping
from jukebox_kit._yaml import read_yaml, write_yaml
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import LEVELS
from jukebox_kit.model.weights import MODEL_FILE, PARTS, model_source
from jukebox_kit.training.checkpoints import Checkpoints
from jukebox_kit.training.curves import Measured
from jukebox_kit.training.dataset import Dataset
from jukebox_kit.training.job import WORK, FineTuningJob, work_folder
from jukebox_kit.training.page import Sampled, sampled_in
from jukebox_kit.training.settings import FineTuning, LoraSettings

log = logging.getLogger(__name__)

JOB = "job.yaml"  # in the folder that a run resumes from


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is.

    step: how many steps are made, of `steps`. bits: per token of the last step's windows; None before the first step.
    measured: all measurements so far.
    """

    step: int
    steps: int
    bits: float | None = None
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class TrainingRun:
    """A run as its folder holds it, whether or not a process is working on it.

    folder: of the model. level: that is trained. data, others: folders of datasets. base: the model to start from.
    progress: as saved. finished: whether training has ended by itself.
    """

    folder: Path
    level: int
    data: Path
    base: str
    others: Path | None
    settings: FineTuning
    progress: TrainingProgress
    finished: bool

    @property
    def work(self) -> Path:
        """The folder that the run resumes from."""
        return work_folder(self.folder, self.level)

    @property
    def has_model(self) -> bool:
        """Whether the run has written a model: a measurement was better than the base."""
        return (self.folder / MODEL_FILE).is_file()

    def job(self) -> FineTuningJob:
        """Return the job that resumes the run; RequestError if a dataset is gone."""
        others = None if self.others is None else Dataset.open(self.others)
        return FineTuningJob(Dataset.open(self.data), self.base, self.folder, self.level, self.settings, others)

    def sampled(self) -> list[Sampled]:
        """Return the songs that were sampled so far; after 0 steps they are the base's."""
        return sampled_in(self.folder, PARTS[self.level + 1])


@dataclass(frozen=True)
class _Saved:
    """What job.yaml contains; paths are relative to its folder."""

    data: str
    base: str
    settings: Mapping[str, Any]
    others: str | None = None


def save_job(job: FineTuningJob) -> None:
    """Write the job of a run into the existing folder that it resumes from."""
    work = job.work
    values = {"data": os.path.relpath(job.data.root, work), "base": model_source(job.base)}
    if job.others is not None:
        values["others"] = os.path.relpath(job.others.root, work)
    write_atomically(work, JOB, write_yaml({**values, "settings": _plain(dataclasses.asdict(job.settings))}))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as YAML has them: lists in place of tuples, and without those that have no value."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {n: _plain(v) if isinstance(v, Mapping) else v for n, v in plain.items() if v is not None}


def read_run(folder: Path, level: int) -> TrainingRun | None:
    """Return the run of a level in the folder of a model, None if there is none.

    ConfigurationError if its files are damaged.
    """
    work = work_folder(folder, level)
    if not (work / JOB).is_file():
        return None
    saved = from_mapping(_Saved, read_yaml(work / JOB), "")
    lora = from_mapping(LoraSettings, saved.settings.get("lora", {}), "settings lora")
    settings = from_mapping(FineTuning, saved.settings, "settings", ("lora",), {"lora": lora})
    facts = Checkpoints(work).facts()
    progress, worse = TrainingProgress(0, settings.steps), 0
    if facts is not None:
        measured, losses = tuple(Measured(*row) for row in facts["measured"]), facts["losses"]
        progress = TrainingProgress(facts["step"], settings.steps, losses[-1] if losses else None, measured)
        worse = facts["worse"]
    others = None if saved.others is None else _beside(work, saved.others)
    finished = progress.step >= settings.steps or worse >= settings.patience
    return TrainingRun(folder, level, _beside(work, saved.data), saved.base, others, settings, progress, finished)


def _beside(work: Path, path: str) -> Path:
    return Path(os.path.normpath(work / path))


def find_runs(models: Path) -> list[TrainingRun]:
    """Return the runs in a folder of models, in the order of their names; those that are damaged are left out."""
    runs: list[TrainingRun] = []
    for folder in sorted(path.parent for path in models.glob(f"*/{WORK}")):
        for level in reversed(LEVELS):
            try:
                run = read_run(folder, level)
            except JukeboxKitError as error:
                log.warning("the run in %s cannot be read: %s", shown_path(folder), error)
                continue
            runs += [] if run is None else [run]
    return runs
