"""The three steps of a song, level_2 → level_1 → level_0: each saves on the way and goes on from what is saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jukebox_kit.alignment import try_alignments
from jukebox_kit.audio import SampledAudio
from jukebox_kit.codes import UNMADE, LevelCodes
from jukebox_kit.errors import SongError, StoppedError
from jukebox_kit.models import Model
from jukebox_kit.planned import load_planned, plan_step
from jukebox_kit.sampling import LevelJob, sample_level
from jukebox_kit.song import LEVELS, Song
from jukebox_kit.sounds import finish_sounds, write_sounds
from jukebox_kit.threads import threads_for

log = logging.getLogger(__name__)

REPORTS_A_SECOND = 4


@dataclass(frozen=True)
class Progress:
    """How far a level is, in tokens of all items together."""

    level: int
    done: int
    total: int


@dataclass(frozen=True)
class Options:
    """How the work is done; none of it changes which song comes out.

    save_every: seconds of work that may be lost; preview_every: seconds of work after which the audio so far is written
    anew; batch: items sampled at once at most, fewer where memory is small; progress: called a few times a second;
    stop: asked at every token whether to save and raise StoppedError.
    """

    save_every: float = 30.0
    preview_every: float = 120.0
    batch: int = 16
    progress: Callable[[Progress], None] | None = None
    stop: Callable[[], bool] | None = None


def run_facts(model: Model, batch: int) -> dict[str, Any]:
    """Return what the bits of sampled tokens depend on beside the song and its checkpoints."""
    on_gpu = model.device.type == "cuda"
    device = torch.cuda.get_device_name(model.device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    return {
        "device": f"{model.device.type} {device}",
        "weights": model.placement.weights,
        "torch": torch.__version__,
        "threads": 0 if on_gpu else torch.get_num_threads(),
        "batch": batch,
        "engine": model.placement.engine,
    }


def sample(song: Song, until: int = 0, model: Model | None = None, options: Options | None = None) -> Song:
    """Do what is left of a song, level 2 first, down to level `until`. Returns the song."""
    loaded = model or load_planned(song)
    for level in reversed(LEVELS):
        if level >= until:
            _step(song, level, loaded, options or Options())
    return song


def level_2(song: Song, model: Model | None = None, options: Options | None = None) -> Song:
    """Sample the top level, or what is left of it."""
    return _step(song, 2, model or load_planned(song), options or Options())


def level_1(song: Song, model: Model | None = None, options: Options | None = None) -> Song:
    """Upsample level 2's codes to level 1; SongError where those are not finished."""
    return _step(song, 1, model or load_planned(song), options or Options())


def level_0(song: Song, model: Model | None = None, options: Options | None = None) -> Song:
    """Upsample level 1's codes to level 0; SongError where those are not finished."""
    return _step(song, 0, model or load_planned(song), options or Options())


def generate(model: str | Model = "demo", **request: Any) -> SampledAudio:
    """Sample a song of one item through all levels in a folder that is not kept; fields as in `Request`.

    Returns its audio, (samples,) float32, with its rate as `.sr`.
    """
    import tempfile

    loaded = model if isinstance(model, Model) else Model.load(model)
    with tempfile.TemporaryDirectory() as folder:
        song = Song.create(Path(folder) / "song", loaded, model=loaded.source, items=1, **request)
        for note in song.resolved.notes:
            log.warning(note)
        sample(song, model=loaded)
        return SampledAudio.of(song.audio(0, 0, loaded), song.sr)


def upsample(
    song: Song,
    items: tuple[int, ...] | None = None,
    until: int = 0,
    model: Model | None = None,
    options: Options | None = None,
) -> Song:
    """Upsample chosen items, or all, down to level `until`; `resume` keeps to the choice. Returns the song."""
    wrong = [item for item in items or () if not 0 <= item < song.request.items]
    if wrong or items == ():
        raise SongError(f"{song.root} has items 0 to {song.request.items - 1}, not {wrong or 'none'}; choose of those.")
    with song.locked():
        song.keep(replace(song.manifest, upsample=None if items is None else tuple(sorted(set(items)))))
    loaded = model or load_planned(song)
    for level in (1, 0):
        if level >= until:
            _step(song, level, loaded, options or Options())
    return song


def _step(song: Song, level: int, model: Model, options: Options) -> Song:
    with song.locked():
        found, wanted = song.level(level), song.items(level)
        if not (found.codes[list(wanted)] == UNMADE).any():
            finish_sounds(song, level, model)
            return song
        song.check_model(model)
        above = _upper_codes(song, level, model)
        plan = plan_step(song, level, model, options.batch)
        model.together, batch = plan.together, plan.batch(level)
        _note_seam(song, level, found, run_facts(model, batch))
        keeper = _Keeper(song, level, found, options, model)
        queue = _batches(wanted, found.given, batch)
        while queue:
            items = queue.pop(0)
            if not _sampled(keeper, items, above):
                if len(items) == 1:
                    raise SongError(
                        f"there is not memory enough for one item of {song.root}; free some, or use a smaller model. "
                        f"What is made is saved."
                    )
                queue[:0] = [items[: len(items) // 2], items[len(items) // 2 :]]
                song.keep(song.manifest.noted(f"level {level}: out of memory, {len(items)} items at once were halved"))
        if level == LEVELS[-1]:  # while the top prior is there
            try_alignments(song, model.prior(level), keeper.check_stop)
        finish_sounds(song, level, model)
    return song


def _sampled(keeper: _Keeper, items: tuple[int, ...], above: torch.Tensor | None) -> bool:
    """Sample some items of a level to its end; False where memory did not suffice, with what was made saved."""
    song, level = keeper.song, keeper.level
    job = LevelJob(
        song.resolved.plans[level],
        items,
        (song.resolved.labels[level],) * len(items),
        None if above is None else above[list(items)],
        song.request.seed,
        song.request.choice(level, song.definition),
        keeper.model.placement.engine,
        keeper.found.given[items[0]],
    )
    prior = keeper.model.prior(level)
    rows = keeper.begin(items)
    strangers: list[int] | None = None
    try:
        with threads_for(prior.config):
            strangers = sample_level(prior, job, rows, keeper.made)
    except (torch.OutOfMemoryError, MemoryError) as error:
        log.warning("out of memory with %d items at once", len(items))
        error.__traceback__ = None  # it holds on to what filled the memory
    finally:
        keeper.save()  # Ctrl-C, out of memory, anything: what is made is kept
    if strangers is None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if strangers:
        song.keep(song.manifest.noted(f"level {level}: tokens came out differently when replayed", tokens=strangers))
    return strangers is not None


def _batches(items: tuple[int, ...], given: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    """Return the items in batches, each of items that have as many given tokens."""
    found: list[tuple[int, ...]] = []
    for _, alike in groupby(items, key=lambda item: given[item]):
        group = tuple(alike)
        found += [group[first : first + size] for first in range(0, len(group), size)]
    return found


def _note_seam(song: Song, level: int, found: LevelCodes, now: dict[str, Any]) -> None:
    """Record what the bits of the tokens to come depend on, and where that differs from what stands already."""
    before = song.manifest.runs.get(str(level))
    if before == now:
        return
    manifest = song.manifest
    at = min((made for made in found.made if made < found.codes.shape[1]), default=0)
    if before is not None and any(made > given for made, given in zip(found.made, found.given, strict=True)):
        changed = {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
        manifest = manifest.noted(f"level {level} goes on at token {at} on something else", changed=changed)
    song.keep(replace(manifest, runs={**manifest.runs, str(level): now}))


class _Keeper:
    """Saves a level's codes every so often, writes previews, and reports progress."""

    def __init__(self, song: Song, level: int, found: LevelCodes, options: Options, model: Model) -> None:
        self.song, self.level, self.found, self.options, self.model = song, level, found, options, model
        self.work = torch.from_numpy(found.codes.astype(np.int64)).to(model.device)
        self.saved = self.reported = self.previewed = time.monotonic()
        self.items: tuple[int, ...] = ()
        self.rows = self.work[:0]

    def begin(self, items: tuple[int, ...]) -> torch.Tensor:
        """Go to the next batch of items; returns their rows, to be filled in place."""
        self.items, self.rows = items, self.work[list(items)]
        return self.rows

    def check_stop(self) -> None:
        """Raise StoppedError where a person asked for it."""
        if self.options.stop is not None and self.options.stop():
            raise StoppedError(f"{self.song.root} was stopped; all is saved, and it goes on where it was.")

    def made(self, position: int) -> None:
        """Take note of a token, made or replayed, at a position of the current items."""
        self.check_stop()
        now = time.monotonic()
        total = self.work.shape[1]
        if now - self.reported >= 1 / REPORTS_A_SECOND or position == total - 1:
            self.reported = now
            wanted = self.song.items(self.level)
            done = wanted.index(self.items[0]) * total + len(self.items) * (position + 1)
            if self.options.progress:
                self.options.progress(Progress(self.level, done, len(wanted) * total))
        if now - self.saved >= self.options.save_every:
            self.save()
        if now - self.previewed >= self.options.preview_every:
            self.save()
            write_sounds(self.song, self.level, self.model)
            self.previewed = time.monotonic()

    def save(self) -> None:
        """Keep the codes so far."""
        self.work[list(self.items)] = self.rows
        codes = self.work.cpu().numpy().astype(np.int16)
        if not np.array_equal(codes, self.found.codes):  # tokens that are only replayed stand already
            found = LevelCodes(codes, self.found.given)
            self.song.write_level(self.level, found)
            self.found = found  # only now: a write that was interrupted is done again
        self.saved = time.monotonic()


def _upper_codes(song: Song, level: int, model: Model) -> torch.Tensor | None:
    if level == LEVELS[-1]:
        return None
    codes = song.codes(level + 1)
    if (codes[list(song.items(level))] == UNMADE).any():
        raise SongError(f"level {level} of {song.root} needs level {level + 1} whole; do level_{level + 1} first.")
    return torch.from_numpy(codes.astype(np.int64)).to(model.device)
