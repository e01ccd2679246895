"""Not a test: `python -m tests.training_memory FOLDER` compares predicted with measured memory of training.

The prior has the shape of 1b_lyrics with recipe weights and a short window, and trains adapters on the CPU. Each case
is a process of its own, whose resident memory above the interpreter's is measured. FOLDER gets files of 2 GB each.
`--plan` only prints what the plan says for graphics cards.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from jukebox_kit.errors import RequestError
from jukebox_kit.model import Labels, Prior, Tables
from jukebox_kit.model.weights import PARTS, ModelDefinition, load_definition, recipe_tensor, without_weights
from jukebox_kit.training.memory import return_freed_memory, training_bytes
from jukebox_kit.training.new_names import Extension
from jukebox_kit.training.pieces import Pieces
from jukebox_kit.training.plan import plan_training
from jukebox_kit.training.prior import CodeCorpus
from jukebox_kit.training.ranks import Ranks
from jukebox_kit.training.settings import FineTuning
from jukebox_kit.training.trainable import load_trainable
from jukebox_kit.training.trainer import SongWindows, StepSettings, Trainer
from jukebox_kit.training.window_order import WindowOrder

CASES = (  # dtype of linear layers, storage of the base, batch size, music tokens of a window
    ("float32", "float32", 1, 384),
    ("float32", "float32", 2, 896),
    ("float32", "float16", 2, 384),
    ("bfloat16", "float16", 2, 384),
    ("bfloat16", "float16", 2, 896),
    ("bfloat16", "int8", 1, 384),
)

CARDS = (8, 12, 16, 24, 80)  # GB

FREE = 0.92  # of a card's memory, beside the driver's and the context's


def definition_of(folder: Path, n_ctx: int) -> ModelDefinition:
    """Return 1b_lyrics with another window."""
    shipped = load_definition("1b_lyrics")
    top = replace(shipped.top, n_ctx=n_ctx)
    part = f"level_2_{n_ctx}.safetensors"
    return replace(
        shipped, priors=(*shipped.priors[:2], top), files={**shipped.files, PARTS[3]: part}, folder=folder.absolute()
    )


def write_weights(definition: ModelDefinition) -> None:
    """Write the prior's file with recipe weights in float16, unless it is there."""
    path = definition.folder / definition.files[PARTS[3]]
    if path.exists():
        return
    with without_weights():
        prior = Prior(definition.top, definition.vqvae)
    names = {name: tuple(value.shape) for name, value in prior.state_dict().items() if name != "prior.x_out.weight"}
    save_file({name: torch.from_numpy(recipe_tensor(name, shape)).half() for name, shape in names.items()}, path)


def resident(key: str) -> int:
    """Return the process's memory in bytes: VmRSS now, or VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def measure(folder: Path, computes: str, storage: str, batch: int, n_ctx: int) -> None:
    """Train two steps, and print the bytes that the peak was above the interpreter's memory."""
    definition, settings = definition_of(folder, n_ctx), FineTuning(replay=0.0)
    extension = Extension("v3", Tables("v3", {}, {}), {"artist": ("new",), "genre": ()})
    torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    return_freed_memory()  # as a run does
    before = resident("VmRSS")
    dtype = getattr(torch, computes)
    prior = load_trainable(definition, 2, extension, settings, storage, dtype, torch.device("cpu"))
    length = n_ctx * prior.hop
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(2048, (n_ctx,), generator=generator) for _ in range(4)]
    labels = [Labels(1, (1,), tuple(range(1, 60)), 100 * 44100)] * 4
    songs = SongWindows(
        CodeCorpus(prior, codes, None, labels), WindowOrder(Pieces((length,) * 4, length), 0, prior.hop)
    )
    trainer = Trainer(prior, songs, StepSettings(settings.rate, batch), Ranks(0, 1, torch.device("cpu")))
    for _ in range(2):
        trainer.step()
        trainer.finish_step()
    sys.stdout.write(f"{resident('VmHWM') - before}\n")


def compare(folder: Path) -> None:
    """Measure all cases, each in a process of its own, and print them beside the plan."""
    for computes, storage, batch, n_ctx in CASES:
        definition = definition_of(folder, n_ctx)
        write_weights(definition)
        case = json.dumps([computes, storage, batch, n_ctx])
        command = [sys.executable, "-m", "tests.training_memory", str(folder), "--case", case]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        dtype = getattr(torch, computes)
        planned = training_bytes(definition.top, definition.vqvae, FineTuning(), storage, dtype, batch).peak
        got = int(done.stdout)
        what = f"{computes}, base in {storage}, batch size {batch}, {n_ctx} tokens"
        sys.stdout.write(
            f"{what}: planned {planned / 2**20:.0f} MiB, measured {got / 2**20:.0f}: {planned / got:.2f}\n"
        )
        sys.stdout.flush()


def plan_cards() -> None:
    """Print what the plan says for cards, in Markdown."""
    sys.stdout.write("| card | 1b_lyrics | 5b_lyrics |\n|---|---|---|\n")
    for card in CARDS:
        cells: list[str] = []
        for name in ("1b_lyrics", "5b_lyrics"):
            definition = load_definition(name)
            computes = "float16" if card <= 16 else "bfloat16"
            settings = FineTuning(computes=computes)
            free = int(card * 1e9 * FREE)
            try:
                plan = plan_training(definition.top, definition.vqvae, settings, torch.device("cuda"), free)
                size = plan.needed.peak / 2**30
                cells.append(f"base in {plan.storage}, batch size {plan.batch}: {size:.1f} GiB")
            except RequestError:
                cells.append("does not fit")
        sys.stdout.write(f"| {card} GB | {' | '.join(cells)} |\n")


def main() -> None:
    """Compare, or print the plan for cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan:
        plan_cards()
    elif given.case:
        measure(given.folder, *json.loads(given.case))
    else:
        given.folder.mkdir(parents=True, exist_ok=True)
        compare(given.folder)


if __name__ == "__main__":
    main()
