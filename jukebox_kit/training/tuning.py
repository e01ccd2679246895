"""Fine-tunes one level of a model on a dataset: plan, train, measure, listen, save; and resume exactly where it was."""

from __future__ import annotations

import dataclasses
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jukebox_kit._files import make_folder, shown_path
from jukebox_kit.engine import Model, Placement, return_freed_memory
from jukebox_kit.errors import RequestError, StoppedError
from jukebox_kit.model.weights import MODEL_FILE, PARTS, fingerprint
from jukebox_kit.song.store import open_store
from jukebox_kit.training.checkpoints import Checkpoints, RunState
from jukebox_kit.training.curves import Measured
from jukebox_kit.training.job import FineTuningJob
from jukebox_kit.training.job_windows import job_previews, job_replay, song_name, song_windows
from jukebox_kit.training.page import RunProgress, write_curves, write_page, write_takes
from jukebox_kit.training.plan import TrainingPlan, plan_job
from jukebox_kit.training.ranks import Ranks, joined
from jukebox_kit.training.result import trained_files, write_adapter, write_model, write_weights
from jukebox_kit.training.runs import TrainingProgress, save_job
from jukebox_kit.training.trainable import adapter_tensors, load_trainable, whole_state
from jukebox_kit.training.trainer import StepSettings, Trainer

log = logging.getLogger(__name__)

Say = Callable[[str], None]


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
        if shard and ranks.count == 1:
            raise RequestError("--shard divides weights among processes; start several with torchrun.", field="shard")
        work = job.work
        if ranks.first:
            make_folder(work)
        ranks.shared(True)  # the others read it
        with open_store(work).lock() if ranks.first else nullcontext():
            _Run(job, ranks, shard, work, say if ranks.first else _silent, stop, progress).go()
    return job.folder


class _Run:
    """One process of a run."""

    def __init__(
        self,
        job: FineTuningJob,
        ranks: Ranks,
        shard: bool,
        work: Path,
        say: Say,
        stop: Callable[[], bool],
        progress: Callable[[TrainingProgress], object],
    ) -> None:
        self.job, self.ranks, self.shard, self.say, self.stop, self.progress = job, ranks, shard, say, stop, progress
        self.settings, self.checkpoints = job.settings, Checkpoints(work)
        self.measured: list[Measured] = []
        self.losses: list[float] = []
        self.best: dict[str, Tensor] = {}
        self.best_bits, self.worse = float("inf"), 0
        self.last_saved = time.monotonic()

    def go(self) -> None:
        """Train to the end, or until training no longer helps, or until the user stops it."""
        saved = self.checkpoints.read()
        if saved is not None:
            self._check_same(saved)
        if self.ranks.first:
            save_job(self.job)
        self._prepare(saved)
        if saved is not None:
            self._restore(saved)
        if self._finished:
            self.say(f"{shown_path(self.job.folder)} is trained already, in {self.trainer.step_number} steps.")
            return
        try:
            self._train()
        except KeyboardInterrupt:
            if self.ranks.count == 1:  # several are not stopped at the same step
                self.trainer.drop_gradients()
                self._save(stopped=True)
            raise
        if self.ranks.first and not (self.job.folder / MODEL_FILE).is_file():
            self.say("no measurement was better than the base, so no model was written; try a lower learning rate.")

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

    def _prepare(self, saved: RunState | None) -> None:
        """Make the plan, and load the prior, the codes and the VQ-VAE."""
        job, settings, ranks = self.job, self.settings, self.ranks
        self.plan = plan = self._plan(saved)
        return_freed_memory(ranks.device, plan.needed.peak)
        self.grown = job.extension.extended(job.definition)
        self.prior = prior = load_trainable(
            job.definition, job.level, job.extension, settings, plan.storage, plan.computes, ranks.device
        )
        prior.config = self.grown.priors[job.level]
        train, held_out = (job.data.split(held) for held in (False, True))
        training = song_windows(job, prior, job.data, train)
        self.held_out = song_windows(job, prior, job.data, held_out) if held_out else None
        self.others = None if job.others is None else song_windows(job, prior, job.others, job.others.songs)
        replayed = round(settings.replay * plan.batch)
        steps = StepSettings(
            settings.rate,
            plan.batch,
            settings.accumulate,
            replayed,
            settings.weight_decay,
            settings.clip,
            settings.ema,
            settings.lyric_loss,
            settings.row_rate,
            plan.computes == torch.float16,
        )
        work, say = self.checkpoints.root, self.say
        replay = job_replay(job, prior, training, work, ranks, say, self.stop) if replayed else None
        self.trainer = Trainer(prior, training, steps, ranks, self.shard, replay)
        self.previews = None if self.shard or not ranks.first else job_previews(job, held_out or train)
        self.vqvae = Model(job.base, job.definition, Placement(ranks.device)).vqvae if self.previews else None

    @property
    def _finished(self) -> bool:
        return self.trainer.step_number >= self.settings.steps or self.worse >= self.settings.patience

    def _train(self) -> None:
        self.began, self.began_at = time.monotonic(), self.trainer.step_number
        self._show()
        if not self.measured:
            self._measure()
        while not self._finished:
            self.losses.append(self.trainer.step())
            with _signals_held_back():
                self.trainer.finish_step()
            self._show()
            if self.trainer.step_number % self.settings.evaluate_every == 0 or self._finished:
                self._measure()
            minutes = (time.monotonic() - self.last_saved) / 60
            stopped = self.ranks.shared(self.stop())
            if self.ranks.shared(minutes >= self.settings.save_minutes) or stopped or self._finished:
                self._save(stopped)
            if stopped:
                raise StoppedError(f"training of {shown_path(self.job.folder)} was stopped. Everything is saved.")

    def _measure(self) -> None:
        """Measure bits per token, keep the best values, sample songs, and write the model and its page."""
        trainer, settings = self.trainer, self.settings
        values = trainer.result()
        raw = trainer.swap(values)
        bits = [
            None if songs is None else trainer.bits(songs, songs.order.fixed(settings.windows))
            for songs in (self.held_out, self.others)
        ]
        training = sum(self.losses) / len(self.losses) if self.losses else None
        one = Measured(trainer.step_number, training, *bits)
        self.measured.append(one)
        self.losses = []
        if self.previews is not None and self.vqvae is not None:
            songs = self.previews.sample(self.prior, self.grown, self.vqvae)
            write_takes(self.job.folder, self.job.level, one.step, songs, self.grown.vqvae.sr)
        trainer.swap(raw)
        held = bits[0] if bits[0] is not None else -float(one.step)  # without held-out songs the last is the best
        self.worse = 0 if held < self.best_bits else self.worse + 1
        if held < self.best_bits:
            self.best_bits, self.best = held, {name: value.cpu() for name, value in values.items()}
            if self.ranks.first and one.step:
                self._write_model()
        self._report(one)

    def _show(self) -> None:
        """Report how far the run is."""
        last = self.losses[-1] if self.losses else None
        self.progress(TrainingProgress(self.trainer.step_number, self.settings.steps, last, tuple(self.measured)))

    def _report(self, one: Measured) -> None:
        job = self.job
        names = {"training": one.training, "held-out": one.held_out, "others": one.others}
        bits = ", ".join(f"{name} {value:.4f}" for name, value in names.items() if value is not None)
        self.say(f"step {one.step} of {self.settings.steps}: bits per token: {bits}")
        if self.ranks.first:
            write_curves(job.folder, job.level, self.measured)
            self._write_page()
        self._show()

    def _write_page(self, stopped: bool = False) -> None:
        job = self.job
        songs = [] if self.previews is None else [song_name(job, label) for label in self.previews.labels]
        step, seconds = self.trainer.step_number, time.monotonic() - self.began
        speed = seconds / (step - self.began_at) if step > self.began_at else None
        progress = RunProgress.of(step, self.settings, self._finished, stopped, speed)
        write_page(job.folder, job.folder.name, job.level, self._facts(), self.measured, songs, progress)

    def _facts(self) -> list[tuple[str, str]]:
        job, settings = self.job, self.settings
        songs, held = (len(job.data.split(held)) for held in (False, True))
        what = "all weights" if settings.full else f"adapters of rank {settings.lora.rank}"
        return [
            ("base", job.definition.name),
            ("trained", what),
            ("dataset", f"{shown_path(job.data.root)}: {songs} songs, {held} held out"),
            ("artists", ", ".join(name for name, _ in job.data.names("artist")[:20])),
            ("best", f"{self.best_bits:.4f} bits per token on held-out songs" if self.held_out else "the last"),
        ]

    def _write_model(self) -> None:
        job = self.job
        if self.settings.full:
            file = write_weights(job.folder, job.level, whole_state(self.prior, self.best))
        else:
            facts = {"base": fingerprint(job.definition.find(PARTS[job.level + 1])), "part": PARTS[job.level + 1]}
            file = write_adapter(job.folder, job.level, adapter_tensors(self.prior, self.best), facts)
        artists = ", ".join(name for name, _ in job.data.names("artist")[:3])
        about = f"fine-tuned from {job.definition.name} on {artists}"
        trained = trained_files(job.folder) | {job.level: file}
        write_model(job.folder, job.folder.name, about, job.definition, job.extension, self.settings.start, trained)

    def _save(self, stopped: bool = False) -> None:
        state = self.trainer.state()
        if self.ranks.first:
            best = {f"best.{name}": value for name, value in self.best.items()}
            rows = [dataclasses.astuple(one) for one in self.measured]
            run = {"job": self._job_facts(), "plan": self.plan.choices, "measured": rows, "losses": self.losses}
            own = {"best_bits": self.best_bits, "worse": self.worse}
            self.checkpoints.write(RunState({**state.tensors, **best}, {**state.facts, **run, **own}))
            self._write_page(stopped)
        self.last_saved = time.monotonic()

    def _job_facts(self) -> dict[str, Any]:
        """Return what must be the same when the run is resumed."""
        return {**self.job.facts(), "processes": self.ranks.count}

    def _check_same(self, saved: RunState) -> None:
        """Raise RequestError if a saved state is of a run with other settings, songs or number of processes."""
        before, now = saved.facts["job"], self._job_facts()
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            name, place = changed[0], shown_path(self.job.folder)
            was = "" if name in ("songs", "base") else f" ({before.get(name)}, not {now[name]})"
            raise RequestError(
                f"{place} was started with another {name}{was}; use the same to resume it, or choose another name."
            )

    def _restore(self, saved: RunState) -> None:
        """Go back to a saved state."""
        self.trainer.restore(saved)
        self.measured = [Measured(*row) for row in saved.facts["measured"]]
        self.losses, self.worse = list(saved.facts["losses"]), int(saved.facts["worse"])
        self.best_bits = float(saved.facts["best_bits"])
        tensors: Mapping[str, Tensor] = saved.tensors
        self.best = {n.removeprefix("best."): value for n, value in tensors.items() if n.startswith("best.")}
        self.say(f"resuming at step {self.trainer.step_number}")


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let no signal interrupt the block: one that arrives meanwhile is handled after it."""
    if threading.current_thread() is not threading.main_thread():  # only that one handles signals
        yield
        return
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _silent(_sentence: str) -> None:
    """Report nothing: only the first process does."""
