"""Not a test: `python -m tests.features_memory FOLDER` measures the memory of features at the shape of 5b.

FOLDER gets the first 36 layers with recipe weights in float16, 5 GB, which are removed in the end. One window of noise
goes through them in a process of its own, whose resident memory above the interpreter's is compared with the weights.
`--plan` only prints which cards do what.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from jukebox_kit.analysis.extractor import Extractor
from jukebox_kit.analysis.folder import extract
from jukebox_kit.analysis.plan import plan_features
from jukebox_kit.analysis.settings import FeatureSettings
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import CONFIGS, blank_prior, blank_vqvae, load_definition, recipe_tensor
from jukebox_kit.model.weights.download.convert import convert
from jukebox_kit.song import save_audio
from tests.training_memory import resident

CARDS = (8, 12, 16, 24, 80)  # GB

FREE = 0.92  # of a card's memory, beside the driver's and the context's

MOST = 1.15  # times the weights


class Recipe(Mapping[str, Tensor]):
    """A component's recipe weights, each computed when it is read."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(recipe_tensor(name, self.shapes[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def items(self):  # type: ignore[no-untyped-def]  # only dtypes are read
        """Return the names with empty tensors."""
        return [(name, torch.empty(0)) for name in self.shapes]


def write_model(folder: Path, layers: int) -> Path:
    """Write the definition and the files of 5b with some layers; returns the definition's path."""
    values = yaml.safe_load((CONFIGS / "models" / "5b.yaml").read_text(encoding="utf-8"))
    values["name"] = "shallow"
    for part in ("vqvae", "level_2"):
        values["parts"][part]["file"] = f"{part}.safetensors"
    values["parts"]["level_2"]["prior_depth"] = layers
    path = folder / "shallow.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    definition = load_definition(path)
    for part, blank in (("vqvae", blank_vqvae(definition)), ("level_2", blank_prior(definition, 2))):
        shapes = {name: tuple(value.shape) for name, value in blank.state_dict().items()}
        if not (folder / f"{part}.safetensors").exists():
            convert(blank, Recipe(shapes), folder / f"{part}.safetensors", keep=False)
    return path


def measure(model: Path, layers: int, precision: str) -> None:
    """Write the features of one window, and print the peak above the interpreter's memory and the time."""
    torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    before = resident("VmRSS")
    settings = FeatureSettings(model, layers, dtype="float16", precision=precision)
    extractor = Extractor(settings)
    weights, began = extractor.plan.layers, time.perf_counter()
    del extractor
    done = extract(model.parent / "noise.wav", model.parent / f"out-{precision}", settings)
    assert done.computed == 1
    seconds = time.perf_counter() - began
    peak = resident("VmHWM") - before
    sys.stdout.write(json.dumps({"weights": weights, "peak": peak, "ratio": peak / weights, "seconds": seconds}) + "\n")


def print_plan() -> None:
    """Print the precision that plans choose for cards, by layers and windows at a time."""
    definition = load_definition("5b")
    for depth in (36, 66, 72):
        for batch in (1, 4):
            cells: list[str] = []
            for card in CARDS:
                try:
                    plan = plan_features(definition, depth, batch, torch.device("cuda"), int(card * 1e9 * FREE))
                    cells.append(f"{card} GB {plan.weights} ({plan.peak / 1e9:.1f} GB)")
                except RequestError:
                    cells.append(f"{card} GB no")
            sys.stdout.write(f"{depth} layers, {batch} windows: {', '.join(cells)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--precision", default="float16")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    if given.plan:
        print_plan()
        return
    folder: Path = given.folder.absolute()
    if given.measure:
        measure(folder / "shallow.yaml", given.layers, given.precision)
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = write_model(folder, given.layers)
    definition = load_definition(path)
    samples = definition.top.n_ctx * definition.vqvae.hops[-1]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)
    save_audio(noise, folder / "noise.wav", definition.vqvae.sr)
    command = [sys.executable, "-m", "tests.features_memory", str(folder), "--measure"]
    command += ["--layers", str(given.layers), "--precision", given.precision]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    (folder / "level_2.safetensors").unlink()
    sys.stdout.write(
        f"{given.layers} layers in {given.precision}: {found['weights'] / 1e9:.2f} GB of weights, a peak of "
        f"{found['peak'] / 1e9:.2f} GB, {found['ratio']:.3f} times as much; {found['seconds']:.0f} s for a window with "
        f"loading, {found['seconds'] / given.layers:.1f} s a layer\n"
    )
    if found["ratio"] > MOST:
        sys.exit(1)


if __name__ == "__main__":
    main()
