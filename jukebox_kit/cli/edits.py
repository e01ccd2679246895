"""Commands for an existing song: upsampling, edits, the version tree, the page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit._files import shown_path
from jukebox_kit.cli.options import (
    AsJson,
    Chunks,
    Folder,
    Until,
    command_line,
    level_of,
    lyrics_of,
    numbers,
    report,
    takes_run_settings,
    whole_numbers,
    work,
)
from jukebox_kit.errors import SongError

if TYPE_CHECKING:
    from jukebox_kit.steps import RunSettings

Artist = Annotated[str | None, typer.Option(help="Change the artist from here on.")]

Genre = Annotated[str | None, typer.Option(help="Change the genre from here on.")]

LyricsFile = Annotated[Path | None, typer.Option(help="A text file with new lyrics, - for standard input.")]

Temperature = Annotated[
    str | None, typer.Option(help="Change the temperature of level 2, or of levels 0,1,2, from here on.")
]


@takes_run_settings
def upsample(
    folder: Folder,
    items: Annotated[
        str | None, typer.Option(help="Items, counted from 0, separated by commas.", show_default="all")
    ] = None,
    chunks: Chunks = None,
    until: Until = "level_0",
    *,
    run: RunSettings,
) -> None:
    """Upsample a song, or only some of its items; resume then continues with the same items."""
    from jukebox_kit.song import Song
    from jukebox_kit.steps import load_planned
    from jukebox_kit.steps import upsample as do

    chosen, counts = None if items is None else whole_numbers("items", items), numbers("chunks", chunks)
    song = Song.open(folder)
    loaded, last = load_planned(song, run), level_of(until)
    work(song, last, lambda shown: do(song, chosen, last, loaded, shown, counts), run)


def extend(
    folder: Folder,
    seconds: Annotated[float, typer.Option(help="Seconds to add.")],
    artist: Artist = None,
    genre: Genre = None,
    lyrics_file: LyricsFile = None,
    temperature: Temperature = None,
) -> None:
    """Make a song longer; resume samples the added part."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import extend as do

    report(do(Song.open(folder), seconds, **_changes(artist, genre, lyrics_file, temperature)), "resume")


def choose(folder: Folder, item: Annotated[int, typer.Argument(help="The item, counted from 0.")]) -> None:
    """Continue every item from this one: the others are replaced by copies of it."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import choose as do

    report(do(Song.open(folder), item), "extend", "--seconds", "8")


def vary(folder: Folder) -> None:
    """Re-sample the most recent section with a new seed; everything before it is kept."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import vary as do

    report(do(Song.open(folder)), "resume", "--until", "level_2")


def trim(folder: Folder, seconds: Annotated[float, typer.Option(help="Seconds to keep.")]) -> None:
    """Cut a song to its first seconds."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import trim as do

    report(do(Song.open(folder), seconds), "resume")


def fork(
    folder: Folder,
    new_folder: Annotated[Path, typer.Argument(help="The new song's folder.")],
    at: Annotated[
        float | None, typer.Option(help="Seconds that both songs share.", show_default="all that is sampled")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for the new song.", show_default="old seed + 1")] = None,
    artist: Artist = None,
    genre: Genre = None,
    lyrics_file: LyricsFile = None,
    temperature: Temperature = None,
) -> None:
    """Create a new song that starts with the beginning of this one."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import fork as do

    changes = _changes(artist, genre, lyrics_file, temperature) | ({} if seed is None else {"seed": seed})
    report(do(Song.open(folder), new_folder, at, **changes), "resume")


def undo(folder: Folder) -> None:
    """Undo the last edit of a song."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import undo as do

    report(do(Song.open(folder)), "resume")


def redo(folder: Folder) -> None:
    """Redo the edit that was undone last."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import redo as do

    report(do(Song.open(folder)), "resume")


def visit(folder: Folder, version: Annotated[str, typer.Argument(help="The version's name in the tree.")]) -> None:
    """Go to any version of a song; the current state is kept as a version too."""
    from jukebox_kit.song import Song
    from jukebox_kit.song import visit as do

    report(do(Song.open(folder), version), "resume")


def tree(folder: Folder, as_json: AsJson = False) -> None:
    """Show the version tree; * marks the current version."""
    from jukebox_kit.song import Song, tree_text
    from jukebox_kit.song import tree as versions_of

    nodes = versions_of(Song.open(folder).state)
    if as_json:
        typer.echo(json.dumps([asdict(node) for node in nodes], indent=1))
        return
    typer.echo(tree_text(nodes))
    typer.echo(f"go to a version with: {command_line('visit', folder, 'VERSION')}")


def page(
    folders: Annotated[list[Path], typer.Argument(help="Song folders, or folders of song folders.")],
) -> None:
    """Write the pages of songs, index.html, from their current state."""
    from jukebox_kit.song import PAGE, Song, find_songs
    from jukebox_kit.song.page import write_page

    songs = find_songs(folders)
    if not songs:
        raise SongError(f"{folders[0]} contains no songs; pass a song's folder, or the folder that contains songs.")
    for folder in songs:
        with Song.open(folder).locked() as state:
            write_page(state)
        typer.echo(folder / PAGE)


def compare(
    sounds: Annotated[
        list[str],
        typer.Argument(
            help="Audio files and songs; SONG:2 is item 2, SONG@3 version 3, SONG@3:2 item 2 of it.", metavar="SOUND..."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("compare.html"),
    level: Annotated[
        str | None, typer.Option(help="level_2, level_1 or level_0.", show_default="the best at each moment")
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Hide the names, in random order.")] = False,
) -> None:
    """Write a page that switches between songs, versions, items or recordings at the same moment."""
    from jukebox_kit.song import compare as do

    number = None if level is None else level_of(level, "level")
    typer.echo(shown_path(do(sounds, out, number, blind, lambda note: typer.echo(f"note: {note}", err=True))))


def _changes(
    artist: str | None, genre: str | None, lyrics_file: Path | None, temperature: str | None
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "artist": artist,
        "genre": genre,
        "lyrics": lyrics_of(None, lyrics_file),
        "temperature": numbers("temperature", temperature),
    }
    return {name: value for name, value in given.items() if value is not None}
