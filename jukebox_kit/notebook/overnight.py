"""The night: a table of where every song stands, and one button that goes through all that is unfinished."""

from __future__ import annotations

import html
from pathlib import Path

import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.jobs import ORDERS, Outcome, Report, Standing, bring_old, order, standings, work_through
from jukebox_kit.model import DOWNWARD
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.background import State
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import button, check_box, told
from jukebox_kit.song import Song
from jukebox_kit.steps import duration


class Night:
    """All songs of a folder; `old` is a folder of other programs' runs that are brought in first."""

    def __init__(self, songs: Path, old: Path | None = None) -> None:
        self.session, self.old = Session(songs), old
        self.how = widgets.Dropdown(options=list(ORDERS), description="order")
        self.how.add_class("jk-order")
        self.how.observe(lambda _: self.refresh(), "value")
        self.go = button("finish all songs", "finish", self.start, "moon-o")
        self.stop = button("Stop", "stop", self.session.worker.stop, "stop")
        self.look = button("look again", "look", self.refresh, "refresh")
        self.unassign = check_box("give the runtime back when all is safe on Drive")
        self.unassign.layout.display = "" if colab.on_colab() else "none"
        self.bar = widgets.IntProgress(layout=widgets.Layout(width="98%"))
        self.words, self.table, self.report = widgets.HTML(), widgets.HTML(), widgets.HTML()
        for name, widget in (("words", self.words), ("table", self.table), ("report", self.report)):
            widget.add_class(f"jk-{name}")
        buttons = widgets.HBox([self.how, self.go, self.stop, self.look, self.unassign])
        self.box = widgets.VBox([buttons, self.words, self.bar, self.table, self.report])
        self.box.add_class("jk-night")
        self.session.watch(self.refresh)
        self.session.worker.watch(self._show)
        self.refresh()

    def start(self) -> None:
        """Begin, in a thread of its own; `wait` waits for the end."""
        how, unassign = self.how.value, self.unassign.value

        def piece() -> str:
            brought = () if self.old is None else bring_old(self.session.songs, self.old)
            found = order([s for s in standings(self.session.songs) if s.state != "done"], how)
            self.report.value = "<br>".join(told(note, "note") for note in brought)
            load, options = self.session.loaded_for, self.session.options()
            report = work_through([s.song for s in found], lambda song, _: load(song), options, self._at)
            self.report.value = "<br>".join([*(told(note, "note") for note in brought), *map(_line, report.outcomes)])
            self.session.worker.check()
            if unassign:
                colab.disconnect([Song.open(outcome.song) for outcome in report.ended("finished")])
            return _summary(report)

        self.session.do("all songs", piece)

    def wait(self) -> None:
        """Wait until what is under way has ended; for a cell that should last as long as the work."""
        self.session.worker.wait()

    def refresh(self) -> None:
        """Read the folder again."""
        try:
            found = order(standings(self.session.songs), self.how.value)
            self.table.value = _table(found) if found else told(f"{self.session.songs} holds no songs yet.")
        except (JukeboxKitError, OSError) as error:
            self.table.value = told(str(error), "note")
        self._show(self.session.worker.state)

    def _at(self, outcome: Outcome) -> None:
        """Say which song it is now."""
        if outcome.end == "working":
            self.session.worker.say(outcome.song.name)
        self.refresh()

    def _show(self, state: State) -> None:
        self.go.disabled, self.stop.disabled = state.busy, state.phase != "running"
        self.bar.layout.display = "" if state.busy and state.progress else "none"
        if state.progress is not None:
            self.bar.max, self.bar.value = state.progress.total, state.progress.done
        level = f", level {state.progress.level}" if state.progress else ""
        words = f"{state.what}{level}: {state.speed or 'getting ready …'}" if state.busy else state.message
        shown = told(self.session.error or words, "error" if self.session.error else "plain")
        if self.words.value != shown:
            self.words.value = shown


def _table(found: tuple[Standing, ...]) -> str:
    """Return where songs stand, in HTML."""
    head = "<tr><th align=left>song</th><th>level 2</th><th>level 1</th><th>level 0</th><th align=left>state</th></tr>"
    rows = ""
    for one in found:
        shares = "".join(f"<td align=right>{_share(one, level)}</td>" for level in DOWNWARD)
        state = one.state + (f": {one.why}" if one.why else "")
        rows += f"<tr><td>{html.escape(one.song.name)}</td>{shares}<td>{html.escape(state)}</td></tr>"
    return f'<table style="border-spacing:12px 2px">{head}{rows}</table>'


def _share(one: Standing, level: int) -> str:
    """Return how much of a level is made."""
    return f"{one.made[level] / one.total[level]:.0%}" if one.total[level] else ""


def _line(outcome: Outcome) -> str:
    kind = {"finished": "good", "failed": "error"}.get(outcome.end, "note")
    why = f": {outcome.why}" if outcome.why else ""
    return told(f"{outcome.song.name}: {outcome.end} in {duration(outcome.seconds)}{why}", kind)


def _summary(report: Report) -> str:
    """Return what became of the songs in one sentence."""
    counts = [f"{len(report.ended(end))} {end}" for end in ("finished", "failed", "skipped") if report.ended(end)]
    return f"{', '.join(counts) or 'nothing was left to do'}, in {duration(report.seconds)}."
