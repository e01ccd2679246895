"""Commands that sample songs and list songs and names: each makes one call of the library and prints the result."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit.cli.options import (
    AsJson,
    Chunks,
    Folder,
    ModelName,
    Until,
    level_of,
    lyrics_of,
    numbers,
    takes_run_settings,
    work,
)
from jukebox_kit.errors import JukeboxKitError, RequestError

if TYPE_CHECKING:
    from jukebox_kit.song import Song
    from jukebox_kit.steps import RunSettings


@takes_run_settings
def sample(
    folder: Folder,
    model: ModelName = "demo",
    artist: Annotated[str, typer.Option(help="See: jukebox-kit artists TEXT")] = "unknown",
    genre: Annotated[str, typer.Option(help="See: jukebox-kit genres TEXT")] = "unknown",
    lyrics: Annotated[str, typer.Option(help="The lyrics.")] = "",
    lyrics_file: Annotated[Path | None, typer.Option(help="A text file with the lyrics; - for standard input.")] = None,
    seconds: Annotated[float, typer.Option(help="Length to sample, in seconds.")] = 8.0,
    total_seconds: Annotated[
        float | None,
        typer.Option(help="Length of the whole song, as the model is conditioned on it.", show_default="the model's"),
    ] = None,
    items: Annotated[int, typer.Option(help="Number of songs to sample from this request.")] = 1,
    temperature: Annotated[
        str | None,
        typer.Option(help="Sampling temperature of level 2, or of levels 0,1,2.", show_default="the model's"),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep only the K most likely tokens.")] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Nucleus sampling: keep the most likely tokens whose probabilities add up to P."),
    ] = None,
    hop_fraction: Annotated[
        str | None,
        typer.Option(
            help="Hop between windows as a fraction of the context, for levels 0,1,2.", show_default="the model's"
        ),
    ] = None,
    chunks: Chunks = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    prompt: Annotated[Path | None, typer.Option(help="A recording to continue.")] = None,
    prompt_seconds: Annotated[
        float | None, typer.Option(help="Seconds of the recording to use.", show_default="all")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Reject unknown artists and genres.")] = False,
    lora_scale: Annotated[
        float, typer.Option(help="Of a fine-tuned model: how much of its training to apply, 0 (its base) to 1.")
    ] = 1.0,
    until: Until = "level_0",
    *,
    run: RunSettings,
) -> None:
    """Create a song and sample it. Run the same command again to resume."""
    from jukebox_kit.song import Song, is_song
    from jukebox_kit.steps import load_for, load_planned
    from jukebox_kit.steps import sample as do

    last, words = level_of(until), lyrics_of(lyrics, lyrics_file)
    if is_song(folder):
        loaded = load_planned(Song.open(folder), run)
    else:
        loaded = load_for(model, seconds, items, run, lora_scale=lora_scale)
    song = Song.create(
        folder,
        loaded,
        model=model,
        artist=artist,
        genre=genre,
        lyrics=words or "",
        seconds=seconds,
        total_seconds=total_seconds,
        items=items,
        temperature=numbers("temperature", temperature),
        top_k=top_k,
        top_p=top_p,
        hop_fraction=numbers("hop_fraction", hop_fraction),
        chunks=1 if chunks is None else numbers("chunks", chunks),
        seed=seed,
        prompt=prompt,
        prompt_seconds=prompt_seconds,
        strict=strict,
        lora_scale=lora_scale,
    )
    work(song, last, lambda shown: do(song, last, loaded, shown), run)


@takes_run_settings
def resume(
    folder: Folder,
    until: Until = "level_0",
    *,
    run: RunSettings,
) -> None:
    """Resume a song where it stopped."""
    from jukebox_kit.song import Song
    from jukebox_kit.steps import load_planned
    from jukebox_kit.steps import sample as do

    song, last = Song.open(folder), level_of(until)
    loaded = load_planned(song, run)
    work(song, last, lambda shown: do(song, last, loaded, shown), run)


def status(
    folders: Annotated[list[Path], typer.Argument(help="Song folders, or folders of song folders.")],
    as_json: AsJson = False,
) -> None:
    """Show the progress of songs."""
    from jukebox_kit.song import Song, find_songs

    rows, faults = list[dict[str, Any]](), list[str]()
    for place in folders:
        songs = find_songs([place])
        if not songs:
            faults.append(f"{place} contains no songs; pass a song's folder, or the folder that contains songs.")
        for folder in songs:
            try:
                rows.append(_standing(Song.open(folder), folder))
            except JukeboxKitError as error:  # one song that cannot be read does not hide the others
                faults.append(str(error))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    for row in () if as_json else rows:
        parts = [f"{name} {v['done'] / v['total']:4.0%}" for name, v in row["levels"].items()]
        typer.echo(f"{row['song']}  {row['model']}  {'  '.join(parts)}  {row['safety']['words']}")
    for fault in faults:
        typer.echo(f"jukebox-kit: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def _standing(song: Song, folder: Path) -> dict[str, Any]:
    """Return what `status` shows of a song."""
    levels = {f"level_{s.level}": {"done": s.done, "total": s.total} for s in song.status()}
    safety = song.store.safety()
    about = {"song": str(folder), "model": song.request.model, "levels": levels}
    return {**about, "safety": {**asdict(safety), "words": safety.summary}}


def artists(
    text: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    model: ModelName = "demo",
    as_json: AsJson = False,
) -> None:
    """List the artists a model knows."""
    _names("artist", text, model, as_json)


def genres(
    text: Annotated[str, typer.Argument(help="Part of a name.")] = "",
    model: ModelName = "demo",
    as_json: AsJson = False,
) -> None:
    """List the genres a model knows."""
    _names("genre", text, model, as_json)


def _names(kind: str, text: str, model: str, as_json: bool) -> None:
    from jukebox_kit.model.weights import load_definition, read_tables

    tables = read_tables(load_definition(model), model)
    found = {label_set: table.matching(kind, text) for label_set, table in tables.items()}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not any(found.values()):
        raise RequestError(f"no {kind} of {model} has {text!r} in its name.")
    for label_set, names in found.items():
        for name in names:
            typer.echo(f"{label_set}  {name}" if len(found) > 1 else name)
