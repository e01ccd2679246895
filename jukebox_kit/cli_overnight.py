"""The shell's `overnight`: a folder of songs gone through, with a report at the end."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit.cli_shared import AsJson, Batch, Device, Engine, SaveEvery, Until, Weights, level_of
from jukebox_kit.errors import SongError

if TYPE_CHECKING:
    from jukebox_kit.bars import Bars
    from jukebox_kit.keeping import Progress
    from jukebox_kit.overnight import Outcome, Report, Standing


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
    from jukebox_kit.keeping import Options
    from jukebox_kit.overnight import order as ordered
    from jukebox_kit.overnight import standings, work_through
    from jukebox_kit.planned import load_planned

    last = level_of(until)
    found = ordered(standings(folder, last), order)
    if not found:
        raise SongError(f"{folder} holds no songs; give the folder that they are in.")
    todo = [standing.song for standing in found if standing.state != "done"]
    shown = _Shown()
    options = Options(save_every=save_every, batch=batch, progress=shown.show)
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
        from jukebox_kit.bars import Bars

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
