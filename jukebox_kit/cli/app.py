"""The command line: its commands in groups, its exit codes, and how it is stopped."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from jukebox_kit.cli import bench, checks, edits, interop, jobs, models, songs
from jukebox_kit.errors import JukeboxKitError

app = typer.Typer(
    help="Make songs with OpenAI's Jukebox, in three steps that can be interrupted and resumed at any point.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# In the order in which one uses them.
GROUPS: dict[str, tuple[Callable[..., Any], ...]] = {
    "Make": (songs.sample, songs.resume, songs.status, edits.upsample, jobs.overnight, jobs.album),
    "Shape": (
        edits.extend,
        edits.trim,
        edits.choose,
        edits.vary,
        edits.fork,
        edits.undo,
        edits.redo,
        edits.tree,
        edits.visit,
    ),
    "Listen and export": (edits.page, interop.export, interop.import_),
    "Models": (songs.artists, songs.genres, checks.train),
    "Check": (checks.doctor, checks.verify, bench.bench, checks.listen),
}

for heading, commands in GROUPS.items():
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=heading)(command)
app.add_typer(models.models, name="models", rich_help_panel="Models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("jukebox_kit"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 failed with one sentence, 2 wrong usage, 130 interrupted with everything saved.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except JukeboxKitError as error:
        typer.echo(f"jukebox-kit: {error}", err=True)
        sys.exit(1)


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt  # a polite request to end gets what Ctrl-C gets: everything is saved
