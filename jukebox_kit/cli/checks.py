"""Commands that check: each makes one call of the library and prints the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukebox_kit.cli.options import AsJson, Engine, ModelName
from jukebox_kit.errors import RequestError

if TYPE_CHECKING:
    from jukebox_kit.checks.verify import Entry


def verify(
    folder: Annotated[Path | None, typer.Argument(help="A folder of recorded numbers, such as tests/golden.")] = None,
    ids: Annotated[Path | None, typer.Option(help="A folder with the release's artist and genre tables.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Check a model's real weights against published numbers: 5b or 1b_lyrics.")
    ] = None,
    vqvae: Annotated[
        bool, typer.Option("--vqvae", help="Check the release's VQ-VAE only, downloaded if needed (8 MB).")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="A JSON file for what this machine measured (requires --model or --vqvae).")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, or float16, which compares logits only.")] = "float32",
    engine: Engine = "fast",
    compare: Annotated[
        str | None, typer.Option(help="Compare two engines, such as fast,jukebox (requires --model).")
    ] = None,
) -> None:
    """Replay recorded numbers through the code that sampling uses; exits with 1 if any differ."""
    from jukebox_kit._files import user_path, write_atomically
    from jukebox_kit.checks.verify import CLIP_MODEL, Released, compare_engines, verify_folder
    from jukebox_kit.model.weights.download import DownloadOptions

    if [folder is not None, model is not None, vqvae].count(True) != 1:
        raise RequestError(
            "pass a folder to verify, --model NAME to check real weights against published numbers, or --vqvae."
        )
    if report is not None and (folder is not None or compare is not None):
        raise RequestError("report is for published numbers; pass --model NAME or --vqvae.", field="report")
    if compare is not None and model is None:
        raise RequestError("compare needs a model whose weights are on this machine; pass --model NAME.")
    released: Released | None = None
    entries: Iterator[Entry]
    if folder is not None:
        entries = verify_folder(folder, ids, device, dtype, engine)
    elif compare is not None:
        entries = compare_engines(str(model), compare, device, dtype)
    else:
        options = DownloadOptions(say=lambda line: typer.echo(line, err=True))
        released = Released(model or CLIP_MODEL, device, options)
        entries = released.vqvae_entries() if vqvae else released.model_entries()
    seen: list[Entry] = []
    for entry in entries:
        typer.echo(str(entry))
        seen.append(entry)
    failed = sum(not entry.ok for entry in seen)
    typer.echo(f"{len(seen)} entries, {failed} failed")
    if report is not None and released is not None:
        place, content = user_path(report).absolute(), json.dumps(released.report(seen, not vqvae), indent=1)
        write_atomically(place.parent, place.name, content.encode() + b"\n")
    if failed:
        raise typer.Exit(1)


def evaluate(
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds; each samples every artist in every genre.")] = 3,
    seconds: Annotated[float, typer.Option(min=3.0, max=16.0, help="Length of each song.")] = 8.0,
    model: ModelName = "demo",
) -> None:
    """Measure whether a model that knows the demo's labels plays the scale, tempo, timbre and words of each request."""
    from jukebox_kit.checks.evaluate import evaluate as measure
    from jukebox_kit.engine import Model

    report = measure(Model.load(model, "cpu"), range(seeds), seconds, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps(report, indent=1))


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder for your songs.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Show what this machine has: versions, devices, memory, disk, models."""
    from jukebox_kit.checks import examine

    facts = examine(folder)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<12} {value}")
