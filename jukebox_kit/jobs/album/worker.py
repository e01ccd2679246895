"""The process that does a rank's tasks, a child of the rank.

It can die, hang or run out of memory while its rank lives, so that the launcher does not end all ranks. If its rank
dies, it saves and exits.
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
from jukebox_kit.jobs.album.schedule import AlbumSettings, Task, TaskOutcome
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

REPORT_SECONDS = 0.5  # between two reports of progress


class TaskWorker:
    """Does tasks one after another; keeps the model loaded if the next task can use it."""

    def __init__(self, settings: AlbumSettings, rank: Connection) -> None:
        self.settings, self.rank = settings, rank
        self.loaded: Model | None = None
        self.stop = threading.Event()
        self.reported, self.sampled = 0.0, 0

    def do(self, task: Task) -> TaskOutcome:
        """Do a task; returns its outcome whatever happens."""
        began, self.sampled = time.monotonic(), 0
        log.info("starting %s", task.summary)
        end, why = ended(task.song, lambda: self._work(task))
        seconds = time.monotonic() - began
        log.info("%s %s after %.1f s, %d tokens %s", task.summary, end, seconds, self.sampled, why)
        return TaskOutcome(task, end, why, tokens=self.sampled, seconds=seconds)

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
            model = load_for(request.model, request.seconds, request.items, run, self.loaded, request.lora_scale)
        if model is not self.loaded:
            where = model.device if model.device.type == "cuda" else f"{torch.get_num_threads()} threads"
            log.info("loaded model %s, %s, on %s", model.definition.name, model.placement.weights, where)
        self.loaded = model
        return model

    def _progress(self, progress: Progress) -> None:
        self.sampled = max(self.sampled, progress.done - progress.sampled_before)
        now = time.monotonic()
        if now - self.reported >= REPORT_SECONDS:
            self.reported = now
            with suppress(OSError):  # the rank is gone, as the thread that reads its tasks will notice
                self.rank.send(progress)


def _song(task: Task, model: Model) -> Song:
    """Return a task's song, created if it does not exist; tasks of some rows wait for others that create it."""

    def create() -> Song:
        return Song.create(task.song, model, **asdict(task.request))

    return create() if task.rows is None else patiently(create)


def work(rank: Connection, settings: AlbumSettings, log_file: Path) -> None:
    """Do the tasks that the rank sends until it closes the connection."""
    os.setsid()  # a terminal's signals go to the rank, which passes them on
    with log_file.open("ab") as file:  # also for what libraries print
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    worker = TaskWorker(settings, rank)
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
        except OSError:  # the rank is gone; everything is saved
            break
