"""Not a test: `python -m tests.finetune_kills FOLDER --kills 10` kills a fine-tuning run at random moments.

The adapters must then be the same, to the last bit, as those of a run that was not killed.
`--store segments` makes the folder a mount on which files may come late.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from jukebox_kit.training.dataset import Preparation, prepare
from tests.own_music import ORGAN, write_clips

ROOT = Path(__file__).parents[1]

SETTINGS = """
steps: {steps}
batch: 4
evaluate_every: 10
windows: 4
replay_windows: 16
samples: 1
sample_seconds: 1
save_minutes: 0.005
"""


def command(data: Path, base: str, recipe: Path, out: Path) -> list[str]:
    """Return the command of a run."""
    words = ["finetune", data, "--base", base, "--out", out, "--recipe", recipe, "--device", "cpu"]
    return [sys.executable, "-m", "jukebox_kit", *map(str, words)]


def killed_until_done(arguments: list[str], kills: int, seed: int, store: str, seconds: float) -> int:
    """Run a command, killing it `kills` times at random moments within `seconds`; returns how many kills hit it."""
    rng, hits = random.Random(seed), 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUKEBOX_KIT_STORE": store, "OMP_NUM_THREADS": "1"}
    for _ in range(kills):
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            hits += 1
        process.wait()
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    return hits


def timed(arguments: list[str], store: str) -> float:
    """Run a command to its end; returns its seconds."""
    started = time.monotonic()
    killed_until_done(arguments, 0, 0, store, 0)
    return time.monotonic() - started


def same_model(first: Path, second: Path) -> bool:
    """Return whether two models have the same adapters, to the last bit."""
    names = sorted(path.name for path in first.glob("*.safetensors"))
    pairs = [(load_file(first / name), load_file(second / name)) for name in names]
    return bool(pairs) and all(
        one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
        for one, other in pairs
    )


def main() -> None:
    """Make a dataset, run twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--store", choices=("local", "segments"), default="local")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True)
    prepare(write_clips(folder / "clips", [ORGAN], 6, 3, (12.0, 20.0)), folder / "data", Preparation(device="cpu"))
    (folder / "recipe.yaml").write_text(SETTINGS.format(steps=given.steps))
    runs = [command(folder / "data", "demo", folder / "recipe.yaml", folder / name) for name in ("whole", "killed")]
    whole, start = (timed(runs[0], given.store) for _ in range(2))  # the second finds it done
    # So that each life of the run trains for some steps, and no life but the last for all that are left.
    seconds = start + 1.2 * (whole - start) / max(given.kills, 1)
    hits = killed_until_done(runs[1], given.kills, given.seed, given.store, seconds)
    same = same_model(folder / "whole", folder / "killed")
    sys.stdout.write(f"{hits} kills, adapters {'equal' if same else 'DIFFERENT'}\n")
    sys.exit(not same)


if __name__ == "__main__":
    main()
