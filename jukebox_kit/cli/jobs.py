"""The shell's `album`: many songs of one file, on this process or on all that a launcher started."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jukebox_kit.cli.options import AsJson, Batch, Device, Engine, SaveEvery, Until, Weights, level_of

if TYPE_CHECKING:
    from jukebox_kit.jobs.album import Album, SongTask, Ways, World
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from jukebox_kit.errors import SongError

if TYPE_CHECKING:
    from jukebox_kit.cli.progress import Bars
    from jukebox_kit.jobs import Outcome, Report, Standing
    from jukebox_kit.steps import Progress


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
    from jukebox_kit.jobs.album import Ways, load_album, world

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
    from jukebox_kit.jobs.album import as_json as plain
    from jukebox_kit.jobs.album import planned, song_tasks

    works = song_tasks(read, until)
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(plain(read, works, seconds), indent=1))
    else:
        typer.echo("\n".join([*planned(works, read), f"read and planned in {seconds:.2f} s"]))
    return 0


def _make(read: Album, ways: Ways, ranks: World, as_json: bool) -> int:
    """Make an album; returns the exit code, the same on all ranks."""
    from jukebox_kit.jobs.album import Told, album_made, table
    from jukebox_kit.jobs.album import as_json as plain

    began = time.monotonic()
    with album_made(read, ways, ranks, Told(read)) as works:
        if works is not None:
            found = plain(read, works, time.monotonic() - began) | {"ranks": ranks.size}
            typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(table(works)))
            typer.echo(read.folder / "index.html", err=True)
        code = _code(works or ())
    return code if ranks.mpi is None else int(ranks.mpi.bcast(code))


def _code(works: tuple[SongTask, ...]) -> int:
    """Return the exit code: 0 all is done, 130 stopped, 1 something is left."""
    ends = {work.end for work in works}
    return 130 if "stopped" in ends else int(bool(ends - {"finished"}))


def overnight(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the songs.")],
    order: Annotated[str, typer.Option(help="soonest (least work left first), name, or oldest.")] = "soonest",
    until: Until = "level_0",
    save_every: SaveEvery = 30.0,
    batch: Batch = 16,
    device: Device = None,
    weights: Weights = "auto",
    engine: Engine = "fast",
    as_json: AsJson = False,
) -> None:
    """Finish all songs of a folder, one after another; one that fails does not stop the others."""
    from jukebox_kit.jobs import order as ordered
    from jukebox_kit.jobs import standings, work_through
    from jukebox_kit.steps import RunSettings, load_planned

    last = level_of(until)
    found = ordered(standings(folder, last), order)
    if not found:
        raise SongError(f"{folder} holds no songs; give the folder that they are in.")
    todo = [standing.song for standing in found if standing.state != "done"]
    shown = _Shown()
    options = RunSettings(save_every=save_every, batch=batch, progress=shown.show)
    try:
        loaded = partial(load_planned, device=device, weights=weights, engine=engine, batch=batch)
        report = work_through(todo, lambda song, held: loaded(song, held=held), options, shown.told, last)
    except KeyboardInterrupt:
        typer.echo(f"jukebox-kit: stopped; all is saved; go on with: jukebox-kit overnight {folder}", err=True)
        raise typer.Exit(130) from None
    finally:
        shown.close()
    _say(report, [standing for standing in found if standing.state == "done"], as_json)
    if report.ended("failed"):
        raise typer.Exit(1)


def _say(report: Report, done: list[Standing], as_json: bool) -> None:
    if as_json:
        outcomes: list[dict[str, Any]] = [asdict(outcome) | {"song": str(outcome.song)} for outcome in report.outcomes]
        whole = {"outcomes": outcomes, "done_before": [str(s.song) for s in done], "seconds": report.seconds}
        typer.echo(json.dumps(whole, indent=1))
        return
    for outcome in report.outcomes:
        typer.echo(f"{outcome.song}  {outcome.end}  {outcome.seconds:.0f} s  {outcome.why}".rstrip())
    counts = (f"{len(report.ended(end))} {end}" for end in ("finished", "failed", "skipped"))
    typer.echo(f"{', '.join(counts)}, {len(done)} done before; {report.seconds:.0f} s")


class _Shown:
    """Says on stderr which song is worked on, with bars of its own."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.bars: Bars | None = None

    def told(self, outcome: Outcome) -> None:
        """Take note of a song that is begun or has ended."""
        from jukebox_kit.cli.progress import Bars

        self.close()
        words = {"working": "begun", "skipped": "passed over"}.get(outcome.end, outcome.end)
        typer.echo(f"{outcome.song}: {words}. {outcome.why}".rstrip(), err=True)
        if outcome.end == "working":
            self.bars = self.open.enter_context(Bars())

    def show(self, progress: Progress) -> None:
        """Draw how far a level is."""
        if self.bars is not None:
            self.bars.show(progress)

    def close(self) -> None:
        """End the bars of the song before."""
        self.open.close()
