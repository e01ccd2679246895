"""The state of the work: a bar for each level, speed, time left, Stop, Resume, and how it ended."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from jukebox_kit.model import DOWNWARD, TOP
from jukebox_kit.notebook.background import State
from jukebox_kit.notebook.markup import ENDS, styled_text
from jukebox_kit.notebook.session import Session, begun_below
from jukebox_kit.notebook.widgets import show
from jukebox_kit.steps import level_2, sample


class Status:
    """The section that stays visible while work is running."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.summary, self.ended = widgets.HTML(), widgets.HTML()
        self.summary.add_class("jk-words")
        self.ended.add_class("jk-ended")
        self.bars = {level: _bar(level) for level in DOWNWARD}
        self.stop = widgets.Button(description="Stop", icon="stop", button_style="warning", tooltip="Save and stop")
        self.stop.add_class("jk-stop")
        self.stop.on_click(lambda _: session.worker.stop())
        self.resume = widgets.Button(description="Resume", icon="play", layout=widgets.Layout(width="auto"))
        self.resume.add_class("jk-resume")
        self.resume.on_click(lambda _: self._resume())
        self.box = widgets.VBox([widgets.HBox([self.stop, self.resume, self.summary]), *self.bars.values(), self.ended])
        session.watch(self.refresh)
        session.worker.watch(self._show_early, first=True)
        self.refresh()

    def refresh(self) -> None:
        """Show the progress of the song."""
        song, busy = self.session.song, self.session.worker.state.busy
        statuses = song.status() if song is not None else ()
        for status in statuses:
            bar = self.bars[status.level]
            if not busy or status.done > bar.value or bar.max != status.total:
                bar.max, bar.value = status.total, status.done
        for bar in self.bars.values():
            bar.layout.display = "" if statuses else "none"
        unfinished = any(s.done < s.total for s in statuses if s.level == TOP or (song and begun_below(song)))
        self.resume.layout.display = "" if unfinished and not busy else "none"
        self._show(self.session.worker.state)

    def _show_early(self, state: State) -> None:
        """Show what need not wait for the players; "done" appears when they are up to date."""
        if state.phase != "done":
            self._show(state)

    def _show(self, state: State) -> None:
        self.stop.disabled = state.phase != "running"
        if state.progress is not None and state.busy:
            bar = self.bars[state.progress.level]
            bar.max, bar.value = state.progress.total, min(state.progress.done, state.progress.total)
            bar.layout.display = ""
        texts = {"running": f"{state.what}: {state.speed or 'preparing …'}", "stopping": "saving and stopping …"}
        show(self.summary, styled_text(texts.get(state.phase, "")))
        if self.session.error:
            show(self.ended, styled_text(self.session.error, "error"))
        else:
            show(self.ended, styled_text("" if state.busy else state.message, ENDS.get(state.phase, "plain")))

    def _resume(self) -> None:
        song = self.session.song
        if song is None:
            return

        def piece() -> str:
            model, options = self.session.loaded_for(song), self.session.options()
            if begun_below(song):
                sample(song, model=model, run=options)
                return "All levels are done."
            level_2(song, model, options)
            return "Level 2 is done: listen, choose, extend or upsample."

        self.session.do(f"{song.root.name}, resume", piece)


def _bar(level: int) -> Any:
    bar = widgets.IntProgress(description=f"level {level}", max=1, layout=widgets.Layout(width="98%"))
    bar.add_class(f"jk-bar-{level}")
    return bar
