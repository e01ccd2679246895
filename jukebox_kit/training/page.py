"""index.html of a trained model: what was trained on what, its curves, and songs before and after side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_kit._files import make_folder, write_atomically
from jukebox_kit.song import PAGE, Audio, strip_png, wav_bytes
from jukebox_kit.song.page import render_page

SAMPLES = "samples"


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
class Take:
    """A song in the page: names relative to it."""

    audio: str
    picture: str


@dataclass(frozen=True)
class Sampled:
    """The songs that were sampled after a number of steps; after none they are those before training."""

    step: int
    takes: tuple[Take, ...]


def write_takes(folder: Path, part: str, step: int, songs: Sequence[Audio], sr: int) -> Sampled:
    """Write sampled songs, (samples,) each, as WAV files with pictures below the folder of a model."""
    takes: list[Take] = []
    make_folder(folder / SAMPLES)
    for number, audio in enumerate(songs):
        name = f"{SAMPLES}/{part}_step_{step:06d}_{number}"
        write_atomically(folder, f"{name}.wav", wav_bytes(audio, sr))
        write_atomically(folder, f"{name}.png", strip_png(audio, sr))
        takes.append(Take(f"{name}.wav", f"{name}.png"))
    return Sampled(step, tuple(takes))


def sampled_in(folder: Path, part: str) -> list[Sampled]:
    """Return the songs that were sampled by a component so far, in the order of the steps."""
    takes: dict[int, list[Take]] = {}
    for path in sorted((folder / SAMPLES).glob(f"{part}_step_*.wav")):
        step = int(path.stem.split("_")[-2])
        takes.setdefault(step, []).append(Take(f"{SAMPLES}/{path.name}", f"{SAMPLES}/{path.stem}.png"))
    return [Sampled(step, tuple(some)) for step, some in takes.items()]


def write_page(
    folder: Path,
    part: str,
    about: str,
    unit: str,
    facts: Sequence[tuple[str, str]],
    measured: Sequence[Measured],
    songs: list[str],
) -> None:
    """Write index.html and its picture of the curves.

    part: the component that is trained. about: how. unit: of what is measured. facts: names and values. songs: what
    each sampled song is.
    """
    curves = f"{SAMPLES}/{part}_curves.png"
    make_folder(folder / SAMPLES)
    write_atomically(folder, curves, curves_png(measured, unit))
    sampled = sampled_in(folder, part)
    base = next((one for one in sampled if one.step == 0), None)
    tuned = [one for one in reversed(sampled) if one.step]
    values: dict[str, Any] = {
        "about": f"{part}, {about}",
        "unit": unit,
        "facts": facts,
        "curves": curves,
        "measured": [_row(one) for one in measured],
        "base": base,
        "tuned": tuned,
        "songs": songs,
    }
    page = render_page("training.html", folder.name, values, ("base.css", "training.css"), ())
    write_atomically(folder, PAGE, page.encode("utf-8", "replace"))


def _row(measured: Measured) -> list[str]:
    values = (measured.training, measured.held_out, measured.others)
    return [str(measured.step), *("" if value is None else f"{value:.4f}" for value in values)]


def curves_png(measured: Sequence[Measured], unit: str) -> bytes:
    """Return a PNG of what is measured over the steps: training, held-out songs, others."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, label in (("training", "training"), ("held_out", "held-out songs"), ("others", "other artists")):
        points = [(one.step, getattr(one, name)) for one in measured if getattr(one, name) is not None]
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    axis.set_xlabel("steps")
    axis.set_ylabel(unit)
    axis.grid(alpha=0.3)
    if measured:
        axis.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
