"""The overnight run: a table with the progress of every song, and one button that finishes them all."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets
from markupsafe import Markup

from jukebox_kit._files import kept_path
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.jobs import (
    ORDERS,
    QueueReport,
    SongOutcome,
    SongStatus,
    import_old,
    order,
    song_statuses,
    work_through,
)
from jukebox_kit.model import DOWNWARD
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.background import State
from jukebox_kit.notebook.markup import filled, lines, styled_text
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import button, check_box
from jukebox_kit.song import Song
from jukebox_kit.steps import duration


class Night:
    """All songs of a folder; `old` is a folder with runs of other programs, imported first."""

    def __init__(self, songs: Path, old: Path | None = None) -> None:
        self.session, self.old = Session(songs), None if old is None else kept_path(old)
        self.how = widgets.Dropdown(options=list(ORDERS), description="order")
        self.how.add_class("jk-order")
        self.how.observe(lambda _: self.refresh(), "value")
        self.go = button("Finish all songs", "finish", self.start, "moon-o")
        self.stop = button("Stop", "stop", self.session.worker.stop, "stop")
        self.look = button("Refresh", "look", self.refresh, "refresh")
        self.unassign = check_box("Disconnect the runtime once everything is on Drive")
        self.unassign.layout.display = "" if colab.on_colab() else "none"
        self.bar = widgets.IntProgress(layout=widgets.Layout(width="98%"))
        self.summary, self.table, self.report = widgets.HTML(), widgets.HTML(), widgets.HTML()
        for name, widget in (("words", self.summary), ("table", self.table), ("report", self.report)):
            widget.add_class(f"jk-{name}")
        buttons = widgets.HBox([self.how, self.go, self.stop, self.look, self.unassign])
        self.box = widgets.VBox([buttons, self.summary, self.bar, self.table, self.report])
        self.box.add_class("jk-night")
        self.session.watch(self.refresh)
        self.session.worker.watch(self._show)
        self.refresh()

    def start(self) -> None:
        """Start in a separate thread; `wait` waits for the end."""
        how, unassign = self.how.value, self.unassign.value

        def piece() -> str:
            imported = () if self.old is None else import_old(self.session.songs, self.old)
            unfinished = order([s for s in song_statuses(self.session.songs) if s.state != "done"], how)
            self.report.value = lines(styled_text(note, "note") for note in imported)
            load, options = self.session.loaded_for, self.session.options()
            report = work_through([s.song for s in unfinished], lambda song, _: load(song), options, self._at)
            self.report.value = lines([*(styled_text(note, "note") for note in imported), *map(_line, report.outcomes)])
            self.session.worker.check()
            if unassign:
                colab.disconnect([Song.open(outcome.song) for outcome in report.ended("finished")])
            return _summary(report)

        self.session.do("all songs", piece)

    def wait(self) -> None:
        """Wait until the work has ended, for a cell that should run as long as it does."""
        self.session.worker.wait()

    def refresh(self) -> None:
        """Read the folder again."""
        try:
            songs = order(song_statuses(self.session.songs), self.how.value)
            self.table.value = _table(songs) if songs else styled_text(f"{self.session.songs} has no songs yet.")
        except (JukeboxKitError, OSError) as error:
            self.table.value = styled_text(str(error), "note")
        self._show(self.session.worker.state)

    def _at(self, outcome: SongOutcome) -> None:
        """Show which song is being worked on."""
        if outcome.end == "working":
            self.session.worker.say(outcome.song.name)
        self.refresh()

    def _show(self, state: State) -> None:
        self.go.disabled, self.stop.disabled = state.busy, state.phase != "running"
        self.bar.layout.display = "" if state.busy and state.progress else "none"
        if state.progress is not None:
            self.bar.max, self.bar.value = state.progress.total, state.progress.done
        level = f", level {state.progress.level}" if state.progress else ""
        text = f"{state.what}{level}: {state.speed or 'preparing …'}" if state.busy else state.message
        shown = styled_text(self.session.error or text, "error" if self.session.error else "plain")
        if self.summary.value != shown:
            self.summary.value = shown


def _table(rows: tuple[SongStatus, ...]) -> str:
    """Return the progress of songs, in HTML."""
    levels = tuple(DOWNWARD)
    songs = [
        {
            "name": one.song.name,
            "shares": [_share(one, level) for level in levels],
            "state": one.state + (f": {one.why}" if one.why else ""),
        }
        for one in rows
    ]
    return filled("songs.html", {"levels": levels, "songs": songs})


def _share(one: SongStatus, level: int) -> str:
    """Return how much of a level is sampled, as text."""
    return f"{one.sampled[level] / one.total[level]:.0%}" if one.total[level] else ""


def _line(outcome: SongOutcome) -> Markup:
    kind = {"finished": "good", "failed": "error"}.get(outcome.end, "note")
    why = f": {outcome.why}" if outcome.why else ""
    return styled_text(f"{outcome.song.name}: {outcome.end} in {duration(outcome.seconds)}{why}", kind)


def _summary(report: QueueReport) -> str:
    """Return the outcome of the run in one sentence."""
    counts = [f"{len(report.ended(end))} {end}" for end in ("finished", "failed", "skipped") if report.ended(end)]
    return f"{', '.join(counts) or 'nothing to do'}, in {duration(report.seconds)}."
