"""Finishing: upsampling, the player with pictures and lyrics, and audio files for the world."""

from __future__ import annotations

import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import TOP
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.embed import embedded_page, framed
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import button, check_box, heading, short_field, told
from jukebox_kit.song import FORMATS, Song, add_words, export_audio
from jukebox_kit.song.lyrics import can_align, read_alignment
from jukebox_kit.steps import level_2, upsample


class Finishing:
    """From level 2 to what can be given away."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.items = short_field("upsample_items", "items", "all", "all, or 0, 2")
        self.upsample = button("upsample to level 0", "upsample", self._upsample, "arrow-up")
        self.unassign = check_box("give the runtime back when all is safe on Drive")
        self.unassign.layout.display = "" if colab.on_colab() else "none"
        self.player = button("player with pictures and lyrics", "player", self._show_player, "headphones")
        self.shown = widgets.HTML()
        self.shown.add_class("jk-shown")
        self.format = widgets.Dropdown(options=list(FORMATS), description="export as")
        self.format.add_class("jk-format")
        self.loudness = check_box("loudness -14 LUFS")
        self.stereo = check_box("stereo of three items")
        self.export = button("export", "export", self._export, "download")
        self.said = widgets.HTML()
        self.said.add_class("jk-said-finish")
        self.box = widgets.VBox(
            [
                heading("Upsample and give away"),
                widgets.HBox([self.items.box, self.upsample, self.unassign]),
                widgets.HBox([self.format, self.loudness, self.stereo, self.export]),
                widgets.HBox([self.player]),
                self.said,
                self.shown,
            ]
        )
        session.watch(self.refresh)

    def refresh(self) -> None:
        """Show what can be done now."""
        song, busy = self.session.song, self.session.worker.state.busy
        self.box.layout.display = "none" if song is None else ""
        self.upsample.disabled = self.export.disabled = busy
        self.stereo.disabled = song is None or song.request.items != 3
        if song is None:
            self.shown.value = ""

    def _items(self) -> tuple[int, ...] | None:
        """Return the items typed, None for all; ValueError where they are none."""
        typed = self.items.value.strip().lower()
        return None if typed in ("", "all") else tuple(int(part) for part in typed.split(","))

    def _upsample(self) -> None:
        song = self.session.song
        if song is None:
            return
        try:
            items = self._items()
        except ValueError:
            self.items.say("give all, or numbers with commas between: 0, 2")
            return
        self.items.say()
        unassign = self.unassign.value

        def piece() -> str:
            model, options = self.session.loaded_for(song), self.session.options()
            level_2(song, model, options)
            upsample(song, items, model=model, options=options)
            if unassign:
                colab.disconnect([song])
            return "All levels are done."

        self.session.do(f"{song.root.name}, upsampling", piece)

    def _export(self) -> None:
        song = self.session.song
        if song is None:
            return
        format, loudness = self.format.value, -14.0 if self.loudness.value else None
        stereo = self.stereo.value and not self.stereo.disabled

        def piece() -> str:
            model = self.session.loaded(song.request.model)
            exported = export_audio(song, None, format, normalise=loudness, stereo=stereo, model=model)
            return " ".join([f"Exported: {', '.join(str(path) for path in exported.paths)}", *exported.notes])

        self.session.do(f"{song.root.name}, export", piece)

    def _show_player(self) -> None:
        song = self.session.song
        if song is None:
            return
        lacking = can_align(song) and any(read_alignment(song, item) is None for item in song.items(TOP))
        if not lacking or self.session.worker.state.busy:
            self._embed(song)
            return

        def piece() -> str:
            add_words(song, self.session.loaded(song.request.model))
            self._embed(song)
            return "The lyrics were laid along the song."

        self.session.do(f"{song.root.name}, lyrics in time", piece)

    def _embed(self, song: Song) -> None:
        try:
            page = embedded_page(song)
        except (JukeboxKitError, OSError) as error:
            self.said.value = told(str(error), "error")
            return
        self.said.value = told(f"The same page, for any browser: {song.root / 'index.html'}")
        self.shown.value = framed(page)
