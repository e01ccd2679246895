"""The shell's `models`: list what ships, `get` what a model needs, `check` what is here."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from jukebox_kit.cli.options import AsJson
from jukebox_kit.errors import JukeboxKitError

models = typer.Typer(help="List models; get their files; check them.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="A model that ships (see: jukebox-kit models).")]


@models.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that ship, and which of their files are on this machine."""
    from jukebox_kit.model.weights import load_definition, shipped_models

    if context.invoked_subcommand:
        return
    rows: list[dict[str, Any]] = []
    for name in shipped_models():
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
        bool, typer.Option(help="Keep the maps as released: the release's very numbers on a CPU, larger files.")
    ] = False,
    convert: Annotated[
        bool, typer.Option(help="Convert what caches have, too; songs begun with those files go on with those only.")
    ] = False,
    own: Annotated[
        list[str] | None,
        typer.Option("--from", help="A URL with jukebox/models/… below it, tried first; may be given again."),
    ] = None,
    accept_sha256: Annotated[
        list[str] | None, typer.Option(help="Take a file with this sha256 whatever is told of it; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Get what a model needs and this machine lacks; gone on with where it was stopped."""
    from jukebox_kit.cli.progress import FileBars
    from jukebox_kit.model.weights.download import DownloadOptions
    from jukebox_kit.model.weights.download import get as bring

    try:
        with FileBars() as bars:
            here = bring(
                name,
                DownloadOptions(
                    keep_float32=keep_float32,
                    convert=convert,
                    accepted=frozenset(accept_sha256 or ()),
                    own=tuple(own or ()),
                    progress=lambda fetching: bars.show(fetching.file, fetching.done, fetching.total),
                    say=lambda line: typer.echo(line, err=True),
                ),
            )
    except KeyboardInterrupt:
        typer.echo(f"jukebox-kit: stopped; what came is kept; go on with: jukebox-kit models get {name}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps([{"file": h.file, "path": str(h.path), "new": h.new} for h in here], indent=1))
        return
    for one in here:
        typer.echo(f"{one.path}{' (new)' if one.new else ''}")


@models.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A model; all that ship if none is named.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read every file that is here and hold it against what is known of it; exit 1 where one is wrong."""
    from jukebox_kit.model.weights import shipped_models
    from jukebox_kit.model.weights.download import check as examine

    found = {model: examine(model) for model in ([name] if name else shipped_models())}
    if as_json:
        rows = {
            model: [{"file": c.file, "path": str(c.path or ""), "state": c.state, "why": c.why} for c in checked]
            for model, checked in found.items()
        }
        typer.echo(json.dumps(rows, indent=1))
    else:
        for model, checked in found.items():
            for one in checked:
                typer.echo(f"{model:<10} {one.state:<9} {one.path or one.file}{f': {one.why}' if one.why else ''}")
    wrong = [one for checked in found.values() for one in checked if one.state == "wrong"]
    if wrong:
        raise JukeboxKitError(f"{len(wrong)} of the files are wrong; delete them and get them again.")
