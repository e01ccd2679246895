"""Not a test that runs by itself: `python tests/full_size.py FOLDER` shows a full-size upsampler on this machine.

Writes `upsampler_level_0` with recipe weights, 3.9 GB, as the release writes its files, reads it in a process of its
own the way sampling does, samples tokens, and prints times and that process's peak memory. Then converts it as
`jukebox-kit models get` does, and loads the converted file in a process of its own, once in float32 and once in
float16 as on a GPU: the peak memory of that process, interpreter and libraries included, against the size of the loaded
part in memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.model import Model, place
from jukebox_kit.engine.sampling import LevelJob, sample_level
from jukebox_kit.engine.windows import UNSAMPLED, LevelPlan
from jukebox_kit.model.labels import Labels
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.weights.blank import blank_prior
from jukebox_kit.model.weights.checkpoint import assign, read_state, recipe_state
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.model.weights.download.convert import convert, opens_as

TOKENS = 12
ORIGINAL, CONVERTED = "5b/prior_level_0.pth.tar", "5b/prior_level_0.safetensors"


def build() -> Prior:
    """Return the part without weights."""
    return blank_prior(load_definition("1b_lyrics"), 0)


def peak() -> float:
    """Return the most memory that this process has held, in GiB, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def write(path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"module.{name}": value for name, value in recipe_state(build()).items()}
    torch.save({"model": state, "step": 0}, path)


def sample(path: Path) -> None:
    """Read the file and sample tokens of one song's first window."""
    begun = time.monotonic()
    prior = build()
    assign(prior, read_state(path), str(path))
    place(prior, torch.device("cpu"), torch.float32)
    loaded = time.monotonic()
    plan = LevelPlan(0, TOKENS, prior.config.n_ctx, (0,), 4)
    above = torch.zeros(1, TOKENS // 4, dtype=torch.long)
    job = LevelJob(plan, (0,), (Labels(1, (1,), (), 44100 * 60),), above, 0, SamplingParams(0.99))
    codes = torch.full((1, TOKENS), UNSAMPLED)
    sample_level(prior, job, codes)
    done = time.monotonic()
    sys.stdout.write(
        f"file {path.stat().st_size / 2**30:.2f} GiB; read in {loaded - begun:.1f} s; conditioning and {TOKENS} tokens "
        f"in {done - loaded:.1f} s: {codes[0].tolist()}; peak memory {peak():.2f} GiB, mapped file included\n"
    )


def converted(path: Path, to: Path) -> None:
    """Convert the file, its maps to float16."""
    begun = time.monotonic()
    part = build()
    size, _ = convert(part, opens_as(part, path), to, keep=False)
    sys.stdout.write(
        f"converted to {size / 2**30:.2f} GiB in {time.monotonic() - begun:.1f} s; peak memory {peak():.2f} GiB, of "
        f"which the mapped file is given back when memory is short\n"
    )


def load(folder: Path, weights: str) -> None:
    """Load the converted file as a model does, and touch every page of it."""
    os.environ["JUKEBOX_KIT_MODELS"] = str(folder)
    begun = time.monotonic()
    before, model = peak(), Model.load("1b_lyrics", "cpu", weights, "cached")
    prior = model.prior(0)
    taken = time.monotonic() - begun
    values = [*prior.parameters(), *prior.buffers()]  # a tied table is named once
    size = sum(value.numel() * value.element_size() for value in values) / 2**30
    for value in values:  # a number of every page, so that a mapped file counts as if it were read
        assert value.flatten()[::512].isfinite().all()
    sys.stdout.write(
        f"loaded as {weights} in {taken:.1f} s: {size:.3f} GiB in memory, peak memory {peak():.3f} GiB, "
        f"{peak() / size:.3f} times that ({before:.2f} GiB before loading)\n"
    )


def alone(*arguments: object) -> None:
    """Run one of the steps in a process of its own."""
    subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    step = sys.argv[2] if len(sys.argv) > 2 else ""
    if step == "sample":
        sample(root / ORIGINAL)
    elif step == "convert":
        converted(root / ORIGINAL, root / CONVERTED)
    elif step:
        load(root, step)
    else:
        try:
            write(root / ORIGINAL)
            alone(root, "sample")
            alone(root, "convert")
            (root / ORIGINAL).unlink()
            alone(root, "float32")
            alone(root, "float16")
        finally:
            for name in (ORIGINAL, CONVERTED):
                (root / name).unlink(missing_ok=True)
