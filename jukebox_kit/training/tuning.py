"""Trains one level of a model on a dataset, from a base or from random weights: plan, train, measure, listen, save."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from jukebox_kit._files import make_folder, shown_path
from jukebox_kit.engine import Model, Placement, return_freed_memory
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import PARTS, fingerprint
from jukebox_kit.song.store import open_store
from jukebox_kit.training.checkpoints import Checkpoints, RunState
from jukebox_kit.training.curves import Measured
from jukebox_kit.training.job import FineTuningJob
from jukebox_kit.training.job_windows import job_previews, job_replay, song_name, song_windows
from jukebox_kit.training.loop import Loop, Say
from jukebox_kit.training.page import RunProgress, Trained, write_curves, write_page, write_takes
from jukebox_kit.training.plan import TrainingPlan, plan_job
from jukebox_kit.training.ranks import Ranks, joined
from jukebox_kit.training.result import trained_files, write_adapter, write_model, write_weights
from jukebox_kit.training.runs import TrainingProgress, save_job
from jukebox_kit.training.trainable import adapter_tensors, load_trainable, whole_state
from jukebox_kit.training.trainer import StepSettings, Trainer

log = logging.getLogger(__name__)


def finetune(
    job: FineTuningJob,
    device: str | None = None,
    shard: bool = False,
    say: Say = log.info,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[TrainingProgress], object] = lambda _: None,
) -> Path:
    """Fine-tune a level, or resume its run; returns the folder, which is a model.

    device: as in `ranks.joined`. shard: divide all weights among the processes. say: gets the plan and each
    measurement. stop: asked after every step; once it returns True, everything is saved and StoppedError is raised.
    progress: called before the first step, after every step, and after every measurement.

    Raises RequestError or CheckpointError before anything is loaded if the job cannot be done here.
    """
    job.check()
    with joined(device) as ranks:
        train_level(job, ranks, shard, say, stop, progress)
    return job.folder


def train_level(
    job: FineTuningJob,
    ranks: Ranks,
    shard: bool,
    say: Say,
    stop: Callable[[], bool],
    progress: Callable[[TrainingProgress], object],
) -> None:
    """Do a job that was checked in one of several processes; see `finetune`."""
    if shard and ranks.count == 1:
        raise RequestError("--shard divides weights among processes; start several with torchrun.", field="shard")
    work, say = job.work, say if ranks.first else _silent
    if ranks.first:
        make_folder(work)
    ranks.shared(True)  # the others read it
    with open_store(work).lock() if ranks.first else nullcontext():
        loop = Loop(job.settings, job.folder, Checkpoints(work), ranks, say, stop, progress)
        saved = loop.saved(job.facts())
        if ranks.first and job.init_scale is None:
            save_job(job)
        level = _Level(job, ranks, shard, say, stop, saved)
        loop.go(level, saved, level.plan.choices)
        if ranks.first and job.level not in trained_files(job.folder):
            say("no measurement was better than before training, so nothing was written; try a lower learning rate.")


class _Level:
    """The level that a job trains, in one process; see `loop.Component`."""

    def __init__(
        self,
        job: FineTuningJob,
        ranks: Ranks,
        shard: bool,
        say: Say,
        stop: Callable[[], bool],
        saved: RunState | None,
    ) -> None:
        """Make the plan, and load the prior, the codes and the VQ-VAE. saved: what the run resumes from."""
        self.job, self.ranks, self.shard, self.say = job, ranks, shard, say
        self.settings, self.part = job.settings, PARTS[job.level + 1]
        self.plan = plan = self._plan(saved)
        return_freed_memory(ranks.device, plan.needed.peak)
        self.grown = job.extension.extended(job.definition)
        self.prior = prior = load_trainable(
            *(job.definition, job.level, job.extension, self.settings),
            *(plan.storage, plan.computes, ranks.device, job.init_scale),
        )
        prior.config = self.grown.priors[job.level]
        train, held_out = (job.data.split(held) for held in (False, True))
        training = song_windows(job, prior, job.data, train)
        self.held_out = song_windows(job, prior, job.data, held_out) if held_out else None
        self.others = None if job.others is None else song_windows(job, prior, job.others, job.others.songs)
        steps = self._steps()
        replay = job_replay(job, prior, training, job.work, ranks, say, stop) if steps.replay else None
        self.trainer = Trainer(prior, training, steps, ranks, shard, replay)
        self.previews = None if shard or not ranks.first else job_previews(job, held_out or train)
        self.vqvae = Model(job.base, job.definition, Placement(ranks.device)).vqvae if self.previews else None

    def _plan(self, saved: RunState | None) -> TrainingPlan:
        """Return the plan, the same in all processes; that of a resumed run, whatever is free now."""
        settings, ranks = self.settings, self.ranks
        if saved is not None:
            settings = dataclasses.replace(settings, **saved.facts["plan"])
        self.job.data.summary(self.say, self.job.level)
        planned = plan_job(self.job, ranks.device, settings, ranks.count, self.shard)
        for name, value in planned.facts:
            self.say(f"{name}: {value}")
        return ranks.shared(planned.plan)

    def _steps(self) -> StepSettings:
        settings, plan = self.settings, self.plan
        return StepSettings(
            settings.rate,
            plan.batch,
            settings.accumulate,
            round(settings.replay * plan.batch),
            settings.weight_decay,
            settings.clip,
            settings.ema,
            settings.lyric_loss,
            settings.row_rate,
            plan.computes == torch.float16,
        )

    def measure(self) -> tuple[float | None, float | None]:
        """Return the bits per token of held-out songs and of others, and sample songs."""
        held_out, others = (
            None if songs is None else self.trainer.bits(songs, songs.order.fixed(self.settings.windows))
            for songs in (self.held_out, self.others)
        )
        if self.previews is not None and self.vqvae is not None:
            songs = self.previews.sample(self.prior, self.grown, self.vqvae)
            write_takes(self.job.folder, self.part, self.trainer.step_number, songs, self.grown.vqvae.sr)
        return held_out, others

    @property
    def _trained(self) -> Trained:
        return Trained(self.part) if self.job.init_scale is None else Trained(self.part, "trained from scratch")

    def report(self, measured: list[Measured]) -> None:
        """See Component."""
        one = measured[-1]
        names = {"training": one.training, "held-out": one.held_out, "others": one.others}
        bits = ", ".join(f"{name} {value:.4f}" for name, value in names.items() if value is not None)
        self.say(f"step {one.step} of {self.settings.steps}: bits per token: {bits}")
        if self.ranks.first:
            write_curves(self.job.folder, self._trained, measured)

    def write_page(self, measured: list[Measured], best: float, progress: RunProgress) -> None:
        """See Component."""
        job = self.job
        songs = [] if self.previews is None else [song_name(job, label) for label in self.previews.labels]
        write_page(job.folder, job.folder.name, self._trained, self._facts(best), measured, songs, progress)

    def _facts(self, best: float) -> list[tuple[str, str]]:
        job, settings = self.job, self.settings
        songs, held = (len(job.data.split(held)) for held in (False, True))
        what = "all weights" if settings.full else f"adapters of rank {settings.lora.rank}"
        return [
            ("base", job.definition.name if job.init_scale is None else "random weights"),
            ("trained", what),
            ("dataset", f"{shown_path(job.data.root)}: {songs} songs, {held} held out"),
            ("artists", ", ".join(name for name, _ in job.data.names("artist")[:20])),
            ("best", f"{best:.4f} bits per token on held-out songs" if self.held_out else "the last"),
        ]

    def write(self, values: Mapping[str, Tensor]) -> None:
        """Write the level's weights or adapter and, unless the model is trained from scratch, its definition."""
        job = self.job
        if job.init_scale is not None:  # in half precision, as the release saves its largest priors
            halves = {name: value.half() for name, value in whole_state(self.prior, values).items()}
            write_weights(job.folder, self.part, halves)
            return
        if self.settings.full:
            file = write_weights(job.folder, self.part, whole_state(self.prior, values))
        else:
            facts = {"base": fingerprint(job.definition.find(self.part)), "part": self.part}
            file = write_adapter(job.folder, job.level, adapter_tensors(self.prior, values), facts)
        artists = ", ".join(name for name, _ in job.data.names("artist")[:3])
        about = f"fine-tuned from {job.definition.name} on {artists}"
        trained = trained_files(job.folder) | {job.level: file}
        write_model(job.folder, job.folder.name, about, job.definition, job.extension, self.settings.start, trained)


def _silent(_sentence: str) -> None:
    """Report nothing: only the first process does."""
