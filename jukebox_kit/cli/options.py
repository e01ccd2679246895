"""What the shell's commands share: options, bars while work is done, and how it is said what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukebox_kit.errors import RequestError

if TYPE_CHECKING:  # slow to import, and many commands do without
    from jukebox_kit.song import Song
    from jukebox_kit.steps import RunSettings


Folder = Annotated[Path, typer.Argument(help="The song's folder.")]

ModelName = Annotated[str, typer.Option(help="A model that ships (see: jukebox-kit models), or a model's YAML file.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Until = Annotated[str, typer.Option(help="The last level to make: level_2, level_1 or level_0.")]

SaveEvery = Annotated[float, typer.Option(help="Seconds of work that a power cut may lose at most.")]

Device = Annotated[str | None, typer.Option(help="cpu or cuda; the GPU where there is one.")]

Weights = Annotated[
    str, typer.Option(help="What weights are kept as: float32, float16 or int8; auto: as before, else by what fits.")
]

Engine = Annotated[str, typer.Option(help="fast, cached, graph, fused, plain or jukebox: how to compute.")]

Batch = Annotated[
    int, typer.Option(min=1, help="Items, or chunks of items, at once at most; fewer where memory is small.")
]

Chunks = Annotated[
    str | None,
    typer.Option(
        "--chunks", "--pieces", help="Chunks made at once of levels 0 and 1, or two numbers 0,1; quicker, with joins."
    ),
]


def work(song: Song, last: int, do: Callable[[RunSettings], object], save_every: float, batch: int) -> None:
    """Do what is left of a song with a bar for each level, and say where the result is."""
    from jukebox_kit.cli.progress import Bars
    from jukebox_kit.steps import RunSettings

    for note in song.resolved.notes:
        typer.echo(f"note: {note}", err=True)
    try:
        with Bars() as bars:
            do(RunSettings(save_every=save_every, batch=batch, progress=bars.show))
    except KeyboardInterrupt:
        typer.echo(f"jukebox-kit: stopped; all is saved; go on with: jukebox-kit resume {song.root}", err=True)
        raise typer.Exit(130) from None
    for item in song.items(last):
        typer.echo(song.root / f"level_{last}" / f"item_{item}.wav")
    typer.echo(song.root / "spectrogram.png")
    typer.echo(song.root / "index.html")


def report(song: Song, command: str, *options: str) -> None:
    """Say what was done to a song last, how far it is, and how to go on."""
    levels = "  ".join(f"level_{s.level} {s.done / s.total:4.0%}" for s in song.status())
    typer.echo(f"{song.root}: {song.manifest.history[-1].sentence}; {levels}")
    typer.echo(f"go on with: {' '.join(('jukebox-kit', command, str(song.root), *options))}")


def level_of(name: str, option: str = "until") -> int:
    """Return the level that an option names; RequestError where there is none."""
    levels = {"level_2": 2, "level_1": 1, "level_0": 0}
    if name not in levels:
        raise RequestError(f"there is no {name}; {option} takes {', '.join(levels)}.")
    return levels[name]


def numbers(name: str, text: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """Return the numbers of an option, parted by commas; RequestError where they are not as many as `counts` allows."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in counts:
        wanted = "three numbers for levels 0,1,2" if counts == (3,) else "one number, or three for levels 0,1,2"
        raise RequestError(f"{name} takes {wanted}, with commas between, not {text!r}.")
    return values


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of an option, parted by commas; RequestError where they are none."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RequestError(f"{name} takes whole numbers, with commas between, not {text!r}.") from None


def chunks_of(text: str | None) -> tuple[int, ...] | None:
    """Return how many chunks an option says, for levels 0 and 1, None for no text; RequestError where it is none."""
    if text is None:
        return None
    values = whole_numbers("chunks", text)
    return values * 2 if len(values) == 1 else values


def number_or_numbers(name: str, text: str | None, counts: tuple[int, ...]) -> float | tuple[float, ...] | None:
    """Return what `numbers` does, one number alone as itself, None for no text."""
    values = None if text is None else numbers(name, text, counts)
    return values[0] if values and len(values) == 1 else values
