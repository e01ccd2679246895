"""The commands of `models`: list them, `get` a model's files, `check` those on this machine, `merge` adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_kit.cli.options import AsJson
from jukebox_kit.cli.signals import STOPPED
from jukebox_kit.errors import JukeboxKitError

models = typer.Typer(help="List models, download their files, check them.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A shipped model (see: jukebox-kit models).")]


@models.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that ship and those in the folder `models`, and which of their files are on this machine."""
    from jukebox_kit.model.weights import load_definition, own_models, shipped_models

    if context.invoked_subcommand:
        return
    rows: list[dict[str, Any]] = []
    for name in (*shipped_models(), *own_models()):
        definition = load_definition(name)
        low, high = definition.seconds_range
        missing = [definition.files[part] for part in definition.missing()]
        about = {"name": name, "about": definition.about, "licence": definition.licence}
        rows.append({**about, "shortest": low, "longest": high, "missing": missing})
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        state = "ready" if not row["missing"] else f"missing {', '.join(row['missing'])}"
        typer.echo(f"{row['name']:<10} {row['about']}; {row['shortest']:g} to {row['longest']:g} seconds: {state}")


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


@models.command()
def merge(
    model: Annotated[str, typer.Argument(help="A fine-tuned model: its name, folder or YAML file.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the merged model, such as models/whole.")],
) -> None:
    """Write a fine-tuned model with whole weights instead of adapters, for other programs or to fine-tune further."""
    from jukebox_kit._files import kept_path
    from jukebox_kit.training import merge as do

    typer.echo(do(model, kept_path(out)))
