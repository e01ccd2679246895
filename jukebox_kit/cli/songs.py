"""The shell: each command turns its options into one call of the library and prints what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_kit.cli.options import (
    AsJson,
    Batch,
    Chunks,
    Device,
    Engine,
    Folder,
    ModelName,
    SaveEvery,
    Until,
    Weights,
    chunks_of,
    level_of,
    number_or_numbers,
    work,
)
from jukebox_kit.errors import RequestError


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
    chunks: Chunks = None,
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
    from jukebox_kit.song import Song, is_song, read_lyrics
    from jukebox_kit.steps import load_for, load_planned
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
        chunks=chunks_of(chunks) or (1, 1),
        seed=seed,
        prompt=None if prompt is None else str(prompt),
        prompt_seconds=prompt_seconds,
        strict=strict,
    )
    work(song, last, lambda options: do(song, last, loaded, options), save_every, batch)


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
    from jukebox_kit.song import Song
    from jukebox_kit.steps import load_planned
    from jukebox_kit.steps import sample as do

    song, last = Song.open(folder), level_of(until)
    loaded = load_planned(song, device, weights, engine, batch)
    work(song, last, lambda options: do(song, last, loaded, options), save_every, batch)


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
        rows.append({**about, "safety": {**asdict(safety), "words": safety.summary}})
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        parts = [f"{name} {v['done'] / v['total']:4.0%}" for name, v in row["levels"].items()]
        typer.echo(f"{row['song']}  {row['model']}  {'  '.join(parts)}  {row['safety']['words']}")


def artists(
    text: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    model: ModelName = "demo",
    as_json: AsJson = False,
) -> None:
    """List the artists that a model knows."""
    _names("artist", text, model, as_json)


def genres(
    text: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    model: ModelName = "demo",
    as_json: AsJson = False,
) -> None:
    """List the genres that a model knows."""
    _names("genre", text, model, as_json)


def _names(kind: str, text: str, model: str, as_json: bool) -> None:
    from jukebox_kit.engine import Model

    found = {name: table.matching(kind, text) for name, table in Model.load(model).tables.items()}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not any(found.values()):
        raise RequestError(f"no {kind} of {model} has {text!r} in its name.")
    for label_set, names in found.items():
        for name in names:
            typer.echo(f"{label_set}  {name}" if len(found) > 1 else name)
