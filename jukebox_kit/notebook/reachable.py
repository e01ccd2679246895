"""Widgets that still answer when their page was closed and is opened again."""

from __future__ import annotations

from typing import Any


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
