"""Listening: all items side by side, whole or only the end, at the best level so far or at a chosen one."""

from __future__ import annotations

import math
from collections.abc import Callable

import ipywidgets as widgets
from markupsafe import Markup

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import LEVELS
from jukebox_kit.notebook.markup import styled_text
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import button, heading, reachable
from jukebox_kit.song import Audio, Song, audio_bytes, best_audio, strip_png

BEST = "Best so far"


class Listening:
    """Players of all items; the button below each continues all items from it."""

    def __init__(self, session: Session, choose: Callable[[int], None]) -> None:
        self.session, self.choose = session, choose
        kinds = [(BEST, None), *((f"level {level}", level) for level in LEVELS)]
        # Buttons, not a dropdown: on a reopened page a dropdown may show no selection.
        self.level = widgets.ToggleButtons(options=kinds, style={"button_width": "auto"})
        self.level.add_class("jk-hear")
        wide = {"description_width": "initial"}
        layout = widgets.Layout(width="220px")
        self.last = widgets.FloatText(value=0, description="Last seconds only (0: all)", style=wide, layout=layout)
        self.last.add_class("jk-last")
        self.again = button("Refresh players", "again", self.refresh, "refresh")
        self.level.observe(lambda _: self.refresh(), "value")
        self.last.observe(lambda _: self.refresh(), "value")
        self.said = widgets.HTML()
        self.players: list[_Player] = []
        self.row = widgets.Box([], layout=widgets.Layout(display="flex", flex_flow="row wrap"))
        self.box = widgets.VBox(
            [heading("Listen and choose"), widgets.HBox([self.level, self.last, self.again]), self.said, self.row]
        )
        session.watch(self._changed)

    def refresh(self) -> None:
        """Update the players with what is saved."""
        song = self.session.song
        if song is None:
            return
        items = song.request.items
        while len(self.players) < items:
            self.players.append(_Player(len(self.players), self.choose))
        for player in self.players[:items]:
            try:
                player.show(self._audio(song, player.item), song.sr)
            except JukeboxKitError as error:
                self.said.value = styled_text(str(error), "error")
        if len(self.row.children) != items:
            self.row.children = tuple(player.box for player in self.players[:items])
            reachable(self.row)

    def _changed(self) -> None:
        song, busy = self.session.song, self.session.worker.state.busy
        self.box.layout.display = "none" if song is None else ""
        for player in self.players:
            player.button.disabled = busy
        if song is not None and not busy:
            self.refresh()

    def _audio(self, song: Song, item: int) -> Audio:
        model, level = self.session.loaded(song), self.level.value
        audio = best_audio(song, item, model) if level is None else song.audio(level, item, model)
        last = self.last.value * song.sr
        return audio[-math.ceil(last) :] if 0 < last < len(audio) else audio


class _Player:
    """One item's player. Its widgets are reused, because an open page keeps showing them."""

    def __init__(self, item: int, choose: Callable[[int], None]) -> None:
        self.item = item
        self.summary = widgets.HTML()
        self.audio = widgets.Audio(value=b"", format="flac", autoplay=False, loop=False)
        self.audio.add_class(f"jk-player-{item}")
        self.button = button(f"Continue from item {item}", f"choose-{item}", lambda: choose(item), "check")
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width="300px", height="80px"))
        layout = widgets.Layout(margin="4px", padding="6px", border="1px solid #8884", width="320px")
        self.box = widgets.VBox([self.summary, self.picture, self.audio, self.button], layout=layout)

    def show(self, audio: Audio, sr: int) -> None:
        """Show audio, (samples,) at `sr` samples a second."""
        self.summary.value = Markup("<b>item {}</b>, {:.1f} s").format(self.item, len(audio) / sr)
        content = audio_bytes(audio, sr, "flac") if len(audio) else b""
        if content != bytes(self.audio.value):
            self.audio.value = content
            self.picture.value = strip_png(audio, sr, 600, 160) if len(audio) else b""
