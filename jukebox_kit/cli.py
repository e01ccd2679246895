"""The shell: each command turns its options into one call of the library and prints what came of it."""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_kit.cli_album import album
from jukebox_kit.cli_bench import bench
from jukebox_kit.cli_edits import register
from jukebox_kit.cli_export import export
from jukebox_kit.cli_models import models
from jukebox_kit.cli_old import import_old
from jukebox_kit.cli_overnight import overnight
from jukebox_kit.cli_shared import (
    AsJson,
    Batch,
    Device,
    Engine,
    Folder,
    ModelName,
    Pieces,
    SaveEvery,
    Until,
    Weights,
    level_of,
    number_or_numbers,
    pieces_of,
    work,
)
from jukebox_kit.errors import JukeboxKitError, RequestError

app = typer.Typer(
    help="Songs with OpenAI's Jukebox, in steps that can be stopped anywhere and gone on with.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("import")(import_old)
app.command()(export)
app.command()(overnight)
app.command()(album)
app.command()(bench)
app.add_typer(models, name="models")

register(app)


@app.command()
def sample(
    folder: Folder,
    model: ModelName = "demo",
    artist: Annotated[str, typer.Option(help="See: jukebox-kit artists TEXT")] = "unknown",
    genre: Annotated[str, typer.Option(help="See: jukebox-kit genres TEXT")] = "unknown",
    lyrics: Annotated[str, typer.Option(help="The words to sing.")] = "",
    lyrics_file: Annotated[Path | None, typer.Option(help="A text file with the words to sing.")] = None,
    seconds: Annotated[float, typer.Option(help="How much to make.")] = 8.0,
    total_seconds: Annotated[float | None, typer.Option(help="How long the model believes the song to be.")] = None,
    items: Annotated[int, typer.Option(help="How many songs of this request.")] = 1,
    temperature: Annotated[
        str | None, typer.Option(help="For level 2, or three for levels 0,1,2 with commas between.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Choose among the k likeliest tokens only.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Choose among the likeliest tokens of this share only.")] = None,
    hop_fraction: Annotated[
        str | None, typer.Option(help="Share of a window by which the next one starts later, for levels 0,1,2.")
    ] = None,
    pieces: Pieces = None,
    seed: Annotated[int, typer.Option(help="Another seed, another song.")] = 0,
    prompt: Annotated[Path | None, typer.Option(help="A recording that the song starts with.")] = None,
    prompt_seconds: Annotated[float | None, typer.Option(help="How much of the recording.")] = None,
    strict: Annotated[bool, typer.Option(help="Refuse unknown artists and genres.")] = False,
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
    weights: Weights = "auto",
    engine: Engine = "fast",
) -> None:
    """Make a song: a folder, then its levels. Run again, it goes on where it was."""
    from jukebox_kit.planned import load_for, load_planned
    from jukebox_kit.request import read_lyrics
    from jukebox_kit.song import Song, is_song
    from jukebox_kit.steps import sample as do

    if lyrics and lyrics_file:
        raise RequestError("lyrics and lyrics-file exclude each other; give one of them.")
    last = level_of(until)
    words = read_lyrics(lyrics_file) if lyrics_file else lyrics
    if is_song(folder):
        loaded = load_planned(Song.open(folder), device, weights, engine, batch)
    else:
        loaded = load_for(model, seconds, items, device, weights, engine, batch)
    song = Song.create(
        folder,
        loaded,
        model=model,
        artist=artist,
        genre=genre,
        lyrics=words,
        seconds=seconds,
        total_seconds=total_seconds,
        items=items,
        temperature=number_or_numbers("temperature", temperature, (1, 3)),
        top_k=top_k,
        top_p=top_p,
        hop_fraction=number_or_numbers("hop-fraction", hop_fraction, (3,)),
        pieces=pieces_of(pieces) or (1, 1),
        seed=seed,
        prompt=None if prompt is None else str(prompt),
        prompt_seconds=prompt_seconds,
        strict=strict,
    )
    work(song, last, lambda options: do(song, last, loaded, options), save_every, batch)


@app.command()
def resume(
    folder: Folder,
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
    weights: Weights = "auto",
    engine: Engine = "fast",
) -> None:
    """Go on with a song where it was stopped."""
    from jukebox_kit.planned import load_planned
    from jukebox_kit.song import Song
    from jukebox_kit.steps import sample as do

    song, last = Song.open(folder), level_of(until)
    loaded = load_planned(song, device, weights, engine, batch)
    work(song, last, lambda options: do(song, last, loaded, options), save_every, batch)


@app.command()
def status(
    folders: Annotated[list[Path], typer.Argument(help="Song folders, or folders of song folders.")],
    as_json: AsJson = False,
) -> None:
    """Say how far songs are."""
    from jukebox_kit.song import Song, find_songs

    rows: list[dict[str, Any]] = []
    for folder in find_songs(folders):
        song = Song.open(folder)
        levels = {f"level_{s.level}": {"done": s.done, "total": s.total} for s in song.status()}
        safety = song.store.safety()
        about = {"song": str(folder), "model": song.request.model, "levels": levels}
        rows.append({**about, "safety": {**asdict(safety), "words": safety.words}})
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        parts = [f"{name} {v['done'] / v['total']:4.0%}" for name, v in row["levels"].items()]
        typer.echo(f"{row['song']}  {row['model']}  {'  '.join(parts)}  {row['safety']['words']}")


@app.command()
def artists(
    text: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    model: ModelName = "demo",
    as_json: AsJson = False,
) -> None:
    """List the artists that a model knows."""
    _names("artist", text, model, as_json)


@app.command()
def genres(
    text: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    model: ModelName = "demo",
    as_json: AsJson = False,
) -> None:
    """List the genres that a model knows."""
    _names("genre", text, model, as_json)


@app.command()
def verify(
    folder: Annotated[Path | None, typer.Argument(help="A folder with golden.json and golden.safetensors.")] = None,
    ids: Annotated[Path | None, typer.Option(help="The folder with the release's artist and genre tables.")] = None,
    model: Annotated[str | None, typer.Option(help="Check a model's real weights against published numbers.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float16; below float32 logits only.")] = "float32",
    engine: Engine = "fast",
    compare: Annotated[str | None, typer.Option(help="Two engines, such as native,jukebox; with --model.")] = None,
) -> None:
    """Replay recorded numbers through the code that sampling uses; exit 1 where any differs."""
    from jukebox_kit.verify.compare import compare_engines
    from jukebox_kit.verify.published import verify_model
    from jukebox_kit.verify.run import verify_folder

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


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A training YAML, such as configs/training/demo.yaml.")],
    part: Annotated[list[str] | None, typer.Option(help="Train only this part; may be given again.")] = None,
) -> None:
    """Train a model on synthesised music; parts that are there already are not trained again."""
    from jukebox_kit.definitions import PARTS
    from jukebox_kit.training.configuration import load_training
    from jukebox_kit.training.run import train as run

    unknown = [p for p in part or () if p not in PARTS]
    if unknown:
        raise RequestError(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}.")
    run(load_training(config), tuple(part or PARTS), lambda line: typer.echo(line))


@app.command()
def listen(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; each samples 16 songs.")] = 3,
    seconds: Annotated[float, typer.Option(min=3.0, max=16.0, help="Length of each song.")] = 8.0,
    model: ModelName = "demo",
) -> None:
    """Hear by numbers whether the demo model plays the scale, tempo, timbre and words that it is asked for."""
    from jukebox_kit.demo.report import listen as hear
    from jukebox_kit.models import Model

    found = hear(Model.load(model, "cpu"), range(seeds), seconds, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps(found, indent=1))


@app.command()
def doctor(
    folder: Annotated[Path, typer.Argument(help="Where songs will be kept.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Say what this machine has: versions, devices, memory, disk, models."""
    from jukebox_kit.doctor import examine

    found = examine(folder)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        typer.echo(f"{name:<12} {value}")


def main() -> None:
    """Run the command line: 0 done, 1 failed with a sentence, 2 wrong usage, 130 stopped with everything saved."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except JukeboxKitError as error:
        typer.echo(f"jukebox-kit: {error}", err=True)
        sys.exit(1)


def _names(kind: str, text: str, model: str, as_json: bool) -> None:
    from jukebox_kit.models import Model

    found = {name: table.matching(kind, text) for name, table in Model.load(model).tables.items()}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not any(found.values()):
        raise RequestError(f"no {kind} of {model} has {text!r} in its name.")
    for label_set, names in found.items():
        for name in names:
            typer.echo(f"{label_set}  {name}" if len(found) > 1 else name)


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt  # whoever ends the process politely gets what Ctrl-C gets: everything saved
