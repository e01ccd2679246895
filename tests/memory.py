"""Not a test that runs by itself: `python tests/memory.py` compares predicted with measured peaks of memory.

For each shape, precision and batch size it writes the component to a file, loads it in a separate process, and samples
the fullest window twice, with previews. On the CPU the peak is that of resident memory above what the interpreter and
its libraries took after a tiny model had run; on CUDA it is torch's own. glibc keeps much of the memory that is freed,
which sampling does not need: "needed" is measured with freed blocks of 64 KiB and more returned to the system
immediately, "as glibc leaves it" without that. `--cuda` measures on the GPU; `--full` measures the released shapes
instead of those that fit a small machine (it writes up to 21 GB of weights).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.memory import level_bytes
from jukebox_kit.engine.model import Model
from jukebox_kit.engine.placement import WEIGHTS, Placement
from jukebox_kit.engine.sampling import LevelJob, sample_level
from jukebox_kit.engine.windows import UNSAMPLED, LevelPlan
from jukebox_kit.model.labels import Labels
from jukebox_kit.model.weights.blank import blank_prior, blank_vqvae, linears
from jukebox_kit.model.weights.definition import PARTS, ModelDefinition, load_definition

MIB = 2**20
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
AGAIN = 16  # tokens sampled behind the first window: multiples of the hops between levels
# What is measured: name, level, batch size.
SMALL = [("demo", 2, 1), ("demo", 2, 8), ("demo", 0, 1), ("demo", 0, 8)]
SMALL += [("wide", 2, 1), ("wide", 2, 4), ("wide", 0, 1), ("wide", 0, 4)]
FULL = [(name, level, items) for name in ("1b_lyrics", "5b_lyrics") for level in (2, 0) for items in (1, 4, 16)]


def definition_of(name: str, folder: Path) -> ModelDefinition:
    """Return a model by name, its files in the folder: `wide` has the released structure, 1024 wide, 24 layers."""
    demo = load_definition("demo")
    if name == "demo":
        return demo
    files = {part: f"{name}-{part}.safetensors" for part in PARTS}
    if name == "tiny":  # other shapes than all that are measured
        priors = tuple(replace(prior, prior_width=48, cond_width=min(prior.cond_width, 24)) for prior in demo.priors)
        vqvae = replace(demo.vqvae, emb_width=12, width=12)
        return replace(demo, vqvae=vqvae, priors=priors, files=files, folder=folder)
    released = load_definition("1b_lyrics" if name == "wide" else name)
    if name == "wide":
        smaller = [replace(prior, prior_width=1024, prior_depth=24) for prior in released.priors]
        released = replace(released, priors=(*(replace(p, cond_width=512) for p in smaller[:2]), smaller[2]))
    return replace(released, files=files, folder=folder)


def write(definition: ModelDefinition, part: str, maps: torch.dtype) -> None:
    """Write a part's file, small random numbers, the transformers' maps in a dtype, all else in float32."""
    blank = blank_prior(definition, PARTS.index(part) - 1) if part != "vqvae" else blank_vqvae(definition)
    own = {f"{name}.{inner}" for name, _, _, _ in linears(blank) for inner in ("w", "b")}
    state = {
        name: torch.empty(value.shape, dtype=maps if name in own else torch.float32).uniform_(-0.02, 0.02)
        for name, value in blank.state_dict().items()
        if name != "prior.x_out.weight" or getattr(blank.config, "merged_decoder", False)
    }
    save_file(state, definition.folder / definition.files[part])


class Peak:
    """The peak of memory since it was begun, above what was held then, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self.base = torch.cuda.memory_allocated(device)
        else:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
            self.base = self.high()

    def high(self) -> int:
        """Return the peak so far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

    def bytes(self) -> int:
        """Return it."""
        return self.high() - self.base


def sample(model: Model, plan: LevelPlan, items: int) -> None:
    """Sample the last tokens of a level twice, with a preview at the end of each, as if the levels above had theirs."""
    prior, level = model.prior(plan.level), plan.level
    rows = tuple(range(items))
    above = torch.zeros(items, plan.total // plan.rate, dtype=torch.long, device=model.device)
    labels = Labels(1, (1,), (3, 4, 5), 60 * model.definition.vqvae.sr)
    job = LevelJob(
        plan, rows, (labels,) * items, None if prior.top else above, 0, SamplingParams(0.98), model.placement
    )

    def preview(position: int) -> None:
        if position < plan.total - 1:
            return
        for done in range(len(model.definition.priors) - 1, level - 1, -1):
            vqvae = model.vqvae
            long = vqvae.piece_tokens(done) + 2 * vqvae.margin(done)
            vqvae.decode(torch.zeros(1, long, dtype=torch.long, device=model.device), done)

    for _ in range(2):
        codes = torch.zeros(items, plan.total, dtype=torch.long, device=model.device)
        codes[:, plan.n_ctx :] = UNSAMPLED
        sample_level(prior, job, codes, preview)


def planned(definition: ModelDefinition, level: int) -> LevelPlan:
    """Return a level's plan with a window and a little more, so that the second window begins nearly full."""
    n_ctx, hops = definition.priors[level].n_ctx, definition.vqvae.hops
    rate = 1 if level == len(hops) - 1 else hops[level + 1] // hops[level]
    return LevelPlan(level, n_ctx + AGAIN, n_ctx, (0, AGAIN), rate)


def measure(name: str, level: int, items: int, weights: str, folder: Path, device: torch.device) -> dict[str, float]:
    """Return predicted and measured bytes of loading and of sampling, in this process."""
    torch.set_num_threads(1)
    definition, placement = definition_of("tiny", folder), Placement(device, weights)
    for part in PARTS:
        write(definition, part, torch.float32)
    warm = Model("tiny", definition, placement)
    for other in (2, 0):
        sample(warm, planned(warm.definition, other), 1)
    del warm
    definition = definition_of(name, folder)
    model, plan = Model(name, definition, placement), planned(definition, level)
    taken = level_bytes(definition, placement, plan, items)
    peak = Peak(device)
    for module in (model.vqvae, model.prior(level)):
        for value in (*module.parameters(), *module.buffers()):
            assert value.flatten()[::512].isfinite().all()  # what lies in a mapped file counts once it is read
    loading = peak.bytes()
    sample(model, plan, items)
    return {
        "loading": loading,
        "loading_predicted": taken.loading,
        "peak": peak.bytes(),
        "peak_predicted": taken.peak(items),
    }


def apart(case: tuple[str, int, int], weights: str, folder: str, device: str, kept: bool) -> dict[str, float]:
    """Return what `measure` does in a process of its own; `kept`: as glibc leaves it."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", *map(str, case), weights, folder, device]
    environment = {**os.environ, **({} if kept else GIVEN_BACK)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(device: str, cases: list[tuple[str, int, int]]) -> None:
    """Print a line for each case."""
    say = sys.stdout.write
    say(f"{'case, MiB':<35} {'file':<9} loading: said needed       | sampling: said needed          as is\n")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            for maps in (torch.float16, torch.float32):
                if case[0] != "demo":
                    for part in ("vqvae", PARTS[case[1] + 1]):
                        write(definition_of(case[0], Path(folder)), part, maps)
                for weights in WEIGHTS[1:] if device == "cuda" else WEIGHTS:
                    found = apart(case, weights, folder, device, kept=False)
                    left = found if device == "cuda" else apart(case, weights, folder, device, kept=True)
                    say(f"{f'{case[0]} level {case[1]}, {case[2]} at once':<25} {weights:<9} {str(maps)[6:]:<9} ")
                    for kind in ("loading", "peak"):
                        said, needed = found[f"{kind}_predicted"], found[kind]
                        say(f"{said / MIB:10.0f} {needed / MIB:8.0f} {said / needed:5.2f} |")
                    say(f"{left['peak'] / MIB:8.0f}\n")
                    sys.stdout.flush()
                if case[0] == "demo" or case[2] > 1:
                    break  # the one file that it has, or what loading takes has been seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", help="demo, wide, 1b_lyrics or 5b_lyrics")
    parser.add_argument("--one", nargs=6)
    given = parser.parse_args()
    if given.one:
        name, level, items, weights, folder, device = given.one
        result = measure(name, int(level), int(items), weights, Path(folder), torch.device(device))
        sys.stdout.write(json.dumps(result))
    else:
        chosen = [case for case in (FULL if given.full else SMALL) if given.only in (None, case[0])]
        main("cuda" if given.cuda else "cpu", chosen)
