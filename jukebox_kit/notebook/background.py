"""Runs work in a thread, so that widgets respond meanwhile; one task at a time in the whole kernel.

The kernel's one `worker()` outlives cells and browser pages: a notebook opened again shows the task in progress.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from jukebox_kit.errors import JukeboxKitError, StoppedError
from jukebox_kit.model import TOP
from jukebox_kit.steps import Progress, RunSettings, Speed, duration
from jukebox_kit.training import TrainingProgress

log = logging.getLogger(__name__)

Phase = Literal["idle", "running", "stopping", "done", "stopped", "failed"]

NOTIFY_EVERY = 0.5  # seconds between two notifications of progress

LEAVE_WITHIN = 20.0  # seconds in which the task may end when the kernel does


@dataclass(frozen=True)
class State:
    """The worker's task and its progress.

    what: the task, for the user; subject: the song's folder; message: how it ended, in one sentence; speed: as text.
    training: how far a training run is.
    """

    phase: Phase = "idle"
    what: str = ""
    subject: Path | None = None
    message: str = ""
    progress: Progress | None = None
    speed: str = ""
    training: TrainingProgress | None = None

    @property
    def busy(self) -> bool:
        """Whether a task is in progress."""
        return self.phase in ("running", "stopping")


class Worker:
    """Runs one task at a time in a thread and notifies those who watch."""

    def __init__(self) -> None:
        self.state = State()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watchers: list[Callable[[State], None]] = []
        self._speed, self._notified = Speed(), 0.0

    def start(self, what: str, do: Callable[[Worker], str], notes: Path, subject: Path | None = None) -> bool:
        """Start a task; returns False if another is in progress. `do` runs it and returns a message about its end.

        The traceback of an unexpected error is written to a file in the folder `notes`. subject: the song's folder.
        """
        with self._lock:
            if self.state.busy:
                return False
            self.state = State("running", what, subject)
            self._stop.clear()
            self._speed = Speed()
        self._thread = threading.Thread(target=self._run, args=(do, notes), name="jukebox_kit work", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Ask the task to stop; it saves and ends at its next token."""
        with self._lock:
            if self.state.phase != "running":
                return
            self._stop.set()
            self.state = replace(self.state, phase="stopping")
        self._notify()

    def stopping(self) -> bool:
        """Return whether the user asked to stop."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise StoppedError if the user asked to stop; for tasks that sample no tokens."""
        if self._stop.is_set():
            raise StoppedError("Stopped. Everything is saved.")

    def options(self, run: RunSettings | None = None) -> RunSettings:
        """Return the settings with callbacks that report progress to this worker and stop with it."""
        return replace(run or RunSettings(), progress=self.note, stop=self._stop.is_set)

    def note(self, progress: Progress) -> None:
        """Record progress; watchers are notified at most twice a second."""
        self._speed.note(progress)
        now = time.monotonic()
        if now - self._notified >= NOTIFY_EVERY or progress.done >= progress.total:
            self._notified = now
            speed = self._speed.summary()
            self._change(lambda state: replace(state, progress=progress, speed=speed))

    def note_training(self, training: TrainingProgress) -> None:
        """Record the progress of training; watchers are notified of each measurement, otherwise twice a second."""
        self._speed.note(Progress(TOP, training.step, training.steps))
        now, before = time.monotonic(), self.state.training
        measured = before is None or len(before.measured) != len(training.measured)
        if measured or now - self._notified >= NOTIFY_EVERY or training.step == training.steps:
            self._notified = now
            rate, left = self._speed.rate, self._speed.left
            speed = "" if rate is None or left is None else f"{1 / rate:.2g} s a step, {duration(left)} left"
            self._change(lambda state: replace(state, training=training, speed=speed))

    def say(self, what: str) -> None:
        """Change the description of the task."""
        self._change(lambda state: replace(state, what=what))

    def say_speed(self, speed: str) -> None:
        """Show the speed of a task that does not sample levels; others report their progress to `note`."""
        self._change(lambda state: replace(state, speed=speed))

    def watch(self, changed: Callable[[State], None], first: bool = False) -> Callable[[], None]:
        """Call `changed` with each new state, if `first` before other watchers; returns a function that ends this."""
        self._watchers.insert(0 if first else len(self._watchers), changed)
        return lambda: self._watchers.remove(changed)

    def wait(self, seconds: float | None = None) -> State:
        """Wait for the end of the task, at most `seconds`; returns the state."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.state

    def leave(self) -> None:
        """Stop the task and wait until it has saved."""
        self.stop()
        self.wait(LEAVE_WITHIN)

    def _run(self, do: Callable[[Worker], str], notes: Path) -> None:
        self._notify()
        phase: Phase
        try:
            phase, message = "done", do(self)
        except StoppedError:
            phase, message = "stopped", "Stopped. Everything is saved; resume to continue."
        except JukeboxKitError as error:
            phase, message = "failed", f"{error}"
        except BaseException as error:  # otherwise it would be lost with the thread
            phase, message = "failed", _unexpected(error, notes)
        self._change(lambda state: replace(state, phase=phase, message=message))

    def _change(self, changed: Callable[[State], State]) -> None:
        """Replace the state and notify watchers."""
        with self._lock:
            self.state = changed(self.state)
        self._notify()

    def _notify(self) -> None:
        for watcher in list(self._watchers):
            try:
                watcher(self.state)
            except Exception:  # a widget that fails must not end the task
                log.exception("a widget could not be updated")


@cache
def worker() -> Worker:
    """Return the kernel's worker; when the kernel shuts down, it saves and ends."""
    created = Worker()
    atexit.register(created.leave)
    return created


def _unexpected(error: BaseException, folder: Path) -> str:
    """Return a sentence about an error that is not the user's, and write its traceback to a file."""
    file = folder / "jukebox_kit-error.txt"
    message = f"Unexpected error ({type(error).__name__}: {error}); progress is saved."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return f"{message} Try again; if it happens again, report it."
    return f"{message} Try again; if it happens again, report it with the file {file}."
