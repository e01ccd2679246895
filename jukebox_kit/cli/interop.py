"""The shell's `import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_kit.cli.options import Folder, level_of, whole_numbers
from jukebox_kit.errors import RequestError


def import_(
    place: Annotated[Path, typer.Argument(help="A run's folder, a file (.pth.tar, .t, .z), or a folder of such.")],
    target: Annotated[Path, typer.Argument(help="The song's folder, or the folder for several songs.")],
    model: Annotated[str | None, typer.Option(help="The model to go on with; files with labels tell it.")] = None,
    artist: Annotated[str | None, typer.Option(help="Where the files do not say, or for one song, instead.")] = None,
    genre: Annotated[str | None, typer.Option(help="As artist.")] = None,
    lyrics: Annotated[str | None, typer.Option(help="As artist.")] = None,
    lyrics_file: Annotated[Path | None, typer.Option(help="A text file with the lyrics.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long the song is to be; as long as level 2 is.")] = None,
    total_seconds: Annotated[float | None, typer.Option(help="How long the model believes the song to be.")] = None,
    seed: Annotated[int, typer.Option(help="For what is sampled from here on.")] = 0,
) -> None:
    """Go on with what other programs made: runs of 2020, co-composer and web UI files, or a whole folder of them."""
    from jukebox_kit.song import read_lyrics
    from jukebox_kit.song.interop import ImportOverrides, import_songs

    if lyrics is not None and lyrics_file:
        raise RequestError("lyrics and lyrics-file exclude each other; give one of them.")
    words = read_lyrics(lyrics_file) if lyrics_file else lyrics
    answers = ImportOverrides(model, artist, genre, words, seconds, total_seconds, seed)
    failed = 0
    for outcome in import_songs(place, target, answers, _Asking() if sys.stdin.isatty() else None):
        for note in outcome.notes:
            typer.echo(f"note: {note}", err=True)
        if outcome.song is None:
            failed += 1
            typer.echo(f"jukebox-kit: {outcome.failed}", err=True)
        else:
            levels = "  ".join(f"level_{s.level} {s.done}/{s.total}" for s in outcome.song.status())
            typer.echo(f"{outcome.song.root}  {levels}")
    if failed:
        raise typer.Exit(1)


class _Asking:
    """Asks a person for what files do not say; the last answer is offered again for the next song."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}

    def __call__(self, what: str, path: Path) -> str:
        """Return the answer to one question; lyrics are asked for as a file."""
        from jukebox_kit.song import read_lyrics

        shown = "file of the lyrics (empty for none)" if what == "lyrics" else what
        default = self.last.get(what, "" if what == "lyrics" else None)
        answer = str(typer.prompt(f"{path} does not say its {what}; {shown}", default=default, err=True))
        self.last[what] = answer
        if what != "lyrics":
            return answer
        return read_lyrics(Path(answer)) if answer else ""


LAYOUTS = ("2020",)


def export(
    folder: Folder,
    target: Annotated[Path | None, typer.Argument(help="A folder; exports in the song's own for --format.")] = None,
    format: Annotated[str | None, typer.Option(help="wav, flac, mp3, ogg, or stems for a studio program.")] = None,
    layout: Annotated[str | None, typer.Option("--as", help="2020: the layout of the release's sampler.")] = None,
    items: Annotated[str | None, typer.Option(help="Which items, counted from 0, with commas between; all.")] = None,
    level: Annotated[str | None, typer.Option(help="level_2, level_1 or level_0; the best at each moment.")] = None,
    loudness: Annotated[float | None, typer.Option(help="In LUFS, such as -14; as it is.")] = None,
    stereo: Annotated[bool, typer.Option(help="Three items as left, centre and right.")] = False,
) -> None:
    """Write a song as audio files, or for another program."""
    if (format is None) == (layout is None):
        raise RequestError("give either --format with a format of audio files, such as mp3, or --as 2020.")
    if format is None:
        if items is not None or level is not None or loudness is not None or stereo:
            raise RequestError("items, level, loudness and stereo go with --format; leave them out, or --as.")
        _export_layout(folder, target, str(layout))
        return
    options: dict[str, Any] = {"format": format, "normalise": loudness, "stereo": stereo}
    options["items"] = None if items is None else whole_numbers("items", items)
    options["level"] = None if level is None else level_of(level, "level")
    _export_audio(folder, target, options)


def _export_audio(folder: Path, target: Path | None, options: dict[str, Any]) -> None:
    from jukebox_kit.song import Song, export_audio

    done = export_audio(Song.open(folder), target, **options)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    for path in done.paths:
        typer.echo(path)


def _export_layout(folder: Path, target: Path | None, layout: str) -> None:
    from jukebox_kit.song import Song
    from jukebox_kit.song.interop import export_2020

    if layout not in LAYOUTS:
        raise RequestError(f"there is no layout {layout}; as takes {', '.join(LAYOUTS)}.")
    if target is None:
        raise RequestError(f"--as {layout} writes a new folder; name it after the song's.")
    for note in export_2020(Song.open(folder), target):
        typer.echo(f"note: {note}", err=True)
    for path in sorted(target.glob("level_*/*")):
        typer.echo(path)
