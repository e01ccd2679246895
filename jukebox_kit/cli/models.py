"""The commands of `models`: list them, `get` and `check` files, `import` a checkpoint, `merge` adapters."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit.cli.options import AsJson, level_of, model_folder
from jukebox_kit.cli.signals import STOPPED
from jukebox_kit.errors import JukeboxKitError

if TYPE_CHECKING:
    from jukebox_kit.model.weights import ListedModel

models = typer.Typer(help="List models, download their files, check them.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A shipped model (see: jukebox-kit models).")]


@models.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that ship and those in the folder `models`, and which of their files are on this machine."""
    from jukebox_kit.model.weights import list_models

    if context.invoked_subcommand:
        return
    listed = list_models()
    if as_json:
        typer.echo(json.dumps([_facts(one) for one in listed], indent=1))
        return
    for one in listed:
        if one.definition is None:
            typer.echo(f"{one.name:<10} cannot be used: {one.problem}")
            continue
        low, high = one.definition.seconds_range
        absent = ", ".join(one.definition.files[part] for part in one.definition.missing())
        state = f"missing {absent}" if absent else "ready"
        typer.echo(f"{one.name:<10} {one.definition.about}; {low:g} to {high:g} seconds: {state}")
        if one.summary:
            typer.echo(f"{'':<10} {one.summary}")


def _facts(one: ListedModel) -> dict[str, Any]:
    """Return a row of the list for programs."""
    if one.definition is None:
        return {"name": one.name, "own": one.own, "problem": one.problem}
    low, high = one.definition.seconds_range
    missing = [one.definition.files[part] for part in one.definition.missing()]
    about = {"name": one.name, "about": one.definition.about, "licence": one.definition.licence}
    facts = {**about, "shortest": low, "longest": high, "missing": missing, "own": one.own}
    if one.written is None:
        return facts
    made_from = one.definition.made_from
    made = None if made_from is None else asdict(made_from)
    own = {"made_from": made, "trained": dict(one.trained), "bytes": one.size}
    return {**facts, **own, "written": one.written.isoformat(timespec="seconds")}


@models.command()
def get(
    name: Name,
    keep_float32: Annotated[
        bool,
        typer.Option(help="Keep weights in float32 as released: exactly the release's numbers on a CPU, larger files."),
    ] = False,
    convert: Annotated[
        bool,
        typer.Option(
            help="Also convert files found in other caches; songs started with the originals keep needing those."
        ),
    ] = False,
    mirrors: Annotated[
        list[str] | None,
        typer.Option("--from", help="A mirror's URL, with jukebox/models/… below it, tried first (repeatable)."),
    ] = None,
    accept_sha256: Annotated[
        list[str] | None,
        typer.Option(help="Accept a file with this SHA-256 even if it differs from the published one (repeatable)."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Only this component: vqvae, level_2, level_1 or level_0 (repeatable).", show_default="all"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download the files of a model that this machine lacks; interrupted downloads are resumed."""
    from jukebox_kit.cli.progress import FileBars
    from jukebox_kit.model.weights import PARTS
    from jukebox_kit.model.weights.download import DownloadOptions
    from jukebox_kit.model.weights.download import get as download

    try:
        with FileBars() as bars:
            files = download(
                name,
                DownloadOptions(
                    keep_float32=keep_float32,
                    convert=convert,
                    accepted=frozenset(accept_sha256 or ()),
                    own=tuple(mirrors or ()),
                    progress=lambda fetching: bars.show(fetching.file, fetching.done, fetching.total),
                    say=lambda line: typer.echo(line, err=True),
                ),
                parts=part or PARTS,
            )
    except KeyboardInterrupt:
        typer.echo(
            f"jukebox-kit: stopped. What was downloaded is kept; resume with: jukebox-kit models get {name}", err=True
        )
        raise typer.Exit(STOPPED) from None
    if as_json:
        typer.echo(json.dumps([{"file": f.file, "path": str(f.path), "new": f.new} for f in files], indent=1))
        return
    for file in files:
        typer.echo(f"{file.path}{' (new)' if file.new else ''}")


@models.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A model.", show_default="all shipped models")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify every file on this machine against its known size and hash; exits with 1 if one is wrong."""
    from jukebox_kit.model.weights import shipped_models
    from jukebox_kit.model.weights.download import check as examine

    results = {model: examine(model) for model in ([name] if name else shipped_models())}
    if as_json:
        rows = {
            model: [{"file": c.file, "path": str(c.path or ""), "state": c.state, "why": c.why} for c in checked]
            for model, checked in results.items()
        }
        typer.echo(json.dumps(rows, indent=1))
    else:
        for model, checked in results.items():
            for one in checked:
                typer.echo(f"{model:<10} {one.state:<9} {one.path or one.file}{f': {one.why}' if one.why else ''}")
    wrong = [one for checked in results.values() for one in checked if one.state == "wrong"]
    if wrong:
        raise JukeboxKitError(f"{len(wrong)} of the files are wrong; delete them and download them again.")


@models.command("import")
def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A prior's checkpoint, such as checkpoint_latest.pth.tar.")],
    base: Annotated[str, typer.Option(help="The model that was trained further; it has the other components.")],
    name: Annotated[str, typer.Option(help="The new model's name; it is written to models/NAME.")] = "mine",
    out: Annotated[Path | None, typer.Option(help="The new model's folder.", show_default="models/NAME")] = None,
    level: Annotated[
        str | None, typer.Option(help="The level that was trained, such as level_2.", show_default="as in the file")
    ] = None,
    artists: Annotated[
        Path | None,
        typer.Option(help="The id file of its artists, lines name;id.", show_default="the base's"),
    ] = None,
    genres: Annotated[Path | None, typer.Option(help="The id file of its genres.", show_default="the base's")] = None,
) -> None:
    """Make a model of a checkpoint_*.pth.tar that the training code of 2020 wrote; the file is only read."""
    from jukebox_kit.training import import_checkpoint

    number = None if level is None else level_of(level, "level")
    folder = model_folder(name, out)
    say = partial(typer.echo, err=True)
    typer.echo(import_checkpoint(checkpoint, base, folder, number, artists, genres, say))


@models.command()
def merge(
    model: Annotated[str, typer.Argument(help="A fine-tuned model: its name, folder or YAML file.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the merged model, such as models/whole.")],
) -> None:
    """Write a fine-tuned model with whole weights instead of adapters, for other programs or to fine-tune further."""
    from jukebox_kit._files import kept_path
    from jukebox_kit.training import merge as do

    typer.echo(do(model, kept_path(out)))
