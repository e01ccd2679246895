"""The three steps of a song, level_2 → level_1 → level_0: each saves as it works and resumes from what is saved."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import Unpack

from jukebox_kit._values import checked
from jukebox_kit.engine import LevelJob, Model, job_loop, sample_level, threads_for
from jukebox_kit.errors import SongError
from jukebox_kit.model import DOWNWARD, TOP
from jukebox_kit.song import (
    ForkFields,
    SampledAudio,
    Song,
    SongState,
    chosen_items,
    finish_sounds,
    level_number,
    normalise_request,
    typed_fields,
    with_chunks,
)
from jukebox_kit.song.lyrics import try_alignments
from jukebox_kit.steps.level_writer import LevelWriter
from jukebox_kit.steps.load import load_for, load_planned, plan_step
from jukebox_kit.steps.progress import RunSettings, check_stop
from jukebox_kit.steps.shards import ShardWriter, held_shard, merge_shards

log = logging.getLogger(__name__)


def run_facts(model: Model, batch: int, optimised: bool) -> dict[str, Any]:
    """Return what the bits of sampled tokens depend on besides the song and its checkpoints.

    optimised: whether this package's kernels and compiled code are used, which depends on the device.
    """
    on_gpu = model.device.type == "cuda"
    device = torch.cuda.get_device_name(model.device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    return {
        "device": f"{model.device.type} {device}",
        "weights": model.placement.weights,
        "torch": torch.__version__,
        "threads": 0 if on_gpu else torch.get_num_threads(),
        "batch": batch,
        "engine": model.placement.engine
        + ("" if optimised or not model.placement.optimised else " by torch's operations"),
    }


def sample(song: Song, until: int | str = 0, model: Model | None = None, run: RunSettings | None = None) -> Song:
    """Sample what is missing of a song, from level 2 down to level `until`: 1 or "level_1". Returns the song."""
    last = level_number(until, "until")
    loaded = model or _model_for(song, run)
    for level in DOWNWARD:
        if level >= last:
            _step(song, level, loaded, run or RunSettings())
    return song


def level_2(song: Song, model: Model | None = None, run: RunSettings | None = None) -> Song:
    """Sample what is missing of the top level."""
    return _step(song, 2, model or _model_for(song, run), run or RunSettings())


def level_1(song: Song, model: Model | None = None, run: RunSettings | None = None) -> Song:
    """Upsample level 2's codes to level 1; SongError if level 2 is not finished."""
    return _step(song, 1, model or _model_for(song, run), run or RunSettings())


def level_0(song: Song, model: Model | None = None, run: RunSettings | None = None) -> Song:
    """Upsample level 1's codes to level 0; SongError if level 1 is not finished."""
    return _step(song, 0, model or _model_for(song, run), run or RunSettings())


def generate(model: str | Model = "demo", **request: Unpack[ForkFields]) -> SampledAudio:
    """Sample a song of one item through all levels in a temporary folder; fields as in `Request`.

    Returns its audio, (samples,) float32, with its sample rate as `.sr`.
    """
    import tempfile

    source = model.source if isinstance(model, Model) else model
    if isinstance(model, Model):
        request = {"lora_scale": model.lora_scale, **request}
    asked = normalise_request({**typed_fields(request, ForkFields.__annotations__), "model": source})
    loaded = model if isinstance(model, Model) else load_for(source, asked.seconds, 1, lora_scale=asked.lora_scale)
    with tempfile.TemporaryDirectory() as folder:
        song = Song.create(Path(folder) / "song", loaded, model=loaded.source, items=1, **request)
        for note in song.resolved.notes:
            log.warning(note)
        sample(song, model=loaded)
        return song.audio(0, 0, loaded)


def upsample(
    song: Song,
    items: int | Iterable[int] | None = None,
    until: int | str = 0,
    model: Model | None = None,
    run: RunSettings | None = None,
    chunks: int | tuple[int, ...] | None = None,
) -> Song:
    """Upsample the chosen items, or all, down to level `until`; later steps keep the choice. Returns the song.

    items: one or several, counted from 0. until: a number, or text such as "level_1". chunks: how many chunks of an
    item are sampled at once, one number or one each for levels 0 and 1; by default as in the song's request. Raises
    SongError if a level was started with another number.
    """
    chosen = None if items is None else tuple(sorted(chosen_items(song.shown_path, song.request.items, items)))
    last = level_number(until, "until")
    loaded = model or _model_for(song, run)
    with song.locked() as state:
        manifest = state.manifest if chunks is None else with_chunks(state, chunks, loaded)
        song.keep(replace(manifest, upsample=chosen))
    for level in (1, 0):
        if level >= last:
            _step(song, level, loaded, run or RunSettings())
    return song


def sample_shard(
    song: Song, level: int | str, rows: range, model: Model | None = None, run: RunSettings | None = None
) -> None:
    """Sample some rows of a level (items, or each item's chunks in turn) while other processes sample other rows.

    They are saved as a shard in the song's folder until the level's own step merges them, and can be stopped and
    resumed as songs can. SongBusyError if the song or these rows are being worked on; other errors as in `level_1`.
    """
    level, rows = level_number(level), checked("rows", rows, range)
    loaded = model or _model_for(song, run)
    with held_shard(song, level, rows) as (shard, state):
        writer = ShardWriter(shard, state, level, _fit_to_memory(state, level, loaded, run or RunSettings()), loaded)
        _sample_rows(writer)


def _step(song: Song, level: int, model: Model, run: RunSettings) -> Song:
    """Sample what is missing of one level, then write its audio, pictures and page."""
    with song.locked() as before:
        state = merge_shards(before, level)
        if not state.finished(level):
            writer = LevelWriter(state, level, _fit_to_memory(state, level, model, run), model)
            state = _sample_rows(writer)
        if level == TOP and state.level(level) is not before.level(level):  # while the top prior is loaded
            try_alignments(state, model.prior(level), lambda: check_stop(song.root, run))
        finish_sounds(state, level, model)
    return song


def _model_for(song: Song, run: RunSettings | None) -> Model:
    """Return the model for a step that was called without one; the song keeps it for the next such step."""
    song.loaded = load_planned(song, run, song.loaded)
    return song.loaded


def _fit_to_memory(state: SongState, level: int, model: Model, run: RunSettings) -> RunSettings:
    """Check that a model is the song's, and return the settings with the batch size of the memory plan."""
    state.song.check_model(model)
    plan = plan_step(state, level, model, run.batch_size)
    model.resident_levels = plan.resident_levels
    return replace(run, batch_size=plan.batch(level))


def _sample_rows(writer: LevelWriter) -> SongState:
    """Sample all rows of a level in batches, halving those that do not fit into memory. Returns the state after it."""
    codes = writer.state.upper_codes(writer.level)
    upper_codes = None if codes is None else torch.from_numpy(codes.astype(np.int64)).to(writer.model.device)
    writer.note_start()
    queue = writer.batches()
    while queue:
        rows = queue.pop(0)
        if not _sampled(writer, rows, upper_codes):
            if len(rows) == 1:
                raise SongError(
                    f"there is not enough memory to sample even one {writer.unit} of {writer.state.shown_path}; free "
                    f"some, or use a smaller model. Everything sampled so far is saved."
                )
            queue[:0] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
            writer.note("out_of_memory", batch=len(rows), unit=writer.unit)
    return writer.state


def _sampled(writer: LevelWriter, rows: tuple[int, ...], upper_codes: torch.Tensor | None) -> bool:
    """Sample some rows of a level to their end; False if memory ran out. What was sampled is saved in any case."""
    state, level, layout = writer.state, writer.level, writer.layout
    items = tuple(row // writer.chunks for row in rows)
    job = LevelJob(
        layout.plan(state.resolved.plans[level]),
        items,
        (state.resolved.labels[level],) * len(rows),
        None if upper_codes is None else upper_codes[list(items)],
        state.request.seed,
        state.request.sampling_params(level, state.definition),
        writer.model.placement,
        tuple(writer.given[row] for row in rows),
        tuple(layout.starts[row % writer.chunks] for row in rows),
    )
    prior = writer.model.prior(level)
    tokens = writer.start_batch(rows)
    mismatches: list[int] | None = None
    try:
        with threads_for(prior.config):
            loop = job_loop(prior, job, tokens.device)
            writer.note_run(run_facts(writer.model, writer.run.batch_size, loop.decoder.optimised))
            mismatches = sample_level(prior, job, tokens, writer.report_token, loop)
    except (torch.OutOfMemoryError, MemoryError) as error:
        log.warning("out of memory with a batch size of %d", len(rows))
        error.__traceback__ = None  # it refers to what filled the memory
    finally:
        writer.save()  # whatever happens, such as Ctrl-C, what was sampled is saved
    if mismatches is None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if mismatches:
        writer.note("replay_mismatch", **{"tokens" if writer.chunks == 1 else "tokens_of_chunks": mismatches})
    return mismatches is not None
