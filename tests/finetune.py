"""Not a test: `python -m tests.finetune FOLDER` fine-tunes the demo on an instrument that it never heard, and measures.

It prints as JSON how much of the gap between base and full training the adapters close, whether a classifier that was
fitted on real clips hears the new instrument in sampled songs, what happens to the four old artists, and whether
`lora_scale` 0 gives the base's tokens. An interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from jukebox_kit import Model, Song, level_2
from jukebox_kit.checks.evaluate.measures import as_heard, classifier, timbre_features
from jukebox_kit.checks.evaluate.report import decoded
from jukebox_kit.song import Audio, read_recording
from jukebox_kit.training import ARTISTS, GENRES, FineTuning, FineTuningJob, Timbre, finetune
from jukebox_kit.training.checkpoints import Checkpoints
from jukebox_kit.training.dataset import Dataset, Preparation, prepare
from jukebox_kit.training.job import WORK
from tests.own_music import ORGAN, write_clips, write_known

SR, SECONDS = 16000, 6.0

ADAPTERS = FineTuning(steps=400, batch=8, evaluate_every=50, windows=32, samples=2)

FULL = replace(ADAPTERS, full=True, samples=0)


def report(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"{line}\n")


@dataclass(frozen=True)
class Ear:
    """Recognises five instruments: the four that the demo knows, and last the new one, fitted on real clips of each."""

    fitted: Pipeline

    @classmethod
    def of(cls, folder: Path) -> Ear:
        """Fit on 24 recordings of each instrument, which `folder` gets, as level 2's codes render them.

        That is how samples are heard; each is used as it is, with noise, and dull.
        """
        model = Model.load("demo", "cpu")
        rng, features, names = np.random.default_rng(0), list[NDArray[np.float64]](), list[int]()
        for number, timbre in enumerate((*ARTISTS, ORGAN)):
            for clip in real_clips(folder / f"ear_{number}", timbre, 100 + number):
                features += [timbre_features(one, SR) for one in as_heard(decoded(model, clip, 2), SR, rng)]
                names += [number] * 3
        return cls(classifier(np.stack(features), names))

    def guesses(self, clips: Sequence[Audio]) -> NDArray[np.int64]:
        """Return the instrument of each clip, len(ARTISTS) for the new one."""
        found: NDArray[np.int64] = self.fitted.predict(np.stack([timbre_features(clip, SR) for clip in clips]))
        return found

    def share_new(self, clips: Sequence[Audio]) -> float:
        """Return the share of clips that are taken for the new instrument."""
        return float(np.mean(self.guesses(clips) == len(ARTISTS)))

    def right_after_the_codec(self, folder: Path) -> list[float]:
        """Return for each instrument the share of other real clips that is recognised after level 2's codes."""
        model, shares = Model.load("demo", "cpu"), list[float]()
        for number, timbre in enumerate((*ARTISTS, ORGAN)):
            clips = [decoded(model, one, 2) for one in real_clips(folder / f"test_{number}", timbre, 200 + number, 8)]
            shares.append(float(np.mean(self.guesses(clips) == number)))
        return shares


def real_clips(folder: Path, timbre: Timbre, seed: int, count: int = 24) -> list[Audio]:
    """Return clips of an instrument, (samples,) at SR, from recordings that are written unless they are there."""
    if not folder.exists():
        write_clips(folder, [timbre], count, seed, (SECONDS, SECONDS))
    return [np.asarray(read_recording(path, SR)) for path in sorted(folder.glob("*.flac"))]


def sampled(folder: Path, model: Path) -> list[Audio]:
    """Return 32 samples of the new artist at level 2, decoded: eight of each genre."""
    found: list[Audio] = []
    for genre in GENRES:
        place = folder / "songs" / genre.name
        shutil.rmtree(place, ignore_errors=True)
        lyrics = "la mi so du ne ti " * 4
        song = Song.create(
            place, model=model, artist=ORGAN.name, genre=genre.name, lyrics=lyrics, seconds=SECONDS, items=8, seed=11
        )
        level_2(song)
        found += [np.asarray(song.audio(2, item)) for item in range(8)]
    return found


def base_tokens_at_scale_0(folder: Path, model: Path) -> bool:
    """Return whether a fine-tuned model at scale 0 samples the base's tokens for a name that both know."""
    codes = []
    for name, fields in (("base", {"model": "demo"}), ("scaled", {"model": model, "lora_scale": 0.0})):
        place = folder / "songs" / name
        shutil.rmtree(place, ignore_errors=True)
        song = Song.create(place, artist="saw strings", genre="waltz", seconds=4, seed=5, **fields)
        level_2(song)
        codes.append(song.codes(2))
    return bool(np.array_equal(codes[0], codes[1]))


def measured(folder: Path, name: str, settings: FineTuning, others: Dataset) -> dict[str, float]:
    """Fine-tune level 2, and return bits per token before and after, of held-out songs and of others, and the time."""
    started = time.monotonic()
    job = FineTuningJob(Dataset.open(folder / "data/organ"), "demo", folder / name, 2, settings, others)
    finetune(job, "cpu", say=lambda line: report(f"{name}: {line}"))
    state = Checkpoints(folder / name / WORK / "level_2").read()
    assert state is not None
    rows = state.facts["measured"]
    best = min(rows, key=lambda row: row[2])
    before = rows[0]
    return {
        "held_out_before": before[2],
        "held_out": best[2],
        "others_before": before[3],
        "others": best[3],
        "seconds": round(time.monotonic() - started),
    }


def main() -> None:
    """Make the music, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    if not (folder / "organ").exists():
        write_clips(folder / "organ", [ORGAN], 24, 7, (20.0, 40.0))
    if not (folder / "known").exists():
        write_known(folder / "known", 16, 9)
    prepare(folder / "organ", folder / "data/organ", Preparation(processes=2, device="cpu"))
    others = prepare(folder / "known", folder / "data/known", Preparation(processes=2, device="cpu"))
    lora = measured(folder, "lora", ADAPTERS, others)
    full = measured(folder, "full", FULL, others)
    gap = (lora["held_out_before"] - lora["held_out"]) / (full["held_out_before"] - full["held_out"])
    ear = Ear.of(folder)
    for way, name in ((lora, "lora"), (full, "full")):
        way["heard"] = ear.share_new(sampled(folder, folder / name / "model.yaml"))
    results = {
        "adapters": lora,
        "full": full,
        "share_of_the_gap_closed": round(gap, 3),
        "others_rise": round(lora["others"] / lora["others_before"] - 1, 4),
        "recognised_after_the_codec": ear.right_after_the_codec(folder),
        "base_heard_as_the_new_artist": ear.share_new(base_samples(folder)),
        "scale_0_gives_the_tokens_of_the_base": base_tokens_at_scale_0(folder, folder / "lora" / "model.yaml"),
    }
    sys.stdout.write(json.dumps(results, indent=1) + "\n")


def base_samples(folder: Path) -> list[Audio]:
    """Return eight samples of the base for an artist that it does not know."""
    place = folder / "songs" / "of_base"
    shutil.rmtree(place, ignore_errors=True)
    song = Song.create(place, Model.load("demo", "cpu"), genre="waltz", seconds=SECONDS, items=8, seed=11)
    level_2(song)
    return [np.asarray(song.audio(2, item)) for item in range(8)]


if __name__ == "__main__":
    main()
