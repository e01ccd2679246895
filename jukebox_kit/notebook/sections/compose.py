"""Composing: extend, new variations, undo and redo, fork, and the tree of versions."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets

from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import Field, button, heading, short_field
from jukebox_kit.song import Song, edits, tree
from jukebox_kit.song.page import tree_svg
from jukebox_kit.steps import level_2


class Composing:
    """The edits of a song, each followed by sampling the new part of level 2."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.by = short_field("extend_by", "Extend by (s)", "8", width="180px")
        self.lyrics = Field("new_lyrics", widgets.Text(placeholder="new lyrics from here on (optional)"))
        self.extend = button("Extend", "extend", self._extend, "forward")
        self.vary = button("New variations", "vary", lambda: self._edit("new variations", edits.vary), "random")
        self.back = button("Undo", "undo", lambda: self._edit("undo", edits.undo, sampled=False), "undo")
        self.forward = button("Redo", "redo", lambda: self._edit("redo", edits.redo, sampled=False), "repeat")
        self.name = short_field("fork_name", "Fork to", "", "new song's name")
        self.at = short_field("fork_at", "at second", "", "empty: end")
        self.fork = button("Fork", "fork", self._fork, "code-fork")
        self.picture = widgets.HTML()
        self.picture.add_class("jk-tree")
        self.nodes = widgets.Dropdown(options=[], description="version")
        self.nodes.add_class("jk-nodes")
        self.visit = button("Go to version", "visit", self._visit)
        self.box = widgets.VBox(
            [
                heading("Extend and edit"),
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
        """Continue all items from one of them."""
        self._edit(f"continue from item {item}", lambda song: edits.choose(song, item), sampled=False)

    def refresh(self) -> None:
        """Update buttons and the tree."""
        song, busy = self.session.song, self.session.worker.state.busy
        self.box.layout.display = "none" if song is None else ""
        for one in self.buttons:
            one.disabled = busy
        if song is None or busy:
            return
        self.back.disabled, self.forward.disabled = not song.manifest.undo, not song.manifest.redo
        nodes = tree(song.state)
        self.picture.value = tree_svg(nodes)
        elsewhere = [(f"{node.name}: {node.label}", node.name) for node in nodes if not node.is_now]
        if list(self.nodes.options) != elsewhere:
            self.nodes.options = elsewhere
            self.nodes.index = None  # if only the options change, a browser shows no selection
            self.nodes.index = 0 if elsewhere else None
        self.visit.disabled = not elsewhere

    def _edit(self, what: str, edit: Callable[[Song], Song], sampled: bool = True) -> None:
        """Edit the song and, if `sampled`, sample level 2."""
        song = self.session.song
        if song is None:
            return

        def piece() -> str:
            edit(song)
            if not sampled:
                return f"{song.manifest.history[-1].sentence}."
            level_2(song, self.session.loaded_for(song), self.session.options())
            return "Done: listen, choose, extend or upsample."

        self.session.do(f"{song.root.name}, {what}", piece)

    def _extend(self) -> None:
        song = self.session.song
        seconds = _number(self.by)
        if song is None or seconds is None:
            return
        changes = {"lyrics": self.lyrics.value} if self.lyrics.value.strip() else {}
        model = self.session.loaded
        self._edit(f"{seconds:g} seconds more", lambda song: edits.extend(song, seconds, model(song), **changes))

    def _fork(self) -> None:
        song, folder = self.session.song, self.session.place(self.name.value.strip())
        at = _number(self.at) if self.at.value.strip() else None
        if song is None or (at is None and self.at.value.strip()):
            return
        if folder is None:
            self.name.say('Enter a name for the new song, without "/" and not starting with ".".')
            return
        self.name.say()

        def piece() -> str:
            fork = edits.fork(song, folder, at, self.session.loaded(song))
            self.session.song = fork
            return f"{fork.root} is a copy of {song.root.name} to continue from."

        self.session.do(f"fork of {song.root.name}", piece)

    def _visit(self) -> None:
        version = self.nodes.value
        if version is not None:
            self._edit(f"go to version {version}", lambda song: edits.visit(song, version), sampled=False)


def _number(field: Field) -> float | None:
    """Return the number entered; None, with a message at the field, if it is not one."""
    try:
        value = float(field.value)
    except ValueError:
        field.say(f"{field.value!r} is not a number of seconds; try 8.")
        return None
    field.say()
    return value
