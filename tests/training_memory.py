"""Not a test: `python -m tests.training_memory FOLDER` compares predicted with measured memory of training, as JSON.

The prior has the shape of 1b_lyrics with recipe weights and a short window, and trains adapters on the CPU. Each case
is a process of its own, whose resident memory above the interpreter's is measured. FOLDER gets files of 2 GB each.
Beside it stands what the plan says for graphics cards; `--plan` prints only that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

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

MODELS = ("1b_lyrics", "5b_lyrics")

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


def compared(folder: Path) -> list[dict[str, Any]]:
    """Measure all cases, each in a process of its own, and return them beside the plan, in bytes."""
    rows: list[dict[str, Any]] = []
    for computes, storage, batch, n_ctx in CASES:
        definition = definition_of(folder, n_ctx)
        write_weights(definition)
        case = json.dumps([computes, storage, batch, n_ctx])
        command = [sys.executable, "-m", "tests.training_memory", str(folder), "--case", case]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        planned = training_bytes(
            definition.top, definition.vqvae, FineTuning(), storage, getattr(torch, computes), batch
        )
        settings = {"computes": computes, "base": storage, "batch": batch, "tokens": n_ctx}
        rows.append({**settings, "planned": planned.peak, "measured": int(done.stdout)})
    return rows


def planned_cards() -> list[dict[str, Any]]:
    """Return what the plan says for cards: the base's precision, the batch size, and bytes; None where none fits."""
    rows: list[dict[str, Any]] = []
    for card in CARDS:
        row: dict[str, Any] = {"gigabytes": card}
        for name in MODELS:
            definition = load_definition(name)
            settings = FineTuning(computes="float16" if card <= 16 else "bfloat16")
            free = int(card * 1e9 * FREE)
            try:
                plan = plan_training(definition.top, definition.vqvae, settings, torch.device("cuda"), free)
                row[name] = {"base": plan.storage, "batch": plan.batch, "planned": plan.needed.peak}
            except RequestError:
                row[name] = None
        rows.append(row)
    return rows


def main() -> None:
    """Print the plan for cards, and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        measure(given.folder, *json.loads(given.case))
        return
    results: dict[str, Any] = {"cards": planned_cards()}
    if not given.plan:
        given.folder.mkdir(parents=True, exist_ok=True)
        results["cases"] = compared(given.folder)
    sys.stdout.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
