"""Pieces of HTML that the pages share: one file that needs nothing else, a level's state, a table."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

WEB = Path(__file__).parent / "web"

NAME = "index.html"


@dataclass(frozen=True)
class LevelState:
    """How far a level is: the share of its tokens that is made, and the same in words, with what to know of it."""

    level: int
    share: float
    words: str


def web_file(name: str) -> str:
    """Return a file of the folder `web`, as text."""
    return (WEB / name).read_text(encoding="utf-8")


def framed(title: str, body: str, styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a whole page around its body, which is HTML already; the title is text.

    styles, scripts: names of files in `web`, put into the page in their order. Its security policy lets this script run
    and no other, and lets nothing be fetched but what lies beside the page.
    """
    style, script = ("\n".join(map(web_file, names)) for names in (styles, scripts))
    return Template(web_file("frame.html")).substitute(
        title=escape(title),
        body=body,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def state_html(state: LevelState) -> str:
    """Return how far a level is, as an element of a list of the class `state`."""
    look = "whole" if state.share == 1 else "growing" if state.share else "waiting"
    return f'<li class="{look}"><strong>Level {state.level}</strong> {escape(state.words)}</li>'


def share_words(share: float) -> str:
    """Return in words how much of a level is made."""
    return "whole" if share == 1 else f"{share:.0%} made" if share else "not begun"


def table_html(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and values, as text, as a table; nothing where there are none."""
    content = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{content}</table>" if content else ""


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
