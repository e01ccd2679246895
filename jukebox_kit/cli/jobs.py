"""Commands for many songs: an album described in one file, or a folder of songs overnight."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit._files import shown_path
from jukebox_kit.cli.options import AsJson, Until, level_of, stopped, takes_run_settings
from jukebox_kit.cli.signals import STOPPED
from jukebox_kit.errors import SongError

if TYPE_CHECKING:
    from jukebox_kit.cli.progress import Bars
    from jukebox_kit.jobs import QueueReport, SongOutcome, SongStatus
    from jukebox_kit.jobs.album import Album, AlbumSettings, SongTask, World
    from jukebox_kit.steps import Progress, RunSettings


@takes_run_settings
def album(
    file: Annotated[Path, typer.Argument(help="The album's YAML file; see configs/albums/ for examples.")],
    folder: Annotated[Path | None, typer.Option(help="Folder for the songs, instead of the one in the file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the file and show what is left to do.")
    ] = False,
    until: Until = "level_0",
    patience: Annotated[
        float,
        typer.Option(min=1, help="Seconds without progress after which a worker is abandoned, and its song with it."),
    ] = 600.0,
    as_json: AsJson = False,
    *,
    run: RunSettings,
) -> None:
    """Sample an album, or what is left of it: in this process, or in all processes started by mpiexec or srun."""
    from jukebox_kit.jobs.album import AlbumSettings, load_album, world

    began = time.monotonic()
    with world(run.device) as ranks:
        settings = ranks.from_rank_0(lambda: AlbumSettings(level_of(until), patience, run))
        read = ranks.from_rank_0(lambda: load_album(file, folder))
        if dry_run:
            code = _plan(read, settings.until, as_json, began) if ranks.rank.number == 0 else 0
        else:
            code = _make(read, settings, ranks, as_json)
    if code:
        raise typer.Exit(code)


def _plan(read: Album, until: int, as_json: bool, began: float) -> int:
    from jukebox_kit.jobs.album import as_json as plain
    from jukebox_kit.jobs.album import plan_lines, song_tasks

    works = song_tasks(read, until)
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(plain(read, works, seconds), indent=1))
    else:
        typer.echo("\n".join([*plan_lines(works, read), f"read and planned in {seconds:.2f} s"]))
    return 0


def _make(read: Album, settings: AlbumSettings, ranks: World, as_json: bool) -> int:
    """Sample an album; returns the exit code, the same on all ranks."""
    from jukebox_kit.jobs.album import ProgressReporter, sampled_album, table
    from jukebox_kit.jobs.album import as_json as plain
    from jukebox_kit.song import PAGE

    began = time.monotonic()
    with sampled_album(read, settings, ranks, ProgressReporter(read)) as works:
        if works is not None:
            found = plain(read, works, time.monotonic() - began) | {"ranks": ranks.size}
            typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(table(works)))
            typer.echo(read.folder / PAGE, err=True)
        code = _code(works or ())
    return code if ranks.mpi is None else int(ranks.mpi.bcast(code))


def _code(works: tuple[SongTask, ...]) -> int:
    """Return the exit code: 0 if everything is finished, 130 if it was stopped, otherwise 1."""
    ends = {work.end for work in works}
    return STOPPED if "stopped" in ends else int(bool(ends - {"finished"}))


@takes_run_settings
def overnight(
    folder: Annotated[Path, typer.Argument(help="The folder with the songs.")],
    order: Annotated[str, typer.Option(help="soonest (least work left first), name, or oldest.")] = "soonest",
    until: Until = "level_0",
    as_json: AsJson = False,
    *,
    run: RunSettings,
) -> None:
    """Finish all songs in a folder, one after another; a song that fails does not stop the others."""
    from jukebox_kit.jobs import order as ordered
    from jukebox_kit.jobs import song_statuses, work_through
    from jukebox_kit.steps import load_planned

    last = level_of(until)
    found = ordered(song_statuses(folder, last), order)
    if not found:
        raise SongError(f"{folder} contains no songs; pass the folder that contains them.")
    todo = [standing.song for standing in found if standing.state != "done"]
    shown = _Shown()
    run = replace(run, progress=shown.show)
    try:
        report = work_through(todo, lambda song, held: load_planned(song, run, held), run, shown.report, last)
    except KeyboardInterrupt:
        stopped("overnight", folder)
    finally:
        shown.close()
    _say(report, [standing for standing in found if standing.state == "done"], as_json)
    if report.ended("failed"):
        raise typer.Exit(1)


def _say(report: QueueReport, done: list[SongStatus], as_json: bool) -> None:
    if as_json:
        outcomes: list[dict[str, Any]] = [
            asdict(outcome) | {"song": shown_path(outcome.song)} for outcome in report.outcomes
        ]
        whole = {"outcomes": outcomes, "done_before": [shown_path(s.song) for s in done], "seconds": report.seconds}
        typer.echo(json.dumps(whole, indent=1))
        return
    for outcome in report.outcomes:
        typer.echo(f"{shown_path(outcome.song)}  {outcome.end}  {outcome.seconds:.0f} s  {outcome.why}".rstrip())
    counts = (f"{len(report.ended(end))} {end}" for end in ("finished", "failed", "skipped"))
    typer.echo(f"{', '.join(counts)}, {len(done)} done before; {report.seconds:.0f} s")


class _Shown:
    """Shows on stderr which song is being sampled, with progress bars for each."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.bars: Bars | None = None

    def report(self, outcome: SongOutcome) -> None:
        """Report a song that starts or ends."""
        from jukebox_kit.cli.progress import Bars

        self.close()
        words = {"working": "started"}.get(outcome.end, outcome.end)
        typer.echo(f"{shown_path(outcome.song)}: {words}. {outcome.why}".rstrip(), err=True)
        if outcome.end == "working":
            self.bars = self.open.enter_context(Bars())

    def show(self, progress: Progress) -> None:
        """Show the progress of a level."""
        if self.bars is not None:
            self.bars.show(progress)

    def close(self) -> None:
        """Close the bars of the previous song."""
        self.open.close()
