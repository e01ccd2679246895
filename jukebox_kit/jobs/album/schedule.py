"""Schedules an album: the tasks that remain for each song, and which of them free ranks can start now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from jukebox_kit._values import checked
from jukebox_kit.errors import JukeboxKitError, RequestError
from jukebox_kit.jobs.album.album import Album, AlbumSong
from jukebox_kit.model import DOWNWARD, LEVELS, TOP
from jukebox_kit.song import Request, Song, is_song, level_number, sounds_complete
from jukebox_kit.steps import RunSettings, check_run, merge_shards

End = Literal["finished", "failed", "skipped", "stopped", "lost"]


@dataclass(frozen=True)
class Task:
    """A level of a song, or some of its rows, the first and the one after the last, if other ranks sample the others.

    song: the song's folder, which is created if it does not exist.
    """

    song: Path
    request: Request
    level: int
    rows: tuple[int, int] | None = None

    @property
    def summary(self) -> str:
        """One line of text that describes it."""
        rows = "" if self.rows is None else f", rows {self.rows[0]} to {self.rows[1] - 1}"
        return f"{self.song.name}, level {self.level}{rows}"


@dataclass(frozen=True)
class TaskOutcome:
    """The outcome of a task.

    end: "skipped" if another process works on the song, "lost" if the task's process died or stopped responding.
    tokens: how many it sampled, of all rows together.
    seconds: how long it took.
    """

    task: Task
    end: End
    why: str = ""
    rank: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class AlbumSettings:
    """How an album is sampled.

    until: the last level.
    patience: seconds after which a worker that does not respond is given up.
    run: as for a single song, without callbacks, which cannot be sent to another process.
    """

    until: int = 0
    patience: float = 600.0
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        object.__setattr__(self, "until", level_number(self.until, "until"))
        object.__setattr__(self, "patience", checked("patience", self.patience, float))
        if self.patience <= 0:
            raise RequestError(f"patience must be above 0 seconds, not {self.patience:g}.", field="patience")
        check_run(self.run)


@dataclass
class SongTask:
    """A song of an album during a run.

    left: tokens missing of levels 0, 1, 2 at the start of the run.
    levels: those still to be sampled, the top first.
    pending: how many of its tasks are running.
    shared: whether its next level is sampled in shards.
    end: how it ended, empty until then.
    """

    song: AlbumSong
    root: Path
    left: tuple[int, ...]
    levels: list[int]
    pending: int = 0
    shared: bool = False
    end: str = ""
    why: str = ""
    tokens: int = 0
    seconds: float = 0.0
    retried: bool = False
    failed: list[TaskOutcome] = field(default_factory=list[TaskOutcome])

    @property
    def ready(self) -> bool:
        """Whether its next level can start."""
        return not self.end and not self.pending

    def tasks(self, parts: int, rows: int) -> list[Task]:
        """Start its next level of `rows` rows as `parts` tasks; one task is the whole level."""
        level = self.levels[0]
        self.shared, self.pending = parts > 1, parts
        if parts == 1:
            return [Task(self.root, self.song.request, level)]
        cuts = pairwise(part * rows // parts for part in range(parts + 1))
        return [Task(self.root, self.song.request, level, cut) for cut in cuts]

    def record(self, outcome: TaskOutcome) -> None:
        """Record the outcome of one of its tasks."""
        self.pending -= 1
        self.tokens, self.seconds = self.tokens + outcome.tokens, self.seconds + outcome.seconds
        if outcome.end != "finished":
            self.failed.append(outcome)
        if self.pending:
            return
        if self.failed:
            worst = min(self.failed, key=lambda one: one.end == "skipped")
            self.end, self.why, self.failed = worst.end, worst.why, []
        elif outcome.task.rows is None:  # after shards, a task of its own merges them
            self.levels.pop(0)
            self.shared = False
            self.end = "" if self.levels else "finished"

    def retry(self) -> bool:
        """Try again a song that another process was working on; False if it was not that, or was tried again before."""
        if self.end != "skipped" or self.retried:
            return False
        self.end, self.why, self.shared, self.retried = "", "", False, True
        return True

    def rows(self) -> int:
        """Return how many rows its next level has, 1 if it cannot be split; merges the shards that exist."""
        request, level = self.song.request, self.levels[0]
        if self.shared:
            return 1
        try:
            if not is_song(self.root):
                return request.items if level == TOP else 1
            with Song.open(self.root).locked() as state:
                state = merge_shards(state, level)
            return 1 if state.finished(level) else request.items * len(state.layout(level).starts)
        except JukeboxKitError:  # the task that samples the level will report it
            return 1


def song_tasks(album: Album, until: int) -> list[SongTask]:
    """Return the songs of an album in the order to sample them, by model, so that each is loaded once.

    A song that is sampled down to level `until` has no levels left and is finished.
    """
    models = list(dict.fromkeys(song.request.model for song in album.songs))
    ordered = sorted(album.songs, key=lambda song: models.index(song.request.model))
    return [_song_task(album, song, until) for song in ordered]


def assign_tasks(works: Sequence[SongTask], free: int) -> list[Task]:
    """Return tasks for `free` ranks: a level of each song that is ready, split into rows if there are ranks left."""
    ready = [work for work in works if work.ready][:free]
    extra = free - len(ready)
    rows = [work.rows() if extra else 1 for work in ready]
    parts = [1] * len(ready)
    for _ in range(extra):
        more = [place for place, count in enumerate(parts) if count < rows[place]]
        if more:
            parts[min(more, key=lambda place: parts[place])] += 1
    return [task for work, count, of in zip(ready, parts, rows, strict=True) for task in work.tasks(count, of)]


def _song_task(album: Album, song: AlbumSong, until: int) -> SongTask:
    root = album.folder_of(song)
    if not is_song(root):
        request, plans = song.request, song.resolved.plans
        counts = [plan.total * request.items for plan in plans]
        left = tuple(count if level >= until else 0 for level, count in enumerate(counts))
        return SongTask(song, root, left, [level for level in DOWNWARD if level >= until])
    state = Song.open(root).state
    left = tuple(state.missing(level) if level >= until else 0 for level in LEVELS)
    levels = [level for level in DOWNWARD if level >= until and (left[level] or not sounds_complete(state, level))]
    return SongTask(song, root, left, levels, end="" if levels else "finished")
