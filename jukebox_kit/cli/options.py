"""What the commands share: their options, progress bars while work is done, and the report of its result."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from jukebox_kit._files import kept_path, printable, shown_path
from jukebox_kit.cli.signals import STOPPED
from jukebox_kit.errors import RequestError

if TYPE_CHECKING:  # slow to import, and many commands don't need it
    from jukebox_kit.song import Song
    from jukebox_kit.steps import RunSettings


Folder = Annotated[Path, typer.Argument(help="The song's folder.")]

ModelName = Annotated[str, typer.Option(help="A model (see: jukebox-kit models), or the path of its YAML file.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Until = Annotated[str, typer.Option(help="The last level to sample: level_2, level_1 or level_0.")]

Device = Annotated[str | None, typer.Option(help="cpu or cuda.", show_default="cuda if there is a GPU")]

Engine = Annotated[str, typer.Option(help="How to compute: fast, cached, graph, fused, plain or jukebox.")]

Chunks = Annotated[
    str | None,
    typer.Option(
        help="Sample levels 0 and 1 in this many chunks at once (two numbers for 0,1): faster, with joins.",
        show_default="1",
    ),
]

SaveEvery = Annotated[float, typer.Option(help="Autosave interval in seconds.")]

BatchSize = Annotated[int, typer.Option(min=1, help="Maximum batch size; reduced automatically if memory is short.")]

Precision = Annotated[
    str,
    typer.Option(
        help="Weight precision: float32, float16, int8, or auto (as the song was started, otherwise what fits in "
        "memory)."
    ),
]

OLDER_NAMES = {"--weights": "--precision", "--batch": "--batch-size", "--pieces": "--chunks"}

MANY_WINDOWS = 20  # more are not printed one by one

FILES = ("model",)  # text that may also name a file, whose name may be any bytes


class Command(TyperCommand):
    """A command that also takes the older names of its options, without listing them, and takes only text as text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with older names replaced, unless the command has an option of that name."""
        known = {name for parameter in self.params for name in parameter.opts}
        newer = {old: new for old, new in OLDER_NAMES.items() if new in known and old not in known}
        end = args.index("--") if "--" in args else len(args)
        for place, argument in enumerate(args[:end]):
            name, equals, value = argument.partition("=")
            args[place] = newer.get(name, name) + equals + value
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if isinstance(value, str) and name not in FILES and printable(value) != value:
                raise RequestError(f"{name.replace('_', '-')} must be in UTF-8, not {value!r}.", field=name)
        return rest


def takes_run_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `RunSettings` in place of its parameter `run`, which gets their values."""

    @wraps(command)
    def with_settings(
        *arguments: object,
        save_every: float,
        batch_size: int,
        device: str | None,
        precision: str,
        engine: str,
        **others: object,
    ) -> None:
        from jukebox_kit.steps import RunSettings

        run = RunSettings(device, precision, engine, batch_size, save_every)
        command(*arguments, run=run, **others)

    shared = {
        "save_every": (SaveEvery, 30.0),
        "batch_size": (BatchSize, 16),
        "device": (Device, None),
        "precision": (Precision, "auto"),
        "engine": (Engine, "fast"),
    }
    hints = get_type_hints(command, localns={"RunSettings": object}, include_extras=True)
    signature = inspect.signature(command)
    kept = [p.replace(annotation=hints[name]) for name, p in signature.parameters.items() if name != "run"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=default, annotation=kind) for name, (kind, default) in shared.items()
    ]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    with_settings.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    return with_settings


def work(song: Song, last: int, do: Callable[[RunSettings], object], run: RunSettings) -> None:
    """Do what is left of a song with a progress bar for each level, then print where the result is."""
    from dataclasses import replace

    from jukebox_kit.cli.progress import Bars
    from jukebox_kit.model import TOP
    from jukebox_kit.song import PAGE, SPECTROGRAM, audio_name

    for note in song.resolved.notes:
        typer.echo(f"note: {note}", err=True)
    if not song.state.finished(TOP):
        show_lyrics(song)
    try:
        with Bars() as bars:
            do(replace(run, progress=bars.show))
    except KeyboardInterrupt:
        stopped("resume", song.shown_path)
    for item in song.items(last):
        typer.echo(shown_path(song.root / audio_name(last, item)))
    typer.echo(shown_path(song.root / SPECTROGRAM))
    typer.echo(shown_path(song.root / PAGE))


def show_lyrics(song: Song) -> None:
    """Print which part of the lyrics each window reads, and what is sung in it if they have times."""
    from jukebox_kit.song.lyrics import stretch_lines, stretches

    windows = stretches(song.resolved, song.definition)
    if windows:
        typer.echo("the lyrics that each window reads:", err=True)
    for line in stretch_lines(windows, MANY_WINDOWS):
        typer.echo(line, err=True)


def stopped(*command: object) -> None:
    """Report that the user stopped the work, and the command that resumes it; exits with 130."""
    typer.echo(f"jukebox-kit: stopped. Everything is saved; resume with: {command_line(*command)}", err=True)
    raise typer.Exit(STOPPED) from None


def command_line(*words: object) -> str:
    """Return a command of this program to paste into a shell."""
    return shlex.join(["jukebox-kit", *map(str, words)])


def report(song: Song, command: str, *options: str) -> None:
    """Print the last change to a song, its progress, and the command to run next."""
    levels = "  ".join(f"level_{s.level} {s.done / s.total:4.0%}" for s in song.status())
    typer.echo(f"{song.shown_path}: {song.manifest.history[-1].sentence}; {levels}")
    typer.echo(f"continue with: {command_line(command, song.shown_path, *options)}")


def level_of(name: str, option: str = "until") -> int:
    """Return the level that an option names; RequestError if there is no such level."""
    from jukebox_kit.song import level_number

    return level_number(name, option)


def model_folder(name: str, out: Path | None) -> Path:
    """Return the folder of a new model, `out` or models/NAME; RequestError for a name that is a path."""
    from jukebox_kit.model.weights import OWN_MODELS

    if Path(name).name != name or name.startswith("."):
        raise RequestError(f"name must be a plain name, not {name!r}; use --out for a path.", field="name")
    return kept_path(out or Path(OWN_MODELS) / name)


def numbers(field: str, text: str | None) -> Any:
    """Return the numbers that an option gives for a field of a request, None if it was left out.

    RequestError if they are not what the field takes.
    """
    from jukebox_kit.song import FIELD_TYPES, parsed

    return None if text is None else parsed(field, text, FIELD_TYPES[field])


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Return the comma-separated whole numbers of an option; RequestError for anything else."""
    from jukebox_kit.song import parsed

    values: tuple[int, ...] = parsed(name, text, tuple[int, ...])
    return values


def lyrics_of(lyrics: str | None, file: Path | None) -> str | None:
    """Return the lyrics that a command was given, as text or as a file; `-` stands for standard input."""
    from jukebox_kit.song import decoded_lyrics, read_lyrics

    if lyrics and file:
        raise RequestError("lyrics and lyrics-file exclude each other; choose one of them.")
    if file is None:
        return lyrics
    if str(file) != "-":
        return read_lyrics(file)
    if sys.stdin is None:
        raise RequestError("there is no standard input to read the lyrics from; pass a file.", field="lyrics_file")
    return decoded_lyrics(sys.stdin.buffer.read(), "standard input")
