"""A queue of songs, as for a night: the status of each, the order to finish them in, and how each ended."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from jukebox_kit._files import kept_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError, RequestError, SongBusyError, StoppedError
from jukebox_kit.model import LEVELS
from jukebox_kit.song import Song, SongState, find_songs, level_number, sounds_complete
from jukebox_kit.song.interop import ImportOverrides, import_songs
from jukebox_kit.song.store import holder
from jukebox_kit.steps import RunSettings, load_planned, sample

log = logging.getLogger(__name__)

Loader = Callable[[Song, Model | None], Model]

Ended = Literal["finished", "failed", "skipped", "stopped"]

ORDERS = ("soonest", "name", "oldest")

IMPORTED = "imported"  # the folder beside the songs for those imported from other programs


@dataclass(frozen=True)
class SongStatus:
    """How far a song is. Tuples are level 0, 1, 2.

    sampled, total: seconds of a level, the mean over its items.
    left: tokens still to be sampled, of all items together.
    created: when the song was, in ISO format.
    why: who works on it, what its files lack, or why it cannot be read.
    """

    song: Path
    state: Literal["done", "unfinished", "busy", "unreadable"]
    model: str = ""
    sampled: tuple[float, ...] = (0.0, 0.0, 0.0)
    total: tuple[float, ...] = (0.0, 0.0, 0.0)
    left: tuple[int, ...] = (0, 0, 0)
    created: str = ""
    why: str = ""


@dataclass(frozen=True)
class SongOutcome:
    """How a song ended, or that it is being worked on.

    why: a sentence, empty for one that is finished.
    began: when work on it began, in ISO format.
    seconds: how long it was worked on.
    """

    song: Path
    end: Literal["working", "finished", "failed", "skipped", "stopped"]
    why: str = ""
    began: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class QueueReport:
    """The outcome of each song, in the order in which they ended, and how many seconds they took together."""

    outcomes: tuple[SongOutcome, ...]
    seconds: float

    def ended(self, end: str) -> tuple[SongOutcome, ...]:
        """Return the songs that ended in this way: "finished", "failed", "skipped" or "stopped"."""
        return tuple(outcome for outcome in self.outcomes if outcome.end == end)


def song_statuses(folder: str | Path, until: int | str = 0) -> tuple[SongStatus, ...]:
    """Return the status of each song in a folder, including those of `import_old`; "done" means down to level `until`.

    A song that cannot be read is listed as "unreadable". SongError if there is no such folder.
    """
    root, until = kept_path(folder), level_number(until, "until")
    imported = [root / IMPORTED] if (root / IMPORTED).is_dir() else []
    return tuple(_song_status(path, until) for path in dict.fromkeys(find_songs([root, *imported])))


def order(
    songs: Sequence[SongStatus], by: str = "soonest", seconds_per_token: Mapping[int, float] | None = None
) -> tuple[SongStatus, ...]:
    """Return songs in the order to finish them.

    by: "soonest", least work left first, so that as many songs as possible are finished at any time; "name"; or
    "oldest" first. seconds_per_token: the cost of a token of each level, by default the same for all. RequestError for
    an unknown order.
    """
    if by not in ORDERS:
        raise RequestError(f"unknown order {by}; choose {', '.join(ORDERS)}.")
    costs = seconds_per_token or dict.fromkeys(LEVELS, 1.0)

    def rank(status: SongStatus) -> tuple[float, str, str]:
        work = sum(status.left[level] * costs[level] for level in LEVELS) if by == "soonest" else 0.0
        return work, status.created if by == "oldest" else "", str(status.song)

    return tuple(sorted(songs, key=rank))


def import_old(
    songs: str | Path, source: str | Path | None = None, answers: ImportOverrides | None = None
) -> tuple[str, ...]:
    """Import the runs of other programs below a folder into the folder `imported` of the songs.

    source: that folder, by default the folder of the songs itself. Songs that were imported before do not change, so
    this can be called before every `work_through`. Returns a sentence on each run.
    """
    sentences: list[str] = []
    try:
        for outcome in import_songs(kept_path(source or songs), kept_path(songs) / IMPORTED, answers):
            notes = [f"{outcome.source} is now {outcome.song.shown_path}.", *outcome.notes] if outcome.song else []
            sentences += notes or [outcome.failed]
    except JukeboxKitError as error:  # there are no such runs
        log.info("%s", error)
    return tuple(sentences)


def by_plan(song: Song, loaded: Model | None) -> Model:
    """Return the model for a song as the memory plan chooses it: `loaded`, the last song's, if it can be used."""
    return load_planned(song, loaded=loaded)


def work_through(
    songs: str | Path | Sequence[Path],
    model_loader: Loader = by_plan,
    run: RunSettings | None = None,
    on_outcome: Callable[[SongOutcome], None] | None = None,
    until: int | str = 0,
) -> QueueReport:
    """Finish songs down to level `until`, one after another; returns the outcome of each.

    songs: a folder, whose unfinished songs are taken in the order "soonest", or songs in the order to finish them.
    model_loader: returns a song's model, if possible the model of the song before, which it is passed.
    on_outcome: called when a song starts and when it ends.

    A song that fails does not stop the others, whatever it raises. One that another process works on is tried once more
    at the end. Once `RunSettings.stop` returns True, everything is saved and the run ends.
    """
    until = level_number(until, "until")
    if isinstance(songs, str | Path):
        songs = [s.song for s in order(song_statuses(songs, until)) if s.state != "done"]
    queue = _Queue(model_loader, run or RunSettings(), on_outcome or (lambda _: None), until)
    paths, begun = [kept_path(path) for path in songs], time.monotonic()
    busy = [path for path in paths if not queue.work(path, last=False)]
    for path in busy:
        queue.work(path, last=True)
    return QueueReport(tuple(queue.outcomes), time.monotonic() - begun)


def ended(path: Path, work: Callable[[], object]) -> tuple[Ended, str]:
    """Run some work on a song and catch its errors; returns how it ended, and why if it did not finish."""
    try:
        work()
    except StoppedError as error:
        return "stopped", str(error)
    except SongBusyError as error:
        return "skipped", str(error)
    except JukeboxKitError as error:
        return "failed", str(error)
    except (MemoryError, torch.OutOfMemoryError):
        return "failed", f"not enough memory for {path}; free some, or use a smaller model."
    except Exception as error:  # one unexpected failure must not stop the remaining songs
        log.debug("%s", path, exc_info=True)
        what = f"{type(error).__name__}: {error}"
        log.error("%s failed unexpectedly: %s", path, what)
        return "failed", f"{path} failed unexpectedly ({what}); its saved progress is kept; resume it separately."
    return "finished", ""


class _Queue:
    """Works on songs; keeps the model loaded between them, and collects the outcomes."""

    def __init__(self, load: Loader, run: RunSettings, report: Callable[[SongOutcome], None], until: int) -> None:
        self.load, self.run, self.report, self.until = load, run, report, until
        self.outcomes: list[SongOutcome] = []
        self.loaded: Model | None = None
        self.stopped = False

    def work(self, path: Path, last: bool) -> bool:
        """Work on a song and report its outcome; False if it is busy and this is not the last attempt."""
        if self.stopped or (self.run.stop is not None and self.run.stop()):
            self.stopped = True
            self._end(SongOutcome(path, "stopped", "the run was stopped before it reached this song."))
            return True
        began, since = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), time.monotonic()
        self.report(SongOutcome(path, "working", began=began))
        end, why = self._finish(path)
        if end == "skipped" and not last:
            self.report(SongOutcome(path, "skipped", why, began, time.monotonic() - since))
            return False
        self.stopped = end == "stopped"
        self._end(SongOutcome(path, end, why, began, time.monotonic() - since))
        return True

    def _finish(self, path: Path) -> tuple[Ended, str]:
        def sample_song() -> None:
            song = Song.open(path)
            try:
                self.loaded = self.load(song, self.loaded)
                sample(song, self.until, self.loaded, self.run)
            except (MemoryError, torch.OutOfMemoryError):
                self.loaded = None  # so that the next song starts with all memory free
                raise

        return ended(path, sample_song)

    def _end(self, outcome: SongOutcome) -> None:
        self.outcomes.append(outcome)
        self.report(outcome)


def _song_status(path: Path, until: int) -> SongStatus:
    try:
        return _status_of(Song.open(path).state, path, until)
    except JukeboxKitError as error:
        return SongStatus(path, "unreadable", why=str(error))
    except Exception as error:  # one faulty folder must not hide the others
        return SongStatus(path, "unreadable", why=f"{path} cannot be read ({type(error).__name__}: {error}).")


def _status_of(song: SongState, path: Path, until: int) -> SongStatus:
    left = tuple(song.missing(level) for level in LEVELS)
    silent = [str(level) for level in LEVELS[until:] if not left[level] and not sounds_complete(song, level)]
    total = song.resolved.samples / song.sr
    sampled = tuple(
        total * (1 - left[level] / (len(song.items(level)) * song.resolved.plans[level].total)) for level in LEVELS
    )
    state: Literal["done", "unfinished", "busy"] = "unfinished" if any(left[until:]) or silent else "done"
    why = f"the audio of level {', '.join(silent)} has not been written yet." if silent else ""
    who = holder(path)
    if who is not None:
        state, why = "busy", f"{who} is working on it."
    created = song.manifest.history[0].when
    return SongStatus(path, state, song.request.model, sampled, (total,) * len(LEVELS), left, created, why)
