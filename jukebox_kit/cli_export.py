"""The shell's `export`: a song as audio files for the world, or in the layout of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_kit.cli_shared import Folder, level_of, whole_numbers
from jukebox_kit.errors import RequestError

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
    from jukebox_kit.exports import export_audio
    from jukebox_kit.song import Song

    done = export_audio(Song.open(folder), target, **options)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    for path in done.paths:
        typer.echo(path)


def _export_layout(folder: Path, target: Path | None, layout: str) -> None:
    from jukebox_kit.old.export import export_2020
    from jukebox_kit.song import Song

    if layout not in LAYOUTS:
        raise RequestError(f"there is no layout {layout}; as takes {', '.join(LAYOUTS)}.")
    if target is None:
        raise RequestError(f"--as {layout} writes a new folder; name it after the song's.")
    for note in export_2020(Song.open(folder), target):
        typer.echo(f"note: {note}", err=True)
    for path in sorted(target.glob("level_*/*")):
        typer.echo(path)
