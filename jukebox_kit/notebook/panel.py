"""The panel: one song, from request to audio files. `compose` shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.notebook.markup import filled, styled_text
from jukebox_kit.notebook.sections.compose import Composing
from jukebox_kit.notebook.sections.estimate import EstimateLine
from jukebox_kit.notebook.sections.listen import Listening
from jukebox_kit.notebook.sections.request import Form
from jukebox_kit.notebook.sections.status import Status
from jukebox_kit.notebook.sections.upsample import Finishing
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import button, heading, short_field
from jukebox_kit.song import (
    OPTIONS,
    Preset,
    Request,
    Song,
    asked_fields,
    find_presets,
    is_song,
    load_preset,
    save_preset,
)
from jukebox_kit.steps import RunSettings, level_2

NEW = "new song"


class Panel:
    """One song at a time; every section is widgets over the same steps that the shell calls."""

    def __init__(self, songs: Path) -> None:
        self.session, self._listing = Session(songs), False
        self.songs = widgets.Dropdown(options=[(NEW, None)], description="song")
        self.songs.add_class("jk-songs")
        self.look = button("Refresh", "look", self._look, "refresh")
        self.presets = widgets.Dropdown(options=[("", None)], description="preset")
        self.presets.add_class("jk-presets")
        self.preset_name = short_field("preset_name", "save as", "", "preset name")
        self.save = button("Save preset", "save-preset", self._save_preset, "save")
        self.estimate = EstimateLine(self.session)
        self.said = widgets.HTML()
        self.said.add_class("jk-said-panel")
        self.form = Form(songs / "prompts", self._form_changed, self.session)
        self.name = short_field("name", "name", "", "empty: named after artist and genre", "360px")
        self.make = button("Sample openings", "make", self._make, "music")
        self.make.button_style = "primary"
        self.composing = Composing(self.session)
        self.listening = Listening(self.session, self.composing.choose)
        self.finishing = Finishing(self.session)
        self.status = Status(self.session)  # last: "done" appears once everything else is up to date
        self.about = widgets.HTML()
        self.about.add_class("jk-about")
        self.box = self._laid_out()
        self.session.watch(self.refresh)
        self.presets.observe(lambda _: self._use_preset(), "value")
        self.songs.observe(lambda _: self._open(), "value")
        self._list_presets()
        self._list()
        self._find_work()
        self.session.changed()

    def refresh(self) -> None:
        """Update the panel for the song and the work."""
        song, busy = self.session.song, self.session.worker.state.busy
        self.make.disabled = busy
        self.songs.disabled = busy
        self.new_song.layout.display = "" if song is None else "none"
        self.about.value = "" if song is None else _about(song)
        if song is not None and self.songs.value != song.root:
            self._list()

    def _laid_out(self) -> Any:
        top = widgets.HBox([self.songs, self.look, self.presets, self.preset_name.box, self.save])
        self.new_song = widgets.VBox(
            [heading("New song"), self.form.box, self.estimate.box, widgets.HBox([self.name.box, self.make])]
        )
        sections = (self.status, self.listening, self.composing, self.finishing)
        box = widgets.VBox([top, self.said, self.new_song, self.about, *(section.box for section in sections)])
        box.add_class("jk-panel")
        return box

    def _look(self) -> None:
        """List songs and models again: others may have come."""
        self._list()
        self.form.list_models()

    def _list(self) -> None:
        """List the songs of the folder; the open one stays selected."""
        song = self.session.song
        try:
            folders = self.session.folders()
        except (JukeboxKitError, OSError) as error:
            self.said.value = styled_text(str(error), "error")
            folders = []
        options = [(NEW, None), *((folder.name, folder) for folder in folders)]
        chosen = None if song is None else next((f for f in folders if f.absolute() == song.root.absolute()), None)
        self._listing = True  # the selection changes briefly with the options; that is not a request to open a song
        try:
            if list(self.songs.options) != options:
                self.songs.options = options
            self.songs.value = chosen
        finally:
            self._listing = False

    def _open(self) -> None:
        if not self._listing:
            self.session.open(self.songs.value)

    def _find_work(self) -> None:
        """Open the song that the kernel is working on, if the page was closed and opened again."""
        state = self.session.worker.state
        if state.busy and state.subject is not None and is_song(state.subject):
            self.session.open(state.subject)

    def _form_changed(self, good: dict[str, Any] | None) -> None:
        if good is not None:
            self.said.value = ""
        self.estimate.ask(good)

    def _make(self) -> None:
        given = self.form.request()
        if given is None:
            self.said.value = styled_text("Fix the highlighted fields below.", "error")
            return
        self.said.value = ""
        name = self.name.value.strip() or self._free_name(given)
        folder = self.session.place(name)
        if folder is None:
            self.name.say('A song name cannot contain "/" or start with ".".')
            return
        self.name.say()

        def piece() -> str:
            model = self.session.loaded_to_begin(given)
            song = Song.create(folder, model, **given)
            self.session.song = song
            self.session.changed()
            level_2(song, model, self.session.options())
            return "Openings done: listen, choose one, then extend or upsample."

        self.session.do(f"{name}, openings", piece, folder)

    def _free_name(self, given: dict[str, Any]) -> str:
        """Return an unused folder name made of artist and genre."""
        words = [given[key] for key in ("artist", "genre") if given[key] != "unknown"] or ["song"]
        plain = re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-") or "song"
        number = 1
        while (self.session.songs / (name := f"{plain}-{number}")).exists():
            number += 1
        return name

    def _list_presets(self) -> None:
        presets = find_presets(self.session.songs / "presets")
        self.presets.options = [("", None), *((name, path) for name, path in sorted(presets.items()))]

    def _use_preset(self) -> None:
        if self.presets.value is None:
            return
        try:
            preset = load_preset(self.presets.value)
            run = replace(self.session.run, **preset.options)
        except JukeboxKitError as error:
            self.preset_name.say(str(error))
            return
        self.preset_name.say(preset.about, "plain")
        self.form.fill(dict(preset.request))
        self.session.run = run

    def _save_preset(self) -> None:
        given = self.form.values()
        if given is None:
            self.preset_name.say("Fix the form before saving it as a preset.")
            return
        request = asked_fields(Request(**given))
        run, usual = self.session.run, RunSettings()
        options = {n: getattr(run, n) for n in sorted(OPTIONS) if getattr(run, n) != getattr(usual, n)}
        try:
            preset = Preset(self.preset_name.value.strip(), "saved in the notebook", request, options)
            path = save_preset(preset, self.session.songs / "presets")
        except JukeboxKitError as error:
            self.preset_name.say(str(error))
            return
        self.preset_name.say(f"Saved as {path}.", "good")
        self._list_presets()


def _about(song: Song) -> str:
    """Return a description of the open song, in HTML."""
    request = song.request
    facts = f"{request.artist}, {request.genre}; {request.seconds:g} s; {request.items} items; seed {request.seed}"
    if request.lora_scale != 1:
        facts += f"; lora-scale {request.lora_scale:g}"
    values = {
        "name": styled_text(song.root.name),
        "facts": styled_text(f"({request.model}) {facts}; {song.root}"),
        "notes": [styled_text(note, "note") for note in song.resolved.notes],
    }
    return filled("song.html", values)
