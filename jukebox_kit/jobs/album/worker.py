"""The process that does a rank's tasks, a child of the rank.

A process of its own can die, hang or fill the memory without its rank, and thus without the launcher ending all the
others. Where its rank is gone, it saves and ends too.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from jukebox_kit.engine import Model
from jukebox_kit.jobs.album.schedule import AlbumSettings, Outcome, Task
from jukebox_kit.jobs.queue import ended
from jukebox_kit.song import Song, is_song
from jukebox_kit.steps import (
    Progress,
    level_0,
    level_1,
    level_2,
    load_for,
    load_planned,
    patiently,
    sample_shard,
)

log = logging.getLogger(__name__)

STEPS = {2: level_2, 1: level_1, 0: level_0}

TELL_EVERY = 0.5  # seconds between two tellings of progress


class Worker:
    """Does tasks one after another, with the model of the one before where it serves."""

    def __init__(self, settings: AlbumSettings, rank: Connection) -> None:
        self.settings, self.rank = settings, rank
        self.loaded: Model | None = None
        self.stop = threading.Event()
        self.told, self.made = 0.0, 0

    def do(self, task: Task) -> Outcome:
        """Do a task, whatever becomes of it."""
        began, self.made = time.monotonic(), 0
        log.info("starts %s", task.summary)
        end, why = ended(task.song, lambda: self._work(task))
        seconds = time.monotonic() - began
        log.info("%s %s after %.1f s, %d tokens %s", task.summary, end, seconds, self.made, why)
        return Outcome(task, end, why, tokens=self.made, seconds=seconds)

    def _work(self, task: Task) -> None:
        run = replace(self.settings.run, progress=self._progress, stop=self.stop.is_set)
        try:
            model = self._model(task)
            song = _song(task, model)
            if task.rows is None:
                STEPS[task.level](song, model, run)
            else:
                sample_shard(song, task.level, range(*task.rows), model, run)
        except (MemoryError, torch.OutOfMemoryError):
            self.loaded = None  # so that the next task starts with all memory free
            raise

    def _model(self, task: Task) -> Model:
        run, request = self.settings.run, task.request
        if is_song(task.song):
            model = load_planned(Song.open(task.song), run, self.loaded)
        else:
            model = load_for(request.model, request.seconds, request.items, run, self.loaded)
        if model is not self.loaded:
            where = model.device if model.device.type == "cuda" else f"{torch.get_num_threads()} threads"
            log.info("loaded model %s, %s, on %s", model.definition.name, model.placement.weights, where)
        self.loaded = model
        return model

    def _progress(self, progress: Progress) -> None:
        self.made = max(self.made, progress.done - progress.stood)
        now = time.monotonic()
        if now - self.told >= TELL_EVERY:
            self.told = now
            with suppress(OSError):  # the rank is gone, which whoever reads its tasks finds too
                self.rank.send(progress)


def _song(task: Task, model: Model) -> Song:
    """Return a task's song, made where it is not there; who makes a share of it waits for others who make it too."""

    def create() -> Song:
        return Song.create(task.song, model, **asdict(task.request))

    return create() if task.rows is None else patiently(create)


def work(rank: Connection, settings: AlbumSettings, log_file: Path) -> None:
    """Do the tasks that the rank sends until it closes the connection."""
    os.setsid()  # a terminal's signals are the rank's, which passes them on
    with log_file.open("ab") as file:  # and what libraries print
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    worker = Worker(settings, rank)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                tasks.put(rank.recv())
        except (EOFError, OSError):
            worker.stop.set()
            tasks.put(None)

    threading.Thread(target=read, name="tasks", daemon=True).start()
    while (task := tasks.get()) is not None:
        outcome = worker.do(task)
        try:
            rank.send(outcome)
        except OSError:  # the rank is gone; all is saved
            break
