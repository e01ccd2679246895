"""The shell: each command turns its options into one call of the library and prints what came of it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_kit.cli_models import models
from jukebox_kit.errors import JukeboxKitError, RequestError

app = typer.Typer(
    help="Songs with OpenAI's Jukebox, in steps that can be stopped anywhere and gone on with.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models, name="models")

Folder = Annotated[Path, typer.Argument(help="The song's folder.")]
ModelName = Annotated[str, typer.Option(help="A model that ships (see: jukebox-kit models), or a model's YAML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Until = Annotated[str, typer.Option(help="The last level to make: level_2, level_1 or level_0.")]
SaveEvery = Annotated[float, typer.Option(help="Seconds of work that a power cut may lose at most.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; the GPU where there is one.")]
Batch = Annotated[int, typer.Option(min=1, help="Items sampled at once.")]


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
    seed: Annotated[int, typer.Option(help="Another seed, another song.")] = 0,
    prompt: Annotated[Path | None, typer.Option(help="A recording that the song starts with.")] = None,
    prompt_seconds: Annotated[float | None, typer.Option(help="How much of the recording.")] = None,
    strict: Annotated[bool, typer.Option(help="Refuse unknown artists and genres.")] = False,
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
) -> None:
    """Make a song: a folder, then its levels. Run again, it goes on where it was."""
    from jukebox_kit.models import Model
    from jukebox_kit.request import read_lyrics
    from jukebox_kit.song import Song

    if lyrics and lyrics_file:
        raise RequestError("lyrics and lyrics-file exclude each other; give one of them.")
    last = _level(until)
    words = read_lyrics(lyrics_file) if lyrics_file else lyrics
    loaded = Model.load(model, device)
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
        temperature=_numbers("temperature", temperature, (1, 3)),
        top_k=top_k,
        top_p=top_p,
        hop_fraction=_numbers("hop-fraction", hop_fraction, (3,)),
        seed=seed,
        prompt=None if prompt is None else str(prompt),
        prompt_seconds=prompt_seconds,
        strict=strict,
    )
    _work(song, loaded, last, save_every, batch)


@app.command()
def resume(
    folder: Folder,
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
) -> None:
    """Go on with a song where it was stopped."""
    from jukebox_kit.models import Model
    from jukebox_kit.song import Song

    song = Song.open(folder)
    _work(song, Model.load(song.request.model, device), _level(until), save_every, batch)


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
        rows.append({"song": str(folder), "model": song.request.model, "levels": levels})
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        parts = [f"{name} {v['done'] / v['total']:4.0%}" for name, v in row["levels"].items()]
        typer.echo(f"{row['song']}  {row['model']}  {'  '.join(parts)}")


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
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16; below float32 logits only.")] = "float32",
    engine: Annotated[str, typer.Option(help="cached or plain.")] = "cached",
) -> None:
    """Replay recorded numbers through the code that sampling uses; exit 1 where any differs."""
    from jukebox_kit.verify.published import verify_model
    from jukebox_kit.verify.run import verify_folder

    if (folder is None) == (model is None):
        raise RequestError("give a folder to verify, or --model NAME for the published numbers of real weights.")
    entries = verify_folder(folder, ids, device, dtype, engine) if folder else verify_model(str(model), device)
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
    try:
        app()
    except JukeboxKitError as error:
        typer.echo(f"jukebox-kit: {error}", err=True)
        sys.exit(1)


def _work(song: Any, model: Any, last: int, save_every: float, batch: int) -> None:
    """Do what is left of a song with a bar for each level, and say where the result is."""
    from jukebox_kit.bars import Bars
    from jukebox_kit.steps import Options, sample

    for note in song.resolved.notes:
        typer.echo(f"note: {note}", err=True)
    try:
        with Bars() as bars:
            sample(song, last, model, Options(save_every=save_every, batch=batch, progress=bars.show))
    except KeyboardInterrupt:
        typer.echo(f"jukebox-kit: stopped; all is saved; go on with: jukebox-kit resume {song.root}", err=True)
        raise typer.Exit(130) from None
    for item in range(song.request.items):
        typer.echo(song.root / f"level_{last}" / f"item_{item}.wav")
    typer.echo(song.root / "spectrogram.png")


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


def _level(name: str) -> int:
    levels = {"level_2": 2, "level_1": 1, "level_0": 0}
    if name not in levels:
        raise RequestError(f"there is no {name}; until takes {', '.join(levels)}.")
    return levels[name]


def _numbers(name: str, text: str | None, counts: tuple[int, ...]) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in counts:
        wanted = "one number, or three for levels 0,1,2" if 1 in counts else "three numbers for levels 0,1,2"
        raise RequestError(f"{name} takes {wanted}, with commas between, not {text!r}.")
    return values[0] if len(values) == 1 else values
