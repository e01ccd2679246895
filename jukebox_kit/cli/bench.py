"""The command `bench`: how fast decoding is compared with hardware limits and other programs; song estimates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_kit.cli.options import AsJson, Device, Engine, level_of, whole_numbers
from jukebox_kit.errors import RequestError

if TYPE_CHECKING:
    from jukebox_kit.checks.bench import Bench, Subject
    from jukebox_kit.engine import Placement
    from jukebox_kit.model.weights import ModelDefinition


Result = tuple[dict[str, Any], str]  # as JSON, and as text

Model = Annotated[str | None, typer.Option(help="The model to measure.", show_default="1b_lyrics on a GPU, else demo")]

Parts = Annotated[str | None, typer.Option("--part", help="Levels to measure, such as level_2,level_0.")]

Shapes = Annotated[str | None, typer.Option("--shape", help="Width and depth of upsamplers, such as 1024x24,256x6.")]

Batches = Annotated[str, typer.Option("--batch-size", help="Batch sizes, separated by commas.")]

Positions = Annotated[
    str | None, typer.Option("--at", help="Tokens already in the window.", show_default="none and half of it")
]

Forms = Annotated[
    str | None, typer.Option(help="float32, float16, int8, separated by commas.", show_default="float16 on a GPU")
]

Steps = Annotated[int, typer.Option("--tokens", help="Decoding steps per round.")]

Rounds = Annotated[int, typer.Option(help="Number of rounds; the median is reported.")]

Against = Annotated[
    str | None, typer.Option(help="Compare with transformers or jukebox, or both, separated by a comma.")
]

Peer = Annotated[
    Path | None, typer.Option("--peer-python", help="A Python in which the programs of --against are installed.")
]

Seconds = Annotated[float | None, typer.Option(help="Length of the estimated songs.", show_default="20")]

Plan = Annotated[
    str | None, typer.Option(help="Only estimate how long a song of this model takes, as the notebook does.")
]

Items = Annotated[int | None, typer.Option(help="Number of songs, with --plan.")]

Bits = Annotated[bool, typer.Option(help="Measure what lower precision costs, in bits per token; takes some minutes.")]

Flat = Annotated[bool, typer.Option(help="Measure whether tokens slow down within a window or a song; takes a minute.")]


def bench(
    model: Model = None,
    part: Parts = None,
    shape: Shapes = None,
    batch_size: Batches = "1",
    at: Positions = None,
    precision: Forms = None,
    engine: Engine = "fast",
    device: Device = None,
    tokens: Steps = 20,
    rounds: Rounds = 7,
    against: Against = None,
    peer_python: Peer = None,
    seconds: Seconds = None,
    plan: Plan = None,
    items: Items = None,
    flat: Flat = False,
    bits: Bits = False,
    as_json: AsJson = False,
) -> None:
    """Measure decoding against copy bandwidth, bare matrix products and other programs."""
    from jukebox_kit.checks.bench import Bench
    from jukebox_kit.engine import Placement

    forms: list[str | None] = [form.strip() for form in precision.split(",")] if precision else [None]
    placements = tuple(Placement.of(device, form, engine) for form in forms)
    _check_modes(plan, flat, bits, items, part, at, against)
    if bits:
        result = _bits(model or "demo", placements, precision is not None)
    elif plan is not None:
        result = _plan(plan, 20.0 if seconds is None else seconds, 1 if items is None else items, placements)
    elif flat:
        result = _flat(model or "demo", shape or "256x6", 64.0 if seconds is None else seconds, placements[0])
    else:
        definition, subjects = _subjects(model, part, shape, placements[0])
        if seconds is not None and (definition is None or not seconds > 0):
            raise RequestError("seconds is the length of a model's songs; pass --model with it, and more than 0.")
        wanted = Bench(
            subjects,
            placements,
            whole_numbers("batch-size", batch_size),
            None if at is None else whole_numbers("at", at),
            rounds,
            tokens,
            tuple(name.strip() for name in against.split(",")) if against else (),
            peer_python,
        )
        result = _measured(wanted, definition, 20.0 if seconds is None else seconds)
    typer.echo(json.dumps(result[0], indent=1) if as_json else result[1])


def _check_modes(
    plan: str | None, flat: bool, bits: bool, items: int | None, part: str | None, at: str | None, against: str | None
) -> None:
    if (plan is not None) + flat + bits > 1:
        raise RequestError("plan, flat and bits exclude each other; choose one of them.")
    if items is not None and plan is None:
        raise RequestError("items requires --plan; otherwise --batch-size sets the batch size.")
    if (plan is not None or flat or bits) and (part or at or against):
        raise RequestError("--part, --at and --against select what to measure; omit them with plan, flat and bits.")


def _measured(wanted: Bench, definition: ModelDefinition | None, seconds: float) -> Result:
    from jukebox_kit.checks.bench import run_bench, songs

    report = run_bench(wanted, _say)
    if definition is not None:
        _say(f"{definition.name}: estimating songs of {seconds:g} s")
        rows = [row for one in wanted.placements for row in songs(definition, one, wanted.batches, seconds)]
        report = replace(report, songs=rows)
    return report.as_json(), report.as_text()


def _plan(model: str, seconds: float, items: int, placements: tuple[Placement, ...]) -> Result:
    from jukebox_kit.checks.bench import as_json, as_text
    from jukebox_kit.model.weights import load_definition
    from jukebox_kit.steps import estimate

    estimates = {one.weights: estimate(load_definition(model), seconds, items, one) for one in placements}
    what = f"{model}, {items} of {seconds:g} s"
    text = "\n\n".join(f"{what}, {weights}\n{as_text(one)}" for weights, one in estimates.items())
    return {weights: as_json(one) for weights, one in estimates.items()}, text


def _bits(model: str, placements: tuple[Placement, ...], chosen: bool) -> Result:
    from jukebox_kit.checks.bench import bits_as_json, bits_as_text, bits_by_weights

    kinds = tuple(one.weights for one in placements) if chosen else None  # otherwise all precisions of the device
    rows = bits_by_weights(model, device=placements[0].device, weights=kinds, say=_say)
    return {"bits": bits_as_json(rows)}, bits_as_text(rows)


def _flat(model: str, shape: str, seconds: float, placement: Placement) -> Result:
    from jukebox_kit.checks.bench import FACTORS, Growth, free_shape, lengths, window_ends
    from jukebox_kit.engine import Model as Loaded

    subject = free_shape(shape)
    loaded = Loaded.load(model, placement.device, placement.weights, placement.engine)
    loaded.check_files()
    songs = lengths(loaded, seconds / FACTORS[-1], _say)
    _say(f"{shape}: both ends of a window")
    growth = Growth(window_ends(subject, placement), songs)
    return growth.as_json(), growth.as_text()


def _subjects(
    model: str | None, part: str | None, shape: str | None, placement: Placement
) -> tuple[ModelDefinition | None, tuple[Subject, ...]]:
    """Return the model to measure, None for shapes alone, and its components."""
    from jukebox_kit.checks.bench import differing_levels, free_shape, model_part
    from jukebox_kit.model.weights import load_definition

    shapes = tuple(free_shape(one) for one in shape.split(",")) if shape else ()
    if shapes and model is None and part is None:
        return None, shapes
    definition = load_definition(model or ("demo" if placement.on_cpu else "1b_lyrics"))
    levels = [level_of(one.strip(), "part") for one in part.split(",")] if part else differing_levels(definition)
    return definition, (*(model_part(definition, level) for level in levels), *shapes)


def _say(line: str) -> None:
    typer.echo(line, err=True)
