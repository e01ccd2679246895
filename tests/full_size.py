"""Not a test that runs by itself: `python tests/full_size.py FOLDER` shows a full-size upsampler on this machine.

Writes `upsampler_level_0` with recipe weights, 3.9 GB, as the release writes its files, reads it in a process of its
own the way sampling does, samples tokens, and prints times and that process's peak memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from jukebox_kit.codes import UNMADE
from jukebox_kit.definitions import load_definition
from jukebox_kit.labels import Labels
from jukebox_kit.model.checkpoint import assign, read_state, recipe_state
from jukebox_kit.model.prior import Prior
from jukebox_kit.models import blank_prior, place
from jukebox_kit.sampling import Choice, LevelJob, sample_level
from jukebox_kit.windows import LevelPlan

TOKENS = 12


def build() -> Prior:
    """Return the part without weights."""
    return blank_prior(load_definition("1b_lyrics"), 0)


def write(path: Path) -> None:
    """Write the file."""
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
    job = LevelJob(plan, (0,), (Labels(1, (1,), (), 44100 * 60),), above, 0, Choice(0.99))
    codes = torch.full((1, TOKENS), UNMADE)
    sample_level(prior, job, codes)
    done = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(
        f"file {path.stat().st_size / 2**30:.2f} GiB; read in {loaded - begun:.1f} s; conditioning and {TOKENS} tokens "
        f"in {done - loaded:.1f} s: {codes[0].tolist()}; peak memory {peak:.2f} GiB, mapped file included\n"
    )


if __name__ == "__main__":
    file = Path(sys.argv[1]) / "prior_level_0.pth.tar"
    if len(sys.argv) == 3:
        sample(file)
    else:
        write(file)
        subprocess.run([sys.executable, __file__, sys.argv[1], "sample"], check=True)
        file.unlink()
