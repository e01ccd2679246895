"""The shell's `album`: many songs of one file, on this process or on all that a launcher started."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukebox_kit.cli_shared import AsJson, Batch, Device, Engine, SaveEvery, Until, Weights, level_of

if TYPE_CHECKING:
    from jukebox_kit.album.configuration import Album
    from jukebox_kit.album.ranks import World
    from jukebox_kit.album.tasks import Ways
    from jukebox_kit.album.works import Work


def album(
    file: Annotated[Path, typer.Argument(help="The album's YAML; configs/albums/ has some to copy.")],
    folder: Annotated[Path | None, typer.Option(help="Where the songs go, whatever the file says.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file and say what is left to do.")] = False,
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
    weights: Weights = "auto",
    engine: Engine = "fast",
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds of silence after which a worker is given up, and its song left.")
    ] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Make an album, or what is left of it: alone, or with all processes that mpiexec or srun started."""
    from jukebox_kit.album.configuration import load_album
    from jukebox_kit.album.ranks import world
    from jukebox_kit.album.tasks import Ways

    began = time.monotonic()
    with world(device) as ranks:
        ways = ranks.from_first(
            lambda: Ways(level_of(until), save_every, batch, device, weights, engine, patience).checked()
        )
        read = ranks.from_first(lambda: load_album(file, folder))
        if dry_run:
            code = _plan(read, ways.until, as_json, began) if ranks.rank.number == 0 else 0
        else:
            code = _make(read, ways, ranks, as_json)
    if code:
        raise typer.Exit(code)


def _plan(read: Album, until: int, as_json: bool, began: float) -> int:
    from jukebox_kit.album.report import as_json as plain
    from jukebox_kit.album.report import planned
    from jukebox_kit.album.works import works_of

    works = works_of(read, until)
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(plain(read, works, seconds), indent=1))
    else:
        typer.echo("\n".join([*planned(works, read), f"read and planned in {seconds:.2f} s"]))
    return 0


def _make(read: Album, ways: Ways, ranks: World, as_json: bool) -> int:
    """Make an album; returns the exit code, the same on all ranks."""
    from jukebox_kit.album.report import Told, table
    from jukebox_kit.album.report import as_json as plain
    from jukebox_kit.album.run import album_made

    began = time.monotonic()
    with album_made(read, ways, ranks, Told(read)) as works:
        if works is not None:
            found = plain(read, works, time.monotonic() - began) | {"ranks": ranks.size}
            typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(table(works)))
            typer.echo(read.folder / "index.html", err=True)
        code = _code(works or ())
    return code if ranks.mpi is None else int(ranks.mpi.bcast(code))


def _code(works: tuple[Work, ...]) -> int:
    """Return the exit code: 0 all is done, 130 stopped, 1 something is left."""
    ends = {work.end for work in works}
    return 130 if "stopped" in ends else int(bool(ends - {"finished"}))
