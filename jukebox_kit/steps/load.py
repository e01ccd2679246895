"""Loads a song's model in the precision that the song was started with or, if that does not fit, in one that does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from jukebox_kit.engine import Model, Placement, free_memory, usable_device, weights_bytes
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.model.weights import load_definition, model_source
from jukebox_kit.song import Song, SongState, normalise_request, typed_fields
from jukebox_kit.steps.memory_plan import MemoryPlan, plan_memory, precisions
from jukebox_kit.steps.progress import AUTO, RunSettings

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def load_planned(song: Song, run: RunSettings | None = None, loaded: Model | None = None) -> Model:
    """Return the model for the rest of a song, by the settings of a run; its files are read on first use.

    The precision "auto" is the one that the song was started with; if that does not fit, or nothing has been sampled,
    it is the first that fits. Any other precision is used without asking the memory plan. loaded: the model of the song
    before, returned if it can be used again. RequestError if nothing fits.
    """
    run = run or RunSettings()
    precision: str | None = run.precision
    if precision == AUTO:
        state, device = song.state, usable_device(run.device)
        before = started_in(state)
        first = before if before in precisions(device, run.engine) else None
        plan = plan_song(state, device, first, run.engine, run.batch_size, loaded)
        if not plan.fits and before:
            plan = plan_song(state, device, None, run.engine, run.batch_size, loaded)
        precision = planned_precision(plan)
        if before not in (None, precision):
            log.warning(
                "%s was started in %s, which does not fit here; it continues in %s.", song.shown_path, before, precision
            )
    request, where = song.request, Placement.of(run.device, precision, run.engine)
    return _reused(request.model, where, request.lora_scale, loaded)


def load_for(
    model: str | Path,
    seconds: float,
    items: int,
    run: RunSettings | None = None,
    loaded: Model | None = None,
    lora_scale: float = 1.0,
) -> Model:
    """Return the model for a new song; arguments and errors as in `load_planned` and `Request`."""
    asked = normalise_request({"seconds": seconds, "items": items, "lora_scale": lora_scale})
    source = typed_fields({"model": model})["model"]
    run = run or RunSettings()
    precision, device = run.precision, usable_device(run.device)
    if precision == AUTO:
        free = free_memory(device) + loaded_bytes(loaded)
        definition = load_definition(source)
        precision = planned_precision(
            plan_memory(definition, asked.seconds, asked.items, device, free, batch=run.batch_size, engine=run.engine)
        )
    where = Placement.of(device, precision, run.engine)
    return _reused(model_source(source), where, asked.lora_scale, loaded)


def check_run(run: RunSettings) -> None:
    """Check the device, engine and precision of a run; RequestError if this machine or the toolkit lacks one."""
    Placement.of(run.device, None if run.precision == AUTO else run.precision, run.engine)


def _reused(source: str, placement: Placement, lora_scale: float, loaded: Model | None) -> Model:
    """Return the loaded model if it is this one; otherwise this one, with nothing read yet."""
    wanted = source, placement, lora_scale
    if loaded is not None and (loaded.source, loaded.placement, loaded.lora_scale) == wanted:
        return loaded
    return Model.load(source, placement.device, placement.weights, placement.engine, lora_scale)


def planned_precision(plan: MemoryPlan) -> str:
    """Return the precision of a plan; RequestError with its reason if the song does not fit."""
    if not plan.fits:
        raise RequestError(plan.reason)
    return plan.weights


def started_in(state: SongState) -> str | None:
    """Return the precision in which a song's tokens were last sampled, None if it has none."""
    by_level = (state.manifest.runs.get(str(level), {}).get("weights") for level in LEVELS)
    return next((str(precision) for precision in by_level if precision), None)


def plan_song(
    state: SongState,
    device: torch.device,
    precision: str | None,
    engine: str,
    batch_size: int | None,
    loaded: Model | None = None,
) -> MemoryPlan:
    """Return the memory plan for the rest of a song. loaded: a model whose memory counts as free."""
    left = tuple(level for level in DOWNWARD if not state.finished(level))
    return plan_memory(
        state.definition,
        state.resolved.samples / state.sr,
        state.request.items,
        device,
        free_memory(device) + loaded_bytes(loaded),
        precision,
        batch_size,
        engine=engine,
        levels=left or DOWNWARD,
        hop_fraction=state.request.hop_fraction,
        chunks=state.request.chunks,
    )


def plan_step(state: SongState, level: int, model: Model, batch_size: int) -> MemoryPlan:
    """Return the memory plan for a step with a model that may be loaded, with batches of `batch_size` at most.

    A level that was started keeps its batch size or uses a smaller one, since tokens may depend on it.
    """
    codes, before = state.level(level), state.manifest.runs.get(str(level), {}).get("batch", batch_size)
    if any(made > given for made, given in zip(codes.made, codes.given, strict=True)):
        batch_size = min(batch_size, before)
    placement = model.placement
    plan = plan_song(state, model.device, placement.weights, placement.engine, batch_size, model)
    if not plan.fits:
        log.warning("%s Trying with batch size 1.", plan.reason)
    return plan


def loaded_bytes(model: Model | None) -> int:
    """Return the bytes of the loaded components of a model, computed from its definition."""
    if model is None:
        return 0
    return sum(weights_bytes(model.definition, part, model.placement) for part in model.loaded)
