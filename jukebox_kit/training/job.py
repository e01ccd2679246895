"""A job of training a prior: what is trained on what, checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jukebox_kit._files import contents, shown_path
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import MODEL_FILE, PARTS, ModelDefinition, fingerprint, load_definition, read_tables
from jukebox_kit.song import PAGE
from jukebox_kit.training.dataset import Dataset
from jukebox_kit.training.new_names import Extension
from jukebox_kit.training.page import SAMPLES
from jukebox_kit.training.result import check_extends
from jukebox_kit.training.settings import FineTuning

WORK = "training"  # the folder of a model that holds what a run resumes from, a folder for each level

FREE_TO_CHANGE = ("save_minutes", "samples", "sample_seconds", "patience")  # settings that a resumed run may change


def work_folder(folder: Path, level: int) -> Path:
    """Return the folder that the run of a level resumes from. folder: of the model."""
    return folder / WORK / PARTS[level + 1]


@dataclass(frozen=True)
class FineTuningJob:
    """What is fine-tuned, or trained from scratch, on what, and where the result goes.

    data: the dataset. base: the model, by name or path. folder: of the result. level: that is trained.
    others: a dataset of other artists, to measure what is forgotten; None to leave that out.
    init_scale: of the random weights that training starts from, as `initial.draw_prior` takes it; None to start from
        the base's. With random weights, `folder` is the base's own, which needs no weights of the level.
    """

    data: Dataset
    base: str
    folder: Path
    level: int
    settings: FineTuning
    others: Dataset | None = None
    init_scale: float | None = None

    @cached_property
    def definition(self) -> ModelDefinition:
        """The base model's definition."""
        return load_definition(self.base)

    @cached_property
    def extension(self) -> Extension:
        """The names of the dataset that the base does not know, in the label set of the level."""
        label_set = self.definition.priors[self.level].label_set
        tables = read_tables(self.definition, self.base)[label_set]
        names = [[name for name, _ in self.data.names(kind)] for kind in ("artist", "genre")]
        return Extension.of(self.definition, tables, *names)

    @property
    def work(self) -> Path:
        """The folder that the run resumes from."""
        return work_folder(self.folder, self.level)

    def check(self) -> None:
        """Raise RequestError or CheckpointError if the job cannot be done, before anything is loaded or written."""
        definition = self.definition
        if definition.adapters:
            raise RequestError(
                f"{definition.name} is fine-tuned itself; write its whole weights with: jukebox-kit models merge, and "
                f"fine-tune those.",
                field="base",
            )
        vqvae = fingerprint(definition.find(PARTS[0]))
        for data in (self.data, self.others):
            if data is not None and data.vqvae != vqvae:
                raise RequestError(
                    f"{shown_path(data.root)} holds codes of the model {data.model}, not of {definition.name}; prepare "
                    f"the dataset with --model {self.base}."
                )
        if not self.data.split(held_out=False):
            raise RequestError(f"{shown_path(self.data.root)} has no songs to train on; prepare it again with more.")
        if self.init_scale is not None:
            return
        definition.find(PARTS[self.level + 1])
        if self.folder.is_dir() and not (self.folder / MODEL_FILE).is_file():
            unknown = [path.name for path in contents(self.folder) if path.name not in (WORK, SAMPLES, PAGE)]
            if unknown:
                raise RequestError(f"{shown_path(self.folder)} contains other files; choose another name.")
        check_extends(self.folder, definition, self.extension)

    def facts(self) -> dict[str, Any]:
        """Return what must be the same when the run is resumed, as JSON holds it."""
        settings = {k: v for k, v in dataclasses.asdict(self.settings).items() if k not in FREE_TO_CHANGE}
        songs = [song.codes for song in self.data.songs if not song.held_out]
        if self.init_scale is not None:
            own: dict[str, Any] = {"base": fingerprint(self.definition.find(PARTS[0])), "init_scale": self.init_scale}
        else:
            own = {"base": fingerprint(self.definition.find(PARTS[self.level + 1]))}
        facts: dict[str, Any] = json.loads(json.dumps({**own, "level": self.level, **settings, "songs": songs}))
        return facts
