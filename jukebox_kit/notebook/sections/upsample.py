"""Finishing: upsampling, the player with pictures and lyrics, and export of audio files."""

from __future__ import annotations

import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import TOP
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.embed import embedded_page, page_frame
from jukebox_kit.notebook.markup import styled_text
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import button, check_box, heading, short_field
from jukebox_kit.song import FORMATS, PAGE, Song, add_alignments, export_audio, parsed
from jukebox_kit.song.lyrics import aligned_items, can_align
from jukebox_kit.steps import level_2, upsample


class Finishing:
    """From level 2 to files to share."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.items = short_field("upsample_items", "items", "all", "all, or 0, 2")
        self.upsample = button("Upsample to level 0", "upsample", self._upsample, "arrow-up")
        self.unassign = check_box("Disconnect the runtime once everything is on Drive")
        self.unassign.layout.display = "" if colab.on_colab() else "none"
        self.player = button("Player with pictures and lyrics", "player", self._show_player, "headphones")
        self.shown = widgets.HTML()
        self.shown.add_class("jk-shown")
        self.format = widgets.Dropdown(options=list(FORMATS), description="format")
        self.format.add_class("jk-format")
        self.loudness = check_box("Normalise to -14 LUFS")
        self.stereo = check_box("Stereo mix of three items")
        self.export = button("Export", "export", self._export, "download")
        self.said = widgets.HTML()
        self.said.add_class("jk-said-finish")
        self.box = widgets.VBox(
            [
                heading("Upsample and export"),
                widgets.HBox([self.items.box, self.upsample, self.unassign]),
                widgets.HBox([self.format, self.loudness, self.stereo, self.export]),
                widgets.HBox([self.player]),
                self.said,
                self.shown,
            ]
        )
        session.watch(self.refresh)

    def refresh(self) -> None:
        """Update buttons."""
        song, busy = self.session.song, self.session.worker.state.busy
        self.box.layout.display = "none" if song is None else ""
        self.upsample.disabled = self.export.disabled = busy
        self.stereo.disabled = song is None or song.request.items != 3
        if song is None:
            self.shown.value = ""

    def _items(self) -> tuple[int, ...] | None:
        """Return the items entered, None for all; RequestError if they are not whole numbers."""
        typed = self.items.value.strip().lower()
        return None if typed in ("", "all") else parsed("items", typed, tuple[int, ...])

    def _upsample(self) -> None:
        song = self.session.song
        if song is None:
            return
        try:
            items = self._items()
        except JukeboxKitError:
            self.items.say("Enter all, or numbers separated by commas: 0, 2")
            return
        self.items.say()
        unassign = self.unassign.value

        def piece() -> str:
            model, options = self.session.loaded_for(song), self.session.options()
            level_2(song, model, options)
            upsample(song, items, model=model, run=options)
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
            model = self.session.loaded(song)
            exported = export_audio(song, None, format, normalise=loudness, stereo=stereo, model=model)
            return " ".join([f"Exported: {', '.join(str(path) for path in exported.paths)}", *exported.notes])

        self.session.do(f"{song.root.name}, export", piece)

    def _show_player(self) -> None:
        song = self.session.song
        if song is None:
            return
        state = song.state
        missing = can_align(state) and not aligned_items(state).issuperset(state.items(TOP))
        if not missing or self.session.worker.state.busy:
            self._embed(song)
            return

        def piece() -> str:
            add_alignments(song, self.session.loaded(song))
            self._embed(song)
            return "Lyrics aligned."

        self.session.do(f"{song.root.name}, lyrics alignment", piece)

    def _embed(self, song: Song) -> None:
        try:
            page = embedded_page(song)
        except (JukeboxKitError, OSError) as error:
            self.said.value = styled_text(str(error), "error")
            return
        self.said.value = styled_text(f"The same page for any browser: {song.root / PAGE}")
        self.shown.value = page_frame(page)
