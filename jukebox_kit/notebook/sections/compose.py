"""Composing: go on by some seconds, other variations, back and forward, fork, and the tree of all that was tried."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import Field, button, heading, short_field
from jukebox_kit.song import Song, edits, tree
from jukebox_kit.song.page import tree_svg
from jukebox_kit.steps import level_2


class Composing:
    """The edits of a song, each followed by sampling what is new at level 2."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.by = short_field("extend_by", "go on by seconds", "8", width="180px")
        self.lyrics = Field("new_lyrics", widgets.Text(placeholder="other lyrics from here on (optional)"))
        self.extend = button("go on", "extend", self._extend, "forward")
        self.vary = button("other variations", "vary", lambda: self._edit("other variations", edits.vary), "random")
        self.back = button("back", "undo", lambda: self._edit("back", edits.undo, sampled=False), "undo")
        self.forward = button("forward", "redo", lambda: self._edit("forward", edits.redo, sampled=False), "repeat")
        self.name = short_field("fork_name", "fork to", "", "a new song's name")
        self.at = short_field("fork_at", "at second", "", "empty: all")
        self.fork = button("fork", "fork", self._fork, "code-fork")
        self.picture = widgets.HTML()
        self.picture.add_class("jk-tree")
        self.nodes = widgets.Dropdown(options=[], description="state")
        self.nodes.add_class("jk-nodes")
        self.visit = button("go there", "visit", self._visit)
        self.box = widgets.VBox(
            [
                heading("Go on"),
                widgets.HBox([self.by.box, self.lyrics.box, self.extend]),
                widgets.HBox([self.vary, self.back, self.forward]),
                widgets.HBox([self.name.box, self.at.box, self.fork]),
                self.picture,
                widgets.HBox([self.nodes, self.visit]),
            ]
        )
        self.buttons = [self.extend, self.vary, self.back, self.forward, self.fork, self.visit]
        session.watch(self.refresh)

    def choose(self, item: int) -> None:
        """Make an item the trunk of all."""
        self._edit(f"going on from item {item}", lambda song: edits.choose(song, item), sampled=False)

    def refresh(self) -> None:
        """Show what can be done, and the tree."""
        song, busy = self.session.song, self.session.worker.state.busy
        self.box.layout.display = "none" if song is None else ""
        for one in self.buttons:
            one.disabled = busy
        if song is None or busy:
            return
        self.back.disabled, self.forward.disabled = not song.manifest.undo, not song.manifest.redo
        nodes = tree(song)
        self.picture.value = tree_svg(nodes)
        elsewhere = [(f"{node.name}: {node.label}", node.name) for node in nodes if not node.is_now]
        if list(self.nodes.options) != elsewhere:
            self.nodes.options = elsewhere
            self.nodes.index = None  # a browser shows nothing chosen where the options alone have changed
            self.nodes.index = 0 if elsewhere else None
        self.visit.disabled = not elsewhere

    def _edit(self, what: str, edit: Callable[[Song], Song], sampled: bool = True) -> None:
        """Edit the song and, where something is to be heard of it, sample level 2."""
        song = self.session.song
        if song is None:
            return

        def piece() -> str:
            edit(song)
            if not sampled:
                return f"{song.manifest.history[-1].sentence}."
            level_2(song, self.session.loaded_for(song), self.session.options())
            return "Done: listen, choose, go on, or upsample."

        self.session.do(f"{song.root.name}, {what}", piece)

    def _extend(self) -> None:
        song = self.session.song
        seconds = _number(self.by)
        if song is None or seconds is None:
            return
        changes = {"lyrics": self.lyrics.value} if self.lyrics.value.strip() else {}
        model = self.session.loaded
        self._edit(
            f"{seconds:g} seconds more",
            lambda song: edits.extend(song, seconds, model(song.request.model), **changes),
        )

    def _fork(self) -> None:
        song, folder = self.session.song, self.session.place(self.name.value.strip())
        at = _number(self.at) if self.at.value.strip() else None
        if song is None or (at is None and self.at.value.strip()):
            return
        if folder is None:
            self.name.say("give the new song's name, without a slash and no dot before it.")
            return
        self.name.say()

        def piece() -> str:
            fork = edits.fork(song, folder, at, self.session.loaded(song.request.model))
            self.session.song = fork
            return f"{fork.root} begins as {song.root.name} does; go on with it."

        self.session.do(f"fork of {song.root.name}", piece)

    def _visit(self) -> None:
        version = self.nodes.value
        if version is not None:
            self._edit(f"to state {version}", lambda song: edits.visit(song, version), sampled=False)


def _number(field: Field) -> float | None:
    """Return the number typed, None where it is none, which is then said."""
    try:
        value = float(field.value)
    except ValueError:
        field.say(f"{field.value!r} is not a number of seconds; 8 is a good start.")
        return None
    field.say()
    return value
