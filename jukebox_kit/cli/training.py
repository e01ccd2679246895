"""The commands that prepare datasets, fine-tune and train: each makes one call of the library and prints the result."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from jukebox_kit.cli.options import Device, ModelName, command_line, level_of, model_folder, stopped
from jukebox_kit.errors import RequestError

dataset = typer.Typer(
    help="Prepare your recordings for training, and show what a dataset contains.", no_args_is_help=True
)


@dataset.command()
def prepare(
    folder: Annotated[Path, typer.Argument(help="The folder with your recordings, and perhaps a metadata.csv.")],
    out: Annotated[Path, typer.Argument(help="The folder for the dataset, such as data/mine.")],
    model: ModelName = "demo",
    held_out: Annotated[float, typer.Option(help="Share of the songs that measure progress, not trained on.")] = 0.1,
    processes: Annotated[int, typer.Option(min=1, help="Processes that encode at the same time.")] = 1,
    device: Device = None,
) -> None:
    """Encode recordings at all levels. Run it again to resume, or after adding recordings."""
    from jukebox_kit.cli.progress import CountBar
    from jukebox_kit.training.dataset import Preparation
    from jukebox_kit.training.dataset import prepare as do

    try:
        with CountBar("recordings") as bar:
            made = do(folder, out, Preparation(model, held_out, processes, device), _say, bar.show)
    except KeyboardInterrupt:
        stopped("dataset", "prepare", folder, out)
    made.summary(_say)
    typer.echo(f"train on it with: {command_line('finetune', out, '--base', model, '--name', 'mine')}")


@dataset.command()
def show(folder: Annotated[Path, typer.Argument(help="A prepared dataset.")]) -> None:
    """Show the songs, artists and genres of a dataset, and what was refused."""
    from jukebox_kit.training.dataset import Dataset

    Dataset.open(folder).summary(typer.echo)


def finetune(
    data: Annotated[Path, typer.Argument(help="A prepared dataset (see: jukebox-kit dataset prepare).")],
    base: Annotated[str, typer.Option(help="The model to start from, such as 1b_lyrics.")] = "demo",
    name: Annotated[str, typer.Option(help="The new model's name; it is written to models/NAME.")] = "mine",
    out: Annotated[Path | None, typer.Option(help="The new model's folder.", show_default="models/NAME")] = None,
    lora: Annotated[int | None, typer.Option(min=1, help="Train adapters of this rank.", show_default="16")] = None,
    full: Annotated[bool, typer.Option(help="Train all weights instead of adapters.")] = False,
    level: Annotated[str, typer.Option(help="The level to train: level_2, level_1 or level_0.")] = "level_2",
    recipe: Annotated[
        Path | None, typer.Option(help="A YAML file of settings, as configs/training/finetune.yaml.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Changes of the weights.", show_default="1000")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows at a time on each device.", show_default="what fits")
    ] = None,
    others: Annotated[
        Path | None, typer.Option(help="A dataset of other artists, to measure what the model forgets.")
    ] = None,
    shard: Annotated[bool, typer.Option(help="Under torchrun: divide all weights among the GPUs.")] = False,
    device: Device = None,
) -> None:
    """Fine-tune a model on your recordings. Run the same command again to resume.

    On several GPUs: torchrun --nproc-per-node N -m jukebox_kit finetune …
    """
    from jukebox_kit.training import FineTuningJob, load_fine_tuning
    from jukebox_kit.training import finetune as do
    from jukebox_kit.training.dataset import Dataset

    folder = model_folder(name, out)
    if full and lora:
        raise RequestError("full and lora exclude each other; choose one of them.")
    changes: dict[str, Any] = {"full": True} if full else {}
    changes |= {key: value for key, value in (("steps", steps), ("batch", batch_size)) if value is not None}
    settings = load_fine_tuning(recipe, changes)
    if lora:
        settings = replace(settings, full=False, lora=replace(settings.lora, rank=lora))
    compared = None if others is None else Dataset.open(others)
    job = FineTuningJob(Dataset.open(data), base, folder, level_of(level, "level"), settings, compared)
    try:
        do(job, device, shard, _say)
    except KeyboardInterrupt:
        _stopped()
    typer.echo(folder)


def train(
    config: Annotated[Path, typer.Argument(help="A training recipe in YAML, such as configs/training/demo.yaml.")],
    part: Annotated[list[str] | None, typer.Option(help="Train only this component (repeatable).")] = None,
    device: Device = None,
) -> None:
    """Train a model from scratch, on your recordings or synthesised music. Run the same command again to resume."""
    from jukebox_kit.model.weights import PARTS
    from jukebox_kit.training import load_training
    from jukebox_kit.training import train as do

    unknown = [p for p in part or () if p not in PARTS]
    if unknown:
        raise RequestError(f"there is no component {unknown[0]}; the components are {', '.join(PARTS)}.")
    try:
        folder = do(load_training(config), tuple(part or PARTS), device, _say)
    except KeyboardInterrupt:
        _stopped()
    typer.echo(folder)


def _stopped() -> NoReturn:
    typer.echo("jukebox-kit: stopped. Everything is saved; run the same command again to resume.", err=True)
    raise typer.Exit(130) from None


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)  # which moves a progress bar out of the way
