"""The command line: its commands in groups, its exit codes, and how it is stopped."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jukebox_kit.cli import analysis, bench, checks, edits, generate, interop, jobs, models, signals, songs, training
from jukebox_kit.cli.options import Command
from jukebox_kit.errors import JukeboxKitError


@contextmanager
def _one_line() -> Iterator[None]:
    """Exit with one line when interrupted, also where a question is asked."""
    try:
        yield
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(signals.INTERRUPTED, err=True)
        raise typer.Exit(signals.exit_code()) from None


class Group(TyperGroup):
    """The commands; Ctrl-C outside of work that handles it itself ends with one line."""

    def list_commands(self, _: Any) -> list[str]:
        """Return the names of the commands in the order of GROUPS."""
        return [name_of(command) for commands in GROUPS.values() for command in commands]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: object) -> Any:
        """Parse a command's arguments."""
        with _one_line():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Group,
    help="Make songs with OpenAI's Jukebox, in three steps that can be interrupted and resumed at any point.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# In the order in which they are used.
GROUPS: dict[str, tuple[Callable[..., Any] | typer.Typer, ...]] = {
    "Make": (songs.sample, songs.resume, songs.status, edits.upsample, generate.generate, jobs.overnight, jobs.album),
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
    "Listen and export": (edits.page, edits.compare, interop.export, interop.import_, interop.whence),
    "Models": (models.models, songs.artists, songs.genres),
    "Analyse": (analysis.features, analysis.score),
    "Train": (training.dataset, training.finetune, training.train),
    "Check": (checks.doctor, checks.verify, bench.bench, checks.evaluate),
}


def name_of(command: Callable[..., Any] | typer.Typer) -> str:
    """Return a command's name in the shell."""
    if isinstance(command, typer.Typer):
        return "models" if command is models.models else "dataset"
    return command.__name__.rstrip("_")


for heading, commands in GROUPS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name_of(command), rich_help_panel=heading)
        else:
            app.command(name_of(command), rich_help_panel=heading, cls=Command)(command)
app.command("listen", hidden=True, cls=Command)(checks.evaluate)  # its older name


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("jukebox_kit"))
        except PackageNotFoundError:
            typer.echo("unknown: the package is not installed")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command.

    Exit codes: 0 success, 1 failure with one sentence, 2 wrong usage, 130 stopped with everything saved; 128 + its
    number for a signal at any other time.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        _check_current_folder()
        app()
    except JukeboxKitError as error:
        typer.echo(f"jukebox-kit: {sentence_of(error)}", err=True)
        sys.exit(1)


def _check_current_folder() -> None:
    """Raise JukeboxKitError where the current folder was deleted, in which torch, for one, ends the process."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise JukeboxKitError("the current folder was deleted; change to another one.") from None


def sentence_of(error: JukeboxKitError) -> str:
    """Return an error's message; a field that it begins with is written as the option: `--top-k must be …`."""
    sentence, field = str(error), error.field or ""
    option = field.replace("_", "-")
    begins = bool(field) and sentence.startswith((f"{option} ", f"{field} "))
    return f"--{option}{sentence.removeprefix(field).removeprefix(option)}" if begins else sentence
