"""Not a test: `python -m tests.finetune FOLDER` fine-tunes the demo on an instrument that it never heard, and measures.

It prints how much of the gap between base and full training the adapters close, whether a classifier that was fitted on
real clips hears the new instrument in sampled songs, what happens to the four old artists, and whether `lora_scale` 0
gives the base's tokens. An interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jukebox_kit import Model, Song, level_2
from jukebox_kit.checks.listen.measures import classifier, timbre_features
from jukebox_kit.song import Audio, read_recording
from jukebox_kit.training import ARTISTS, GENRES, FineTuning, FineTuningJob, finetune
from jukebox_kit.training.checkpoints import Checkpoints
from jukebox_kit.training.dataset import Dataset, Preparation, prepare
from jukebox_kit.training.job import WORK
from tests.own_music import HARP, write_clips, write_known

SR, SECONDS = 16000, 6.0

ADAPTERS = FineTuning(steps=300, batch=8, evaluate_every=50, windows=32, samples=2)

FULL = replace(ADAPTERS, full=True, samples=0)


def report(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def clips_of(folder: Path, count: int) -> list[Audio]:
    """Return the first and the second SECONDS of each recording of a folder, (samples,) at SR."""
    found: list[Audio] = []
    for path in sorted(folder.glob("*.flac"))[:count]:
        audio = np.asarray(read_recording(path, SR, 2 * SECONDS))
        found += [audio[: int(SECONDS * SR)], audio[int(SECONDS * SR) :]]
    return found


def noisy(audio: Audio, rng: np.random.Generator) -> list[Audio]:
    """Return a clip, and the clip with white noise 20 dB below it, as a codec adds some."""
    noise = rng.standard_normal(len(audio)).astype(np.float32) * np.float32(0.1 * audio.std())
    return [audio, audio + noise]


def heard_as_new(folder: Path, samples: Sequence[Audio]) -> float:
    """Return the share of samples that a classifier of real clips of five instruments takes for the new one."""
    rng = np.random.default_rng(0)
    real = [(len(ARTISTS), clip) for clip in clips_of(folder / "harp", 24)]
    known = folder / "known"
    for number, path in enumerate(sorted(known.glob("*.flac"))):
        audio = np.asarray(read_recording(path, SR, 2 * SECONDS))
        halves = (audio[: int(SECONDS * SR)], audio[int(SECONDS * SR) :])
        real += [(number % len(ARTISTS), half) for half in halves]
    features = [(name, timbre_features(one, SR)) for name, clip in real for one in noisy(clip, rng)]
    fitted = classifier(np.stack([f for _, f in features]), [name for name, _ in features])
    guesses = fitted.predict(np.stack([timbre_features(audio, SR) for audio in samples]))
    return float(np.mean(guesses == len(ARTISTS)))


def sampled(folder: Path, model: Path) -> list[Audio]:
    """Return 32 samples of the new artist at level 2, decoded: eight of each genre."""
    found: list[Audio] = []
    for genre in GENRES:
        place = folder / "songs" / genre.name
        shutil.rmtree(place, ignore_errors=True)
        lyrics = "la mi so du ne ti " * 4
        song = Song.create(
            place, model=model, artist=HARP.name, genre=genre.name, lyrics=lyrics, seconds=SECONDS, items=8, seed=11
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
    job = FineTuningJob(Dataset.open(folder / "data/harp"), "demo", folder / name, 2, settings, others)
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
    if not (folder / "harp").exists():
        write_clips(folder / "harp", [HARP], 24, 7, (20.0, 40.0))
    if not (folder / "known").exists():
        write_known(folder / "known", 16, 9)
    prepare(folder / "harp", folder / "data/harp", Preparation(processes=2, device="cpu"))
    others = prepare(folder / "known", folder / "data/known", Preparation(processes=2, device="cpu"))
    lora = measured(folder, "lora", ADAPTERS, others)
    full = measured(folder, "full", FULL, others)
    gap = (lora["held_out_before"] - lora["held_out"]) / (full["held_out_before"] - full["held_out"])
    model = folder / "lora" / "model.yaml"
    results = {
        "adapters": lora,
        "full": full,
        "share_of_the_gap_closed": round(gap, 3),
        "others_rise": round(lora["others"] / lora["others_before"] - 1, 4),
        "heard_as_the_new_artist": heard_as_new(folder, sampled(folder, model)),
        "base_heard_as_the_new_artist": heard_as_new(folder, base_samples(folder)),
        "scale_0_gives_the_tokens_of_the_base": base_tokens_at_scale_0(folder, model),
    }
    report(json.dumps(results, indent=1))


def base_samples(folder: Path) -> list[Audio]:
    """Return eight samples of the base for an artist that it does not know."""
    place = folder / "songs" / "of_base"
    shutil.rmtree(place, ignore_errors=True)
    song = Song.create(place, Model.load("demo", "cpu"), genre="waltz", seconds=SECONDS, items=8, seed=11)
    level_2(song)
    return [np.asarray(song.audio(2, item)) for item in range(8)]


if __name__ == "__main__":
    main()
