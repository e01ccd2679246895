"""Widgets that the sections share; they keep working after the page is closed and opened again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from jukebox_kit.model import Found, Tables
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.notebook.markup import styled_text


def reachable(widget: Any) -> None:
    """Deliver messages to a widget, and to those inside it, where the page addresses them.

    ipykernel 7.4 sends a message to the subshell from which its widget was last changed. Once the page is closed, that
    subshell no longer exists, and every click on the widget would be lost. Other kernels ignore this.
    """
    comm = getattr(widget, "comm", None)
    if comm is not None:
        comm._reply_subshell_for = _as_addressed
    for child in getattr(widget, "children", ()):
        reachable(child)


def _as_addressed(_data: object, subshell: str | None) -> str | None:
    return subshell


WIDE = widgets.Layout(width="98%")

LABEL = {"description_width": "110px"}

BELOW = widgets.Layout(margin="0 0 0 118px")  # aligned with the input, not with its label

SUGGESTIONS = 3  # buttons with the closest names

COMPLETIONS = 40  # names offered while you type, for each label set


class Field:
    """A widget with a message about its value below it. `name` is also its CSS class, `jk-name`."""

    def __init__(self, name: str, widget: Any) -> None:
        self.name, self.widget = name, widget
        self.said = widgets.HTML(layout=BELOW)
        self.said.add_class(f"jk-said-{name}")
        widget.add_class(f"jk-{name}")
        self.box = widgets.VBox([widget, self.said])

    @property
    def value(self) -> Any:
        """The widget's value."""
        return self.widget.value

    def say(self, text: str = "", kind: str = "error") -> None:
        """Show a message below the widget; an empty text removes it."""
        show(self.said, styled_text(text, kind))

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the value has changed."""
        self.widget.observe(lambda _: changed(), "value")


def text_field(name: str, label: str, value: str = "", hint: str = "") -> Field:
    """Return a field of one line. Numbers are entered as text too, so that a message can explain a wrong one."""
    box = widgets.Text(value=value, placeholder=hint, description=label, style=LABEL, layout=WIDE)
    return Field(name, box)


class NameField(Field):
    """A box for an artist or genre that searches as you type and shows which levels know the name."""

    def __init__(self, kind: str) -> None:
        box = widgets.Combobox(
            placeholder=f"type part of a name, or leave empty for any {kind}",
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
        """The name for a request; "unknown" if the box is empty."""
        return (self.widget.value.strip() and self.widget.value) or "unknown"

    def look_up(self, definition: ModelDefinition, tables: dict[str, Tables]) -> None:
        """Offer names that contain the typed text, and show which levels of the model know it."""
        typed = self.widget.value
        offered = sorted({name for table in tables.values() for name in table.matching(self.kind, typed)[:COMPLETIONS]})
        if tuple(offered) != tuple(self.widget.options):
            self.widget.options = tuple(offered)
        if not typed.strip():
            self._offer([])
            self.say()
            return
        matches = {name: self._match(table, typed, definition) for name, table in tables.items()}
        unknown = [name for name, match in matches.items() if _is_unknown(match)]
        near = list(dict.fromkeys(n for name in unknown for n in tables[name].nearest(self.kind, typed, SUGGESTIONS)))
        self._offer(near[:SUGGESTIONS])
        known = [_role(name, definition) for name in matches if name not in unknown]
        if not unknown:
            notes = [note for match in matches.values() for note in match.notes]
            self.say(" ".join(notes) or "Known to all levels of the model.", "note" if notes else "good")
            return
        lacking = " and ".join(_role(name, definition) for name in unknown)
        also = f" (known to {' and '.join(known)})" if known else ""
        hint = " Click one of the closest matches to use it." if near else ""
        self.say(f"Unknown to {lacking}{also}: treated as no particular {self.kind}.{hint}", "note")

    def _match(self, table: Tables, typed: str, definition: ModelDefinition) -> Found:
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


def _is_unknown(match: Found) -> bool:
    return "unknown" in match.used and bool(match.notes)


def _role(label_set: str, definition: ModelDefinition) -> str:
    """Return which components read a label set, as text."""
    levels = {prior.level for prior in definition.priors if prior.label_set == label_set}
    if levels == {0, 1, 2}:
        return "the model"
    return "the top prior" if levels == {2} else "the upsamplers" if levels == {0, 1} else f"levels {sorted(levels)}"


def show(widget: Any, text: str) -> None:
    """Show HTML in a widget."""
    if widget.value != text:  # each change sends a message to the browser
        widget.value = text


def heading(text: str) -> Any:
    """Return a section's heading."""
    return widgets.HTML(Markup('<b class="jk-heading">{}</b>').format(text), layout=widgets.Layout(margin="8px 0 0"))


def short_field(name: str, label: str, value: str = "", hint: str = "", width: str = "260px") -> Field:
    """Return a text field for a row of several."""
    style = {"description_width": "initial"}
    layout = widgets.Layout(width=width)
    field = Field(name, widgets.Text(value=value, placeholder=hint, description=label, style=style, layout=layout))
    field.said.layout = widgets.Layout()
    return field


def check_box(label: str) -> Any:
    """Return a check box as wide as its label."""
    return widgets.Checkbox(description=label, indent=False, layout=widgets.Layout(width="auto", margin="0 12px"))


def button(description: str, name: str, pressed: Callable[[], None], icon: str = "") -> Any:
    """Return a button as wide as its label; `name` gives its CSS class, `jk-name`."""
    created = widgets.Button(description=description, icon=icon, layout=widgets.Layout(width="auto", flex="0 0 auto"))
    created.add_class(f"jk-{name}")
    created.on_click(lambda _: pressed())
    return created
