"""The shell: each command turns its options into one call of the library and prints what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jukebox_kit.cli.options import (
    AsJson,
    Engine,
    ModelName,
)
from jukebox_kit.errors import RequestError


def verify(
    folder: Annotated[Path | None, typer.Argument(help="A folder with golden.json and golden.safetensors.")] = None,
    ids: Annotated[Path | None, typer.Option(help="The folder with the release's artist and genre tables.")] = None,
    model: Annotated[str | None, typer.Option(help="Check a model's real weights against published numbers.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float16; below float32 logits only.")] = "float32",
    engine: Engine = "fast",
    compare: Annotated[str | None, typer.Option(help="Two engines, such as fast,jukebox; with --model.")] = None,
) -> None:
    """Replay recorded numbers through the code that sampling uses; exit 1 where any differs."""
    from jukebox_kit.checks.verify import compare_engines, verify_folder, verify_model

    if (folder is None) == (model is None):
        raise RequestError("give a folder to verify, or --model NAME for the published numbers of real weights.")
    if compare is not None and model is None:
        raise RequestError("compare needs a model whose weights are here; give --model NAME.")
    if folder is not None:
        entries = verify_folder(folder, ids, device, dtype, engine)
    elif compare is not None:
        entries = compare_engines(str(model), compare, device, dtype)
    else:
        entries = verify_model(str(model), device)
    failed = count = 0
    for entry in entries:
        typer.echo(str(entry))
        count, failed = count + 1, failed + (not entry.ok)
    typer.echo(f"{count} entries, {failed} failed")
    if failed:
        raise typer.Exit(1)


def train(
    config: Annotated[Path, typer.Argument(help="A training YAML, such as configs/training/demo.yaml.")],
    part: Annotated[list[str] | None, typer.Option(help="Train only this part; may be given again.")] = None,
) -> None:
    """Train a model on synthesised music; parts that are there already are not trained again."""
    from jukebox_kit.model.weights import PARTS
    from jukebox_kit.training import load_training
    from jukebox_kit.training import train as run

    unknown = [p for p in part or () if p not in PARTS]
    if unknown:
        raise RequestError(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}.")
    run(load_training(config), tuple(part or PARTS), lambda line: typer.echo(line))


def listen(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; each samples 16 songs.")] = 3,
    seconds: Annotated[float, typer.Option(min=3.0, max=16.0, help="Length of each song.")] = 8.0,
    model: ModelName = "demo",
) -> None:
    """Hear by numbers whether the demo model plays the scale, tempo, timbre and words that it is asked for."""
    from jukebox_kit.checks.listen import listen as hear
    from jukebox_kit.engine import Model

    found = hear(Model.load(model, "cpu"), range(seeds), seconds, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps(found, indent=1))


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where songs will be kept.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Say what this machine has: versions, devices, memory, disk, models."""
    from jukebox_kit.checks import examine

    found = examine(folder)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        typer.echo(f"{name:<12} {value}")
