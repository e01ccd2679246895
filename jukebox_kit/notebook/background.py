"""Work in a thread of its own, so that widgets live while it runs; one piece at a time for the whole kernel.

The kernel's one `worker()` outlives cells and browser pages: who opens the notebook again finds what is under way.
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
from jukebox_kit.steps import Progress, RunSettings, Speed

log = logging.getLogger(__name__)

Phase = Literal["idle", "running", "stopping", "done", "stopped", "failed"]

TELL_EVERY = 0.5  # seconds between two tellings of progress

LEAVE_WITHIN = 20.0  # seconds that work is given to end when the kernel does


@dataclass(frozen=True)
class State:
    """What the worker is at.

    what: for a person; subject: the song's folder; message: how it ended, one sentence; speed: in words.
    """

    phase: Phase = "idle"
    what: str = ""
    subject: Path | None = None
    message: str = ""
    progress: Progress | None = None
    speed: str = ""

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return self.phase in ("running", "stopping")


class Worker:
    """Does one piece of work at a time in a thread and tells whoever watches."""

    def __init__(self) -> None:
        self.state = State()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watchers: list[Callable[[State], None]] = []
        self._speed, self._told = Speed(), 0.0

    def start(self, what: str, do: Callable[[Worker], str], notes: Path, subject: Path | None = None) -> bool:
        """Begin a piece of work on a song; False where another is under way. `do` returns what to tell of its end.

        An error that nobody foresaw goes into a file in the folder `notes`.
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
        """Ask the work to stop; it saves and ends at its next token."""
        with self._lock:
            if self.state.phase != "running":
                return
            self._stop.set()
            self.state = replace(self.state, phase="stopping")
        self._tell()

    def check(self) -> None:
        """Raise StoppedError where a stop was asked for; for work between tokens."""
        if self._stop.is_set():
            raise StoppedError("Stopped. Everything is saved.")

    def options(self, run: RunSettings | None = None) -> RunSettings:
        """Return the settings with callbacks that report to this worker and stop with it."""
        return replace(run or RunSettings(), progress=self.note, stop=self._stop.is_set)

    def note(self, progress: Progress) -> None:
        """Take note of progress; watchers are told at most twice a second."""
        self._speed.note(progress)
        now = time.monotonic()
        if now - self._told >= TELL_EVERY or progress.done >= progress.total:
            self._told = now
            speed = self._speed.summary()
            self._change(lambda state: replace(state, progress=progress, speed=speed))

    def say(self, what: str) -> None:
        """Say what the work is at now."""
        self._change(lambda state: replace(state, what=what))

    def watch(self, told: Callable[[State], None], first: bool = False) -> Callable[[], None]:
        """Call `told` with each new state, where `first` before those that watch already; returns what ends that."""
        self._watchers.insert(0 if first else len(self._watchers), told)
        return lambda: self._watchers.remove(told)

    def wait(self, seconds: float | None = None) -> State:
        """Wait for the end of what is under way, at most `seconds`; returns the state."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.state

    def leave(self) -> None:
        """Stop what is under way and wait until it has saved."""
        self.stop()
        self.wait(LEAVE_WITHIN)

    def _run(self, do: Callable[[Worker], str], notes: Path) -> None:
        self._tell()
        phase: Phase
        try:
            phase, message = "done", do(self)
        except StoppedError:
            phase, message = "stopped", "Stopped. Everything is saved; resume to continue."
        except JukeboxKitError as error:
            phase, message = "failed", f"{error}"
        except BaseException as error:  # a thread's exception would be lost with it
            phase, message = "failed", _unforeseen(error, notes)
        self._change(lambda state: replace(state, phase=phase, message=message))

    def _change(self, changed: Callable[[State], State]) -> None:
        """Replace the state by what it becomes, and tell everyone who watches."""
        with self._lock:
            self.state = changed(self.state)
        self._tell()

    def _tell(self) -> None:
        for told in list(self._watchers):
            try:
                told(self.state)
            except Exception:  # a broken picture is no reason to end a night's work
                log.exception("a widget could not be brought up to date")


@cache
def worker() -> Worker:
    """Return the kernel's worker; a kernel that is shut down politely lets it save and end."""
    made = Worker()
    atexit.register(made.leave)
    return made


def _unforeseen(error: BaseException, folder: Path) -> str:
    """Return a sentence about an error that is no user's mistake, and keep what a developer needs to fix it."""
    where = folder / "jukebox_kit-error.txt"
    told = f"Unexpected error ({type(error).__name__}: {error}); progress is saved."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        where.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return f"{told} Try again; if it happens again, report it."
    return f"{told} Try again; if it happens again, report it with the file {where}."
