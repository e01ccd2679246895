"""index.html of a fine-tuned model: how far training is, its curves, and base and tuned songs side by side."""

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
from jukebox_kit.training.settings import FineTuning

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
    def of(cls, step: int, settings: FineTuning, ended: bool, stopped: bool, speed: float | None) -> RunProgress:
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
class Take:
    """A song in the page: names relative to it."""

    audio: str
    picture: str


@dataclass(frozen=True)
class Sampled:
    """The songs that were sampled after a number of steps; after none they are the base's."""

    step: int
    takes: tuple[Take, ...]


def write_takes(folder: Path, level: int, step: int, songs: Sequence[Audio], sr: int) -> Sampled:
    """Write sampled songs, (samples,) each, as WAV files with pictures below the folder of a model."""
    takes: list[Take] = []
    make_folder(folder / SAMPLES)
    for number, audio in enumerate(songs):
        name = f"{SAMPLES}/level_{level}_step_{step:06d}_{number}"
        write_atomically(folder, f"{name}.wav", wav_bytes(audio, sr))
        write_atomically(folder, f"{name}.png", strip_png(audio, sr, 900, 240))
        takes.append(Take(f"{name}.wav", f"{name}.png"))
    return Sampled(step, tuple(takes))


def sampled_in(folder: Path, level: int) -> list[Sampled]:
    """Return the songs that were sampled for a level so far, in the order of the steps."""
    takes: dict[int, list[Take]] = {}
    for path in sorted((folder / SAMPLES).glob(f"level_{level}_step_*.wav")):
        step = int(path.stem.split("_")[3])
        takes.setdefault(step, []).append(Take(f"{SAMPLES}/{path.name}", f"{SAMPLES}/{path.stem}.png"))
    return [Sampled(step, tuple(some)) for step, some in takes.items()]


def write_curves(folder: Path, level: int, measured: Sequence[Measured]) -> None:
    """Write the pictures of the curves that the page shows."""
    make_folder(folder / SAMPLES)
    for scheme in SCHEMES:
        write_atomically(folder, _curves(level, scheme), curves_svg(measured, scheme))


def write_page(
    folder: Path,
    name: str,
    level: int,
    facts: Sequence[tuple[str, str]],
    measured: Sequence[Measured],
    songs: list[str],
    progress: RunProgress,
) -> None:
    """Write index.html. facts: names and values. songs: what each sampled song is."""
    make_folder(folder)
    sampled, best = sampled_in(folder, level), best_step(measured)
    tuned = [one for one in reversed(sampled) if one.step]
    shown = next((one for one in tuned if one.step == best), tuned[0] if tuned else None)
    values: dict[str, Any] = {
        "about": f"level {level}, fine-tuned",
        "progress": progress,
        "written": datetime.now().astimezone(),
        "facts": facts,
        "curves": {scheme: _curves(level, scheme) for scheme in SCHEMES},
        "measured": [_row(one) for one in measured],
        "base": next((one for one in sampled if one.step == 0), None),
        "tuned": shown,
        "best": best,
        "others": [one for one in tuned if one is not shown],
        "songs": songs,
    }
    page = render_page("training.html", name, values, ("base.css", "training.css"), ("training.js",))
    write_atomically(folder, PAGE, page.encode("utf-8", "replace"))


def _curves(level: int, scheme: str) -> str:
    return f"{SAMPLES}/level_{level}_curves_{scheme}.svg"


def _row(measured: Measured) -> list[str]:
    values = (measured.training, measured.held_out, measured.others)
    return [str(measured.step), *("" if value is None else f"{value:.4f}" for value in values)]
