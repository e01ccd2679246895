"""The curves of a training run as pictures for its page, one for a dark screen and one for a light one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

INCHES, POINTS = (9.0, 3.6), 11  # so that text is readable on a page of 800 pixels and of 1280


@dataclass(frozen=True)
class Measured:
    """A measurement while training.

    step: how many steps were made. training: bits per token, or the relative error of a VQ-VAE, in the steps since the
    last measurement; None before the first step. held_out, others: of held-out songs, and of songs of other artists;
    None if there are none.
    """

    step: int
    training: float | None
    held_out: float | None
    others: float | None


@dataclass(frozen=True)
class _Colours:
    """Those of the page, see `base.css`, and of each curve."""

    ground: str
    ink: str
    grid: str
    training: str
    held_out: str
    others: str


SCHEMES = {
    "dark": _Colours("#12131b", "#c4c8de", "#2a2d3d", "#a0a4bd", "#8e9bff", "#f0c466"),
    "light": _Colours("#ffffff", "#3a3e52", "#d8dae6", "#585d76", "#4450d8", "#8a5a00"),
}


def best_step(measured: Sequence[Measured]) -> int | None:
    """Return the step whose values are the model; None while no measurement is better than the base.

    That is the one with the fewest bits on held-out songs, or the last one if there are no such songs.
    """
    if not measured:
        return None
    held_out = [(one.held_out, one.step) for one in measured if one.held_out is not None]
    return (min(held_out)[1] if held_out else measured[-1].step) or None


def curves_svg(measured: Sequence[Measured], scheme: str, unit: str = "bits per token") -> bytes:
    """Return an SVG of what is measured, in `unit`, over the steps in the colours of a scheme, `dark` or `light`.

    The step whose values are the model is marked.
    """
    import matplotlib as mpl  # slow to import
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    colours, buffer = SCHEMES[scheme], io.BytesIO()
    with mpl.rc_context({"font.size": POINTS, "svg.hashsalt": "jukebox_kit"}):
        figure = Figure(figsize=INCHES, layout="constrained", facecolor=colours.ground)
        axis = figure.subplots()
        axis.set_facecolor(colours.ground)
        for name, label in (("held_out", "held-out songs"), ("training", "training"), ("others", "other artists")):
            points = [(one.step, getattr(one, name)) for one in measured if getattr(one, name) is not None]
            if points:
                line = "--" if name == "training" else "-"
                colour = getattr(colours, name)
                axis.plot(*zip(*points, strict=True), line, marker="o", markersize=4, color=colour, label=label)
        best = best_step(measured)
        if best is not None:
            axis.axvline(best, color=colours.ink, linewidth=0.8, linestyle=":", label="the model")
        axis.set_xlabel("training steps", color=colours.ink)
        axis.set_ylabel(unit, color=colours.ink)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.tick_params(colors=colours.ink)
        axis.grid(color=colours.grid)
        for spine in axis.spines.values():
            spine.set_color(colours.grid)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(facecolor=colours.ground, edgecolor=colours.grid, labelcolor=colours.ink)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
