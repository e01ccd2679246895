"""index.html of a trained model: how far training is, its curves, and songs before and after side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jukebox_kit._files import make_folder, write_atomically
from jukebox_kit.song import PAGE, Audio, strip_png, wav_bytes
from jukebox_kit.song.page import render_page
from jukebox_kit.steps import duration
from jukebox_kit.training.curves import SCHEMES, Measured, best_step, curves_svg
from jukebox_kit.training.settings import Limits

SAMPLES = "samples"

RUNNING, FINISHED, STOPPED_EARLY, STOPPED = "training", "finished", "stopped early", "stopped"

SLOWEST = 1200.0  # seconds: a measurement takes less, and until it ends nothing is written


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    state: RUNNING, FINISHED, STOPPED_EARLY since held-out songs got no better, or STOPPED by the user.
    step: that was made last. steps: that are planned. seconds_left: predicted, None if unknown.
    news: seconds within which a running run writes its page again.
    """

    state: str
    step: int
    steps: int
    seconds_left: float | None = None
    news: float = 900.0

    @classmethod
    def of(cls, step: int, settings: Limits, ended: bool, stopped: bool, speed: float | None) -> RunProgress:
        """Return the progress after a step. stopped: by the user. speed: seconds that a step takes, None if unknown."""
        end = FINISHED if step >= settings.steps else STOPPED_EARLY
        state = end if ended else STOPPED if stopped else RUNNING
        left = None if speed is None else speed * (settings.steps - step)
        return cls(state, step, settings.steps, left, SLOWEST + 60 * settings.save_minutes)

    @property
    def summary(self) -> str:
        """The steps and what follows, in a few words."""
        made = f"step {self.step} of {self.steps}"
        if self.state == RUNNING:
            return made if self.seconds_left is None else f"{made}, about {duration(self.seconds_left)} left"
        if self.state == STOPPED_EARLY:
            return f"after {made}: held-out songs got no better"
        return f"at {made}; run the same command again to resume" if self.state == STOPPED else f"{self.step} steps"


@dataclass(frozen=True)
class Trained:
    """What is trained. part: the component. how: in a few words. unit: of what is measured."""

    part: str
    how: str = "fine-tuned"
    unit: str = "bits per token"


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
        write_atomically(folder, f"{name}.png", strip_png(audio, sr, 900, 240))
        takes.append(Take(f"{name}.wav", f"{name}.png"))
    return Sampled(step, tuple(takes))


def sampled_in(folder: Path, part: str) -> list[Sampled]:
    """Return the songs that were sampled by a component so far, in the order of the steps."""
    takes: dict[int, list[Take]] = {}
    for path in sorted((folder / SAMPLES).glob(f"{part}_step_*.wav")):
        step = int(path.stem.split("_")[-2])
        takes.setdefault(step, []).append(Take(f"{SAMPLES}/{path.name}", f"{SAMPLES}/{path.stem}.png"))
    return [Sampled(step, tuple(some)) for step, some in takes.items()]


def write_curves(folder: Path, trained: Trained, measured: Sequence[Measured]) -> None:
    """Write the pictures of the curves that the page shows."""
    make_folder(folder / SAMPLES)
    for scheme in SCHEMES:
        write_atomically(folder, _curves(trained, scheme), curves_svg(measured, scheme, trained.unit))


def write_page(
    folder: Path,
    name: str,
    trained: Trained,
    facts: Sequence[tuple[str, str]],
    measured: Sequence[Measured],
    songs: list[str],
    progress: RunProgress,
) -> None:
    """Write index.html. facts: names and values. songs: what each sampled song is."""
    make_folder(folder)
    sampled, best = sampled_in(folder, trained.part), best_step(measured)
    tuned = [one for one in reversed(sampled) if one.step]
    shown = next((one for one in tuned if one.step == best), tuned[0] if tuned else None)
    values: dict[str, Any] = {
        "about": f"{trained.part}, {trained.how}",
        "trained": trained,
        "progress": progress,
        "written": datetime.now().astimezone(),
        "facts": facts,
        "curves": {scheme: _curves(trained, scheme) for scheme in SCHEMES},
        "measured": [_row(one) for one in measured],
        "base": next((one for one in sampled if one.step == 0), None),
        "tuned": shown,
        "best": best,
        "others": [one for one in tuned if one is not shown],
        "songs": songs,
    }
    page = render_page("training.html", name, values, ("base.css", "training.css"), ("training.js",))
    write_atomically(folder, PAGE, page.encode("utf-8", "replace"))


def _curves(trained: Trained, scheme: str) -> str:
    return f"{SAMPLES}/{trained.part}_curves_{scheme}.svg"


def _row(measured: Measured) -> list[str]:
    values = (measured.training, measured.held_out, measured.others)
    return [str(measured.step), *("" if value is None else f"{value:.4f}" for value in values)]
