"""HTML for the notebook's widgets; all values are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from markupsafe import Markup

from jukebox_kit.song.page import render_template

ENDS = {"done": "good", "stopped": "note", "failed": "error"}
"""The kind of text for how work ended, see `styled_text`."""

_WEB = Path(__file__).parent / "web"


def styled_text(text: str, kind: str = "plain") -> Markup:
    """Return text in the colour of its kind: error, note, good or plain; nothing if the text is empty."""
    return Markup('<span class="jk-text jk-text-{}">{}</span>').format(kind, text) if text else Markup()


def lines(texts: Iterable[Markup]) -> Markup:
    """Return pieces of HTML below each other."""
    return Markup("<br>").join(texts)


def filled(template: str, values: Mapping[str, object]) -> Markup:
    """Return a template of the folder `web`, filled with values."""
    return Markup(render_template(_WEB, template, values))


def style_sheet() -> Markup:
    """Return the style sheet that all of this uses; it must be on the page once."""
    return Markup("<style>{}</style>").format(Markup((_WEB / "styles.css").read_text(encoding="utf-8")))
