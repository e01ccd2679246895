"""Commands that exchange songs with other programs: `import`, `export`, and `whence` for files that come back."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit._files import shown_path
from jukebox_kit.cli.options import AsJson, Folder, level_of, lyrics_of, whole_numbers
from jukebox_kit.errors import JukeboxKitError, RequestError

if TYPE_CHECKING:
    from jukebox_kit.song import Exported


def import_(
    place: Annotated[
        Path, typer.Argument(help="A run's folder, a file (.pth.tar, .t, .z, .zip), or a folder of such.")
    ],
    target: Annotated[Path, typer.Argument(help="The song's folder, or the folder for several songs.")],
    model: Annotated[
        str | None, typer.Option(help="The model to continue with; required if the files do not say.")
    ] = None,
    artist: Annotated[
        str | None, typer.Option(help="The artist, if the files do not say; for one song, also to replace theirs.")
    ] = None,
    genre: Annotated[str | None, typer.Option(help="As artist.")] = None,
    lyrics: Annotated[str | None, typer.Option(help="As artist.")] = None,
    lyrics_file: Annotated[Path | None, typer.Option(help="A text file with the lyrics; - for standard input.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of the song.", show_default="as long as level 2")
    ] = None,
    total_seconds: Annotated[
        float | None, typer.Option(help="Length of the whole song, as the model is conditioned on it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for what is sampled from here on.")] = 0,
) -> None:
    """Import songs of other programs to continue them: runs of 2020, co-composer and web UI files, or folders."""
    from jukebox_kit.song.interop import ImportOverrides, import_songs

    words = lyrics_of(lyrics, lyrics_file)
    answers = ImportOverrides(model, artist, genre, words, seconds, total_seconds, seed)
    failed = 0
    ask = _Asking() if sys.stdin is not None and sys.stdin.isatty() else None
    for outcome in import_songs(place, target, answers, ask):
        for note in outcome.notes:
            typer.echo(f"note: {note}", err=True)
        if outcome.song is None:
            failed += 1
            typer.echo(f"jukebox-kit: {outcome.failed}", err=True)
        else:
            levels = "  ".join(f"level_{s.level} {s.done}/{s.total}" for s in outcome.song.status())
            typer.echo(f"{outcome.song.shown_path}  {levels}")
    if failed:
        raise typer.Exit(1)


class _Asking:
    """Asks for what the files do not say; the last answer is the default for the next song."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}

    def __call__(self, what: str, path: Path) -> str:
        """Return the answer to one question; for lyrics, the content of the file that is named."""
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
    target: Annotated[
        Path | None, typer.Argument(help="Output folder.", show_default="exports/ inside the song")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="wav, flac, mp3, ogg, stems, or a project: dawproject, reaper; lrc, srt or json: when lyrics are sung."
        ),
    ] = None,
    layout: Annotated[str | None, typer.Option("--as", help="2020: the layout of the release's sampler.")] = None,
    items: Annotated[
        str | None, typer.Option(help="Items, counted from 0, separated by commas.", show_default="all")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="level_2, level_1 or level_0.", show_default="the best at each moment")
    ] = None,
    loudness: Annotated[
        float | None, typer.Option(help="Target loudness in LUFS, e.g. -14.", show_default="unchanged")
    ] = None,
    stereo: Annotated[bool, typer.Option(help="Mix three items as left, centre and right.")] = False,
) -> None:
    """Write a song as audio files, as a studio project, for another sampler, or when its lyrics are sung."""
    if (format is None) == (layout is None):
        raise RequestError("pass either --format with an audio format, such as mp3, or --as 2020.")
    if format is None:
        if items is not None or level is not None or loudness is not None or stereo:
            raise RequestError("items, level, loudness and stereo require --format; omit them or --as.")
        _export_layout(folder, target, str(layout))
        return
    from jukebox_kit.song.lyrics import LYRIC_FORMATS

    chosen = None if items is None else whole_numbers("items", items)
    if format in LYRIC_FORMATS:
        if level is not None or loudness is not None or stereo:
            raise RequestError("level, loudness and stereo are for audio; omit them with lyrics.")
        _export_lyrics(folder, target, format, chosen)
        return
    options: dict[str, Any] = {"format": format, "items": chosen}
    options["level"] = None if level is None else level_of(level, "level")
    _export_files(folder, target, options, {"normalise": loudness, "stereo": stereo})


def _export_files(folder: Path, target: Path | None, options: dict[str, Any], mixing: dict[str, Any]) -> None:
    """Export audio or a project. mixing: options for audio only."""
    from jukebox_kit.song import FORMATS, Song, export_audio
    from jukebox_kit.song.lyrics import LYRIC_FORMATS
    from jukebox_kit.song.studio import STUDIO_FORMATS, export_project

    format = options["format"]
    if format not in (*FORMATS, *STUDIO_FORMATS):
        known = ", ".join((*FORMATS, *STUDIO_FORMATS, *LYRIC_FORMATS))
        raise RequestError(f"there is no format {format}; format takes {known}.")
    if format in STUDIO_FORMATS:
        if any(mixing.values()):
            raise RequestError(f"{format} contains each level unchanged; leave out stereo and loudness.")
        _report_exported(export_project(Song.open(folder), target, **options))
    else:
        _report_exported(export_audio(Song.open(folder), target, **options, **mixing))


def _export_lyrics(folder: Path, target: Path | None, format: str, items: tuple[int, ...] | None) -> None:
    from jukebox_kit.song import Song
    from jukebox_kit.song.lyrics import export_lyrics

    _report_exported(export_lyrics(Song.open(folder), target, format, items))


def _report_exported(done: Exported) -> None:
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    for path in done.paths:
        typer.echo(shown_path(path))


def _export_layout(folder: Path, target: Path | None, layout: str) -> None:
    from jukebox_kit.song import Song
    from jukebox_kit.song.interop import export_2020

    if layout not in LAYOUTS:
        raise RequestError(f"there is no layout {layout}; as takes {', '.join(LAYOUTS)}.")
    if target is None:
        raise RequestError(f"--as {layout} writes a new folder; name it after the song's folder on the command line.")
    for note in export_2020(Song.open(folder), target):
        typer.echo(f"note: {note}", err=True)
    for path in sorted(target.glob("level_*/*")):
        typer.echo(shown_path(path))


def whence(
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    songs: Annotated[
        list[Path] | None, typer.Option(help="A song, or a folder of songs, to look in.", show_default=". and songs/")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which song, item, level and version audio files came from, by their tags or else by their sound."""
    from jukebox_kit.song import Origin
    from jukebox_kit.song import whence as do

    folders = songs or [Path(), *(place for place in (Path("songs"),) if place.is_dir())]
    rows, faults = list[Origin](), list[str]()
    for file in files:
        try:
            origins = do(file, folders)
        except JukeboxKitError as error:  # one file that cannot be read does not hide the others
            faults.append(str(error))
            continue
        rows += origins
        if not origins:
            faults.append(f"{shown_path(file)} has no tags of this package, and sounds like no song in these folders.")
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1, default=str))
    for row in () if as_json else rows:
        typer.echo(row.summary)
    for fault in faults:
        typer.echo(f"jukebox-kit: {fault}", err=True)
    if faults:
        raise typer.Exit(1)
