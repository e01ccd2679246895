"""Widgets that still answer when their page was closed and is opened again."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from jukebox_kit.model import Found, Tables
from jukebox_kit.model.weights import ModelDefinition


def reachable(widget: Any) -> None:
    """Let messages to a widget, and to those inside it, go where the page addresses them.

    ipykernel 7.4 sends a message to the subshell from which its widget was changed last. That of a page that was closed
    is gone, and every click on such a widget would be lost. Other kernels do not look at this.
    """
    comm = getattr(widget, "comm", None)
    if comm is not None:
        comm._reply_subshell_for = _as_addressed
    for inside in getattr(widget, "children", ()):
        reachable(inside)


def _as_addressed(_data: object, subshell: str | None) -> str | None:
    return subshell


WIDE = widgets.Layout(width="98%")

LABEL = {"description_width": "110px"}

BELOW = widgets.Layout(margin="0 0 0 118px")  # under what is typed, not under its label

_COLOURS = {"error": "#c0392b", "note": "#8a6d00", "good": "#2e7d32", "plain": "#777"}

SUGGESTIONS, OFFERED = 3, 40


def told(text: str, kind: str = "plain") -> str:
    """Return a sentence as HTML in the colour of its kind: error, note, good or plain."""
    return f'<span style="color:{_COLOURS[kind]};line-height:1.3">{html.escape(text)}</span>' if text else ""


class Field:
    """A widget and, below it, what is to be said of its value. `name` is also its class in the page, `jk-name`."""

    def __init__(self, name: str, widget: Any) -> None:
        self.name, self.widget = name, widget
        self.said = widgets.HTML(layout=BELOW)
        self.said.add_class(f"jk-said-{name}")
        widget.add_class(f"jk-{name}")
        self.box = widgets.VBox([widget, self.said])

    @property
    def value(self) -> Any:
        """What the widget holds."""
        return self.widget.value

    def say(self, text: str = "", kind: str = "error") -> None:
        """Say something below the widget; nothing where the text is empty."""
        shown = told(text, kind)
        if self.said.value != shown:
            self.said.value = shown

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the value has changed."""
        self.widget.observe(lambda _: changed(), "value")


def text_field(name: str, label: str, value: str = "", hint: str = "") -> Field:
    """Return a field of one line; numbers are typed as text too, so that a wrong one can be told what is wrong."""
    box = widgets.Text(value=value, placeholder=hint, description=label, style=LABEL, layout=WIDE)
    return Field(name, box)


class NameField(Field):
    """A box that is searched as one types, for artists or genres; says at once who knows the name."""

    def __init__(self, kind: str) -> None:
        box = widgets.Combobox(
            placeholder=f"type part of a name; empty for no {kind} in particular",
            description=kind,
            ensure_option=False,
            continuous_update=True,
            style=LABEL,
            layout=WIDE,
        )
        super().__init__(kind, box)
        self.kind = kind
        self.buttons = [widgets.Button(layout=widgets.Layout(width="auto")) for _ in range(SUGGESTIONS)]
        for button in self.buttons:
            button.on_click(self._take)
            button.add_class(f"jk-near-{kind}")
        self.near = widgets.HBox(self.buttons, layout=widgets.Layout(display="none", margin="0 0 0 118px"))
        self.box.children = (box, self.said, self.near)

    @property
    def name_or_unknown(self) -> str:
        """The name as a request takes it."""
        return (self.widget.value.strip() and self.widget.value) or "unknown"

    def look_up(self, definition: ModelDefinition, tables: dict[str, Tables]) -> None:
        """Offer names that hold what is typed, and say which part of the model knows it."""
        typed = self.widget.value
        offered = sorted({name for table in tables.values() for name in table.matching(self.kind, typed)[:OFFERED]})
        if tuple(offered) != tuple(self.widget.options):
            self.widget.options = tuple(offered)
        if not typed.strip():
            self._offer([])
            self.say()
            return
        found = {name: self._found(table, typed, definition) for name, table in tables.items()}
        unknown = [name for name, one in found.items() if _is_unknown(one)]
        near = list(dict.fromkeys(n for name in unknown for n in tables[name].nearest(self.kind, typed, SUGGESTIONS)))
        self._offer(near[:SUGGESTIONS])
        known = [_role(name, definition) for name in found if name not in unknown]
        if not unknown:
            notes = [note for one in found.values() for note in one.notes]
            self.say(" ".join(notes) or "known to the whole model.", "note" if notes else "good")
            return
        lacking = " and ".join(_role(name, definition) for name in unknown)
        also = f" (known to {' and '.join(known)})" if known else ""
        hint = "; the nearest are below." if near else "."
        self.say(f"unknown to {lacking}{also}, which will take it as no {self.kind} in particular{hint}", "note")

    def _found(self, table: Tables, typed: str, definition: ModelDefinition) -> Found:
        if self.kind == "artist":
            return table.artist(typed)
        slots = max(p.max_bow_genre_size for p in definition.priors if p.label_set == table.label_set)
        return table.genre(typed, slots)

    def _offer(self, names: list[str]) -> None:
        for button, name in zip(self.buttons, [*names, *[""] * SUGGESTIONS], strict=False):
            button.description = name
            button.layout.display = "" if name else "none"
        self.near.layout.display = "" if names else "none"

    def _take(self, button: Any) -> None:
        self.widget.value = button.description


def _is_unknown(found: Found) -> bool:
    return "unknown" in found.used and bool(found.notes)


def _role(label_set: str, definition: ModelDefinition) -> str:
    """Return which parts read a label set, for a person."""
    levels = {prior.level for prior in definition.priors if prior.label_set == label_set}
    if levels == {0, 1, 2}:
        return "the model"
    return "the top prior" if levels == {2} else "the upsamplers" if levels == {0, 1} else f"levels {sorted(levels)}"


def heading(text: str) -> Any:
    """Return a section's heading."""
    return widgets.HTML(f'<b style="font-size:1.1em">{html.escape(text)}</b>', layout=widgets.Layout(margin="8px 0 0"))


def short_field(name: str, label: str, value: str = "", hint: str = "", width: str = "260px") -> Field:
    """Return a text field that stands in a row with others."""
    style = {"description_width": "initial"}
    layout = widgets.Layout(width=width)
    field = Field(name, widgets.Text(value=value, placeholder=hint, description=label, style=style, layout=layout))
    field.said.layout = widgets.Layout()
    return field


def check_box(label: str) -> Any:
    """Return a box to tick, as wide as its words."""
    return widgets.Checkbox(description=label, indent=False, layout=widgets.Layout(width="auto", margin="0 12px"))


def button(description: str, name: str, pressed: Callable[[], None], icon: str = "") -> Any:
    """Return a button as wide as its words; `name` is its class in the page, `jk-name`."""
    made = widgets.Button(description=description, icon=icon, layout=widgets.Layout(width="auto", flex="0 0 auto"))
    made.add_class(f"jk-{name}")
    made.on_click(lambda _: pressed())
    return made
