"""The loop of a training run: step, measure, keep the best values, save; and resume exactly where it was."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from jukebox_kit._files import shown_path
from jukebox_kit.errors import RequestError, StoppedError
from jukebox_kit.training.checkpoints import Checkpoints, RunState
from jukebox_kit.training.curves import Measured
from jukebox_kit.training.page import RunProgress
from jukebox_kit.training.ranks import Ranks
from jukebox_kit.training.runs import TrainingProgress
from jukebox_kit.training.settings import Limits

Say = Callable[[str], None]


class Trains(Protocol):
    """Trains values step by step, from a state that can be saved and read back exactly; see Trainer."""

    step_number: int

    def step(self) -> float:
        """Compute the gradients of a step; return its loss."""
        ...

    def finish_step(self) -> None:
        """Change the values."""
        ...

    def drop_gradients(self) -> None:
        """Forget the gradients of a step that was interrupted."""
        ...

    def result(self) -> dict[str, Tensor]:
        """Return copies of the values that are measured and written."""
        ...

    def swap(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put other values in place, and return those that were there."""
        ...

    def state(self) -> RunState:
        """Return everything that the next steps depend on."""
        ...

    def restore(self, state: RunState) -> None:
        """Go back to a state."""
        ...


class Component(Protocol):
    """The component of a model that is trained."""

    @property
    def trainer(self) -> Trains:
        """What makes the steps."""
        ...

    def measure(self) -> tuple[float | None, float | None]:
        """Return what is measured on held-out songs and on others, lower is better; None if there are none.

        The values that are measured are in place; songs may be sampled from them, too.
        """
        ...

    def write(self, values: Mapping[str, Tensor]) -> None:
        """Write a model of the best values so far."""
        ...

    def report(self, measured: list[Measured]) -> None:
        """Report the last measurement, and draw the curves."""
        ...

    def write_page(self, measured: list[Measured], best: float, progress: RunProgress) -> None:
        """Write the page; best: the least that was measured on held-out songs, see `measure`."""
        ...


class Loop:
    """The loop of one process."""

    def __init__(
        self,
        limits: Limits,
        folder: Path,
        checkpoints: Checkpoints,
        ranks: Ranks,
        say: Say,
        stop: Callable[[], bool],
        progress: Callable[[TrainingProgress], object],
    ) -> None:
        """Prepare to train. folder: of the model. checkpoints: of the run. stop, progress: see `tuning.finetune`."""
        self.limits, self.folder, self.checkpoints, self.ranks = limits, folder, checkpoints, ranks
        self.say, self.stop, self.progress = say, stop, progress
        self.measured: list[Measured] = []
        self.losses: list[float] = []
        self.best: dict[str, Tensor] = {}
        self.best_value, self.worse = float("inf"), 0
        self.last_saved = time.monotonic()

    def saved(self, job: Mapping[str, Any]) -> RunState | None:
        """Return the state that the run resumes from, None if it starts.

        job: what must be the same when a run is resumed, as JSON holds it; RequestError if it was another.
        """
        saved, now = self.checkpoints.read(), {**job, "processes": self.ranks.count}
        before: dict[str, Any] = {} if saved is None else saved.facts["job"]
        changed = [name for name in now if before.get(name) != now[name]] if saved is not None else []
        if changed:
            name, place = changed[0], shown_path(self.folder)
            was = "" if name in ("songs", "base") else f" ({before.get(name)}, not {now[name]})"
            raise RequestError(
                f"{place} was started with another {name}{was}; use the same to resume it, or choose another name."
            )
        self.job = now
        return saved

    def go(self, component: Component, saved: RunState | None, plan: Mapping[str, Any]) -> None:
        """Train to the end, or until training no longer helps, or until the user stops it.

        saved: what `saved` returned. plan: facts to save that the component resumes with.
        """
        self.component, self.trainer, self.plan = component, component.trainer, plan
        if saved is not None:
            self._restore(saved)
        if self._finished:
            self.say(f"{shown_path(self.folder)} is trained already, in {self.trainer.step_number} steps.")
            return
        try:
            self._train()
        except KeyboardInterrupt:
            if self.ranks.count == 1:  # several are not stopped at the same step
                self.trainer.drop_gradients()
                self._save(stopped=True)
            raise

    @property
    def _finished(self) -> bool:
        return self.trainer.step_number >= self.limits.steps or self.worse >= self.limits.patience

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
            if self.trainer.step_number % self.limits.evaluate_every == 0 or self._finished:
                self._measure()
            minutes = (time.monotonic() - self.last_saved) / 60
            stopped = self.ranks.shared(self.stop())
            if self.ranks.shared(minutes >= self.limits.save_minutes) or stopped or self._finished:
                self._save(stopped)
            if stopped:
                raise StoppedError(f"training of {shown_path(self.folder)} was stopped. Everything is saved.")

    def _measure(self) -> None:
        """Measure, keep the best values, and write the model and its page."""
        step, values = self.trainer.step_number, self.trainer.result()
        raw = self.trainer.swap(values)
        measured = self.component.measure()
        self.trainer.swap(raw)
        training = sum(self.losses) / len(self.losses) if self.losses else None
        self.measured.append(Measured(step, training, *measured))
        self.losses = []
        held = -float(step) if measured[0] is None else measured[0]  # without held-out songs the last is the best
        self.worse = 0 if held < self.best_value else self.worse + 1
        if held < self.best_value:
            self.best_value, self.best = held, {name: value.cpu() for name, value in values.items()}
            if self.ranks.first and step:
                self.component.write(self.best)
        self.component.report(self.measured)
        if self.ranks.first:
            self._write_page()
        self._show()

    def _show(self) -> None:
        """Report how far the run is."""
        last = self.losses[-1] if self.losses else None
        self.progress(TrainingProgress(self.trainer.step_number, self.limits.steps, last, tuple(self.measured)))

    def _write_page(self, stopped: bool = False) -> None:
        step, seconds = self.trainer.step_number, time.monotonic() - self.began
        speed = seconds / (step - self.began_at) if step > self.began_at else None
        progress = RunProgress.of(step, self.limits, self._finished, stopped, speed)
        self.component.write_page(self.measured, self.best_value, progress)

    def _save(self, stopped: bool = False) -> None:
        state = self.trainer.state()
        if self.ranks.first:
            best = {f"best.{name}": value for name, value in self.best.items()}
            rows = [dataclasses.astuple(one) for one in self.measured]
            run = {"job": self.job, "plan": self.plan, "measured": rows, "losses": self.losses}
            own = {"best_bits": self.best_value, "worse": self.worse, "finished": self._finished}
            self.checkpoints.write(RunState({**state.tensors, **best}, {**state.facts, **run, **own}))
            self._write_page(stopped)
        self.last_saved = time.monotonic()

    def _restore(self, saved: RunState) -> None:
        """Go back to a saved state."""
        self.trainer.restore(saved)
        self.measured = [Measured(*row) for row in saved.facts["measured"]]
        self.losses, self.worse = list(saved.facts["losses"]), int(saved.facts["worse"])
        self.best_value = float(saved.facts["best_bits"])
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
