"""What the pages share: templates that escape their values, a page in one file, and the state of a level."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

WEB = Path(__file__).parent / "web"


@dataclass(frozen=True)
class LevelState:
    """The state of a level.

    share: from 0 to 1, of its tokens that are sampled. summary: the same as text, with what else the user should know.
    """

    level: int
    share: float
    summary: str


def render_template(folder: Path, name: str, values: Mapping[str, object]) -> str:
    """Return a template filled with values. Text is escaped; only `Markup` is taken as HTML."""
    return _environment(folder).get_template(name).render(values)


def render_page(
    template: str, title: str, values: Mapping[str, object], styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """Return a whole page made by a template that extends `frame.html`.

    styles, scripts: names of files in `web`, put into the page in this order. The page's security policy allows these
    scripts and no others, and loads nothing but files beside the page.
    """
    style, script = ("\n".join(map(_read, names)) for names in (styles, scripts))
    frame = {
        "title": title,
        "style": Markup(style),
        "script": Markup(script),
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }
    return render_template(WEB, template, {**values, **frame})


def describe_share(share: float) -> str:
    """Return how much of a level is sampled, as text."""
    return "complete" if share == 1 else f"{share:.0%} sampled" if share else "not started"


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
