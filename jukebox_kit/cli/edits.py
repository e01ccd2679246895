"""The shell's commands for a song that is there: its edits, the tree of what it was, its page."""

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
    SaveEvery,
    Until,
    Weights,
    chunks_of,
    level_of,
    number_or_numbers,
    report,
    whole_numbers,
    work,
)

Artist = Annotated[str | None, typer.Option(help="Another artist from here on.")]

Genre = Annotated[str | None, typer.Option(help="Another genre from here on.")]

LyricsFile = Annotated[Path | None, typer.Option(help="A text file with other words from here on.")]

Temperature = Annotated[
    str | None, typer.Option(help="For level 2, or three for levels 0,1,2 with commas between; from here on.")
]


def upsample(
    folder: Folder,
    items: Annotated[str | None, typer.Option(help="Which items, counted from 0, with commas between; all.")] = None,
    chunks: Chunks = None,
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
    weights: Weights = "auto",
    engine: Engine = "fast",
) -> None:
    """Upsample a song, or some of its items only; resume keeps to those."""
    from jukebox_kit.song import Song
    from jukebox_kit.steps import load_planned
    from jukebox_kit.steps import upsample as do

    chosen, counts = None if items is None else whole_numbers("items", items), chunks_of(chunks)
    song = Song.open(folder)
    loaded, last = load_planned(song, device, weights, engine, batch), level_of(until)
    work(song, last, lambda options: do(song, chosen, last, loaded, options, counts), save_every, batch)


def extend(
    folder: Folder,
    seconds: Annotated[float, typer.Option(help="How much longer.")],
    artist: Artist = None,
    genre: Genre = None,
    lyrics_file: LyricsFile = None,
    temperature: Temperature = None,
) -> None:
    """Make a song longer; resume then samples what is new."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import extend as do

    report(do(Song.open(folder), seconds, **_changes(artist, genre, lyrics_file, temperature)), "resume")


def choose(folder: Folder, item: Annotated[int, typer.Argument(help="The item, counted from 0.")]) -> None:
    """Make every item a copy of one, to go on from it in several ways."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import choose as do

    report(do(Song.open(folder), item), "extend", "--seconds", "8")


def vary(folder: Folder) -> None:
    """Sample what was sampled last in another way; what it goes on from stays."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import vary as do

    report(do(Song.open(folder)), "resume", "--until", "level_2")


def trim(folder: Folder, seconds: Annotated[float, typer.Option(help="How much of the song stays.")]) -> None:
    """Cut a song to its first seconds."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import trim as do

    report(do(Song.open(folder), seconds), "resume")


def fork(
    folder: Folder,
    new_folder: Annotated[Path, typer.Argument(help="Where the new song goes.")],
    at: Annotated[float | None, typer.Option(help="Seconds that both have in common; all that is made.")] = None,
    seed: Annotated[int | None, typer.Option(help="The new song's seed; the old one and one.")] = None,
    artist: Artist = None,
    genre: Genre = None,
    lyrics_file: LyricsFile = None,
    temperature: Temperature = None,
) -> None:
    """Make another song that begins as this one does."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import fork as do

    changes = _changes(artist, genre, lyrics_file, temperature) | ({} if seed is None else {"seed": seed})
    report(do(Song.open(folder), new_folder, at, **changes), "resume")


def undo(folder: Folder) -> None:
    """Take the last edit of a song back."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import undo as do

    report(do(Song.open(folder)), "resume")


def redo(folder: Folder) -> None:
    """Do the edit again that was undone last."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import redo as do

    report(do(Song.open(folder)), "resume")


def visit(folder: Folder, version: Annotated[str, typer.Argument(help="Its name in the tree.")]) -> None:
    """Go to any version of a song; what it is now is kept as one."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import visit as do

    report(do(Song.open(folder), version), "resume")


def tree(folder: Folder, as_json: AsJson = False) -> None:
    """Show what a song was and what came of what; the star is where it is now."""
    from jukebox_kit.song import Song, tree_text
    from jukebox_kit.song import tree as versions_of

    nodes = versions_of(Song.open(folder))
    if as_json:
        typer.echo(json.dumps([asdict(node) for node in nodes], indent=1))
        return
    typer.echo(tree_text(nodes))
    typer.echo(f"go to one with: jukebox-kit visit {folder} VERSION")


def page(
    folders: Annotated[list[Path], typer.Argument(help="Song folders, or folders of song folders.")],
) -> None:
    """Write the page of songs, index.html, from what is in their folders now."""
    from jukebox_kit.song import Song, find_songs
    from jukebox_kit.song.page import NAME, write_page

    for folder in find_songs(folders):
        song = Song.open(folder)
        with song.locked():
            write_page(song)
        typer.echo(folder / NAME)


def _changes(
    artist: str | None, genre: str | None, lyrics_file: Path | None, temperature: str | None
) -> dict[str, Any]:
    from jukebox_kit.song import read_lyrics

    given: dict[str, Any] = {
        "artist": artist,
        "genre": genre,
        "lyrics": None if lyrics_file is None else read_lyrics(lyrics_file),
        "temperature": number_or_numbers("temperature", temperature, (1, 3)),
    }
    return {name: value for name, value in given.items() if value is not None}
