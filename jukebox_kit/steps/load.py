"""A song's model, loaded by the plan of memory: in the kind of weights that the song was begun in, where those fit."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from jukebox_kit.engine import Model, Placement, free_memory, usable_device, weights_bytes
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import load_definition
from jukebox_kit.song import LEVELS, Song, normalise_request
from jukebox_kit.steps.memory_plan import MemoryPlan, kinds, plan_memory

log = logging.getLogger(__name__)

AUTO = "auto"


def load_planned(
    song: Song,
    device: str | torch.device | None = None,
    weights: str | None = None,
    engine: str = "fast",
    batch: int | None = None,
    held: Model | None = None,
) -> Model:
    """Return the model that what is left of a song is sampled with; its files are read on first use.

    weights: those said, else by plan those that the song was begun in, and where it was not or they do not fit, the
    first kind that fits. held: a model that is loaded, and returned where it serves. Raises RequestError where nothing
    fits; weights that are said are tried whatever the plan says.
    """
    if weights in (None, AUTO):
        where, begun = usable_device(device), begun_in(song)
        plan = plan_song(song, where, begun if begun in kinds(where, engine) else None, engine, batch, held)
        if not plan.fits and begun:
            plan = plan_song(song, where, None, engine, batch, held)
        weights = chosen(plan)
        if begun not in (None, weights):
            log.warning("%s was begun with %s weights; it goes on with %s, which fit here.", song.root, begun, weights)
    return _serving(song.request.model, Placement.of(device, weights, engine), held)


def load_for(
    model: str | Path,
    seconds: float,
    items: int,
    device: str | torch.device | None = None,
    weights: str | None = None,
    engine: str = "fast",
    batch: int | None = None,
    held: Model | None = None,
) -> Model:
    """Return the model for a song that is to be begun; arguments and errors as in `load_planned` and `Request`."""
    normalise_request({"seconds": seconds, "items": items})
    where = usable_device(device)
    if weights in (None, AUTO):
        free = free_memory(where) + loaded_bytes(held)
        plan = plan_memory(load_definition(model), seconds, items, where, free, batch=batch, engine=engine)
        weights = chosen(plan)
    return _serving(str(model), Placement.of(where, weights, engine), held)


def _serving(source: str, placement: Placement, held: Model | None) -> Model:
    """Return the model held where it is the one wanted, else that one, of which nothing is loaded yet."""
    if held is not None and (held.source, held.placement) == (source, placement):
        return held
    return Model.load(source, placement.device, placement.weights, placement.engine)


def chosen(plan: MemoryPlan) -> str:
    """Return the weights of a plan; RequestError with its reason where the song does not fit."""
    if not plan.fits:
        raise RequestError(plan.reason)
    return plan.weights


def begun_in(song: Song) -> str | None:
    """Return the kind of weights that a song's tokens so far were made with, the level made last first, if any."""
    found = (song.manifest.runs.get(str(level), {}).get("weights") for level in LEVELS)
    return next((str(kind) for kind in found if kind), None)


def plan_song(
    song: Song,
    device: torch.device,
    weights: str | None,
    engine: str,
    batch: int | None,
    held: Model | None = None,
) -> MemoryPlan:
    """Return the plan for what is left of a song. held: what is loaded, whose memory counts as free."""
    state = song.state
    left = tuple(level for level in reversed(LEVELS) if not state.finished(level))
    return plan_memory(
        song.definition,
        song.resolved.samples / song.sr,
        song.request.items,
        device,
        free_memory(device) + loaded_bytes(held),
        weights,
        batch,
        engine=engine,
        levels=left or LEVELS[::-1],
        hop_fraction=song.request.hop_fraction,
        chunks=song.request.chunks,
    )


def plan_step(song: Song, level: int, model: Model, most: int) -> MemoryPlan:
    """Return the plan that a step follows with a model that may be loaded, `most` items at once at most.

    A level that was begun goes on with no more items at once than before, as tokens may depend on it.
    """
    found, before = song.level(level), song.manifest.runs.get(str(level), {}).get("batch", most)
    if any(made > given for made, given in zip(found.made, found.given, strict=True)):
        most = min(most, before)
    where = model.placement
    plan = plan_song(song, model.device, where.weights, where.engine, most, model)
    if not plan.fits:
        log.warning("%s It is tried with one item at once.", plan.reason)
    return plan


def loaded_bytes(model: Model | None) -> int:
    """Return the bytes that a model's loaded parts hold, as far as its definition tells."""
    if model is None:
        return 0
    return sum(weights_bytes(model.definition, part, model.placement) for part in model.held)
