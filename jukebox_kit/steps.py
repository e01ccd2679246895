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
from jukebox_kit.pieces import layout_of
from jukebox_kit.planned import load_planned, plan_step
from jukebox_kit.sampling import LevelJob, job_loop, sample_level
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
    anew; batch: items, or pieces of items, sampled at once at most, fewer where memory is small; progress: called a few
    times a second; stop: asked at every token whether to save and raise StoppedError.
    """

    save_every: float = 30.0
    preview_every: float = 120.0
    batch: int = 16
    progress: Callable[[Progress], None] | None = None
    stop: Callable[[], bool] | None = None


def run_facts(model: Model, batch: int, own: bool) -> dict[str, Any]:
    """Return what the bits of sampled tokens depend on beside the song and its checkpoints.

    own: whether kernels and compiled code of our own are really used, which the device decides.
    """
    on_gpu = model.device.type == "cuda"
    device = torch.cuda.get_device_name(model.device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    return {
        "device": f"{model.device.type} {device}",
        "weights": model.placement.weights,
        "torch": torch.__version__,
        "threads": 0 if on_gpu else torch.get_num_threads(),
        "batch": batch,
        "engine": model.placement.engine + ("" if own or not model.placement.own else " by torch's operations"),
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
    pieces: int | tuple[int, ...] | None = None,
) -> Song:
    """Upsample chosen items, or all, down to level `until`; `resume` keeps to the choice. Returns the song.

    pieces: how many are made at once of each level, or of levels 0 and 1, as the song's request says if left out.
    SongError where a level is begun otherwise.
    """
    wrong = [item for item in items or () if not 0 <= item < song.request.items]
    if wrong or items == ():
        raise SongError(f"{song.root} has items 0 to {song.request.items - 1}, not {wrong or 'none'}; choose of those.")
    loaded = model or load_planned(song)
    with song.locked():
        manifest = song.manifest if pieces is None else song.in_pieces(pieces, loaded)
        song.keep(replace(manifest, upsample=None if items is None else tuple(sorted(set(items)))))
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
        model.together = plan.together
        keeper = _Keeper(song, level, found, replace(options, batch=plan.batch(level)), model)
        if keeper.pieces > 1 and not found.sampled:
            song.keep(song.manifest.noted(f"level {level} is made in {keeper.pieces} pieces"))
        what = "item" if keeper.pieces == 1 else "piece"
        queue = keeper.batches()
        while queue:
            rows = queue.pop(0)
            if not _sampled(keeper, rows, above):
                if len(rows) == 1:
                    raise SongError(
                        f"there is not memory enough for one {what} of {song.root}; free some, or use a smaller model. "
                        f"What is made is saved."
                    )
                queue[:0] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
                song.keep(song.manifest.noted(f"level {level}: out of memory, {len(rows)} {what}s at once were halved"))
        if level == LEVELS[-1]:  # while the top prior is there
            try_alignments(song, model.prior(level), keeper.check_stop)
        finish_sounds(song, level, model)
    return song


def _sampled(keeper: _Keeper, rows: tuple[int, ...], above: torch.Tensor | None) -> bool:
    """Sample some rows of a level to their end; False where memory did not suffice, with what was made saved."""
    song, level, layout = keeper.song, keeper.level, keeper.layout
    items = tuple(row // keeper.pieces for row in rows)
    job = LevelJob(
        layout.plan(song.resolved.plans[level]),
        items,
        (song.resolved.labels[level],) * len(rows),
        None if above is None else above[list(items)],
        song.request.seed,
        song.request.choice(level, song.definition),
        keeper.model.placement,
        tuple(keeper.given[row] for row in rows),
        tuple(layout.starts[row % keeper.pieces] for row in rows),
    )
    prior = keeper.model.prior(level)
    tokens = keeper.begin(rows)
    strangers: list[int] | None = None
    try:
        with threads_for(prior.config):
            loop = job_loop(prior, job, tokens.device)
            _note_seam(song, level, keeper.found, run_facts(keeper.model, keeper.options.batch, loop.decoder.own))
            strangers = sample_level(prior, job, tokens, keeper.made, loop)
    except (torch.OutOfMemoryError, MemoryError) as error:
        log.warning("out of memory with %d items at once", len(rows))
        error.__traceback__ = None  # it holds on to what filled the memory
    finally:
        keeper.save()  # Ctrl-C, out of memory, anything: what is made is kept
    if strangers is None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if strangers:
        where = {"tokens" if keeper.pieces == 1 else "tokens_of_pieces": strangers}
        song.keep(song.manifest.noted(f"level {level}: tokens came out differently when replayed", **where))
    return strangers is not None


def _note_seam(song: Song, level: int, found: LevelCodes, now: dict[str, Any]) -> None:
    """Record what the bits of the tokens to come depend on, and where that differs from what stands already."""
    before = song.manifest.runs.get(str(level))
    if before == now:
        return
    manifest = song.manifest
    at = min((made for made in found.made if made < found.codes.shape[1]), default=0)
    if before is not None and found.sampled:
        changed = {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
        manifest = manifest.noted(f"level {level} goes on at token {at} on something else", changed=changed)
    song.keep(replace(manifest, runs={**manifest.runs, str(level): now}))


class _Keeper:
    """Saves a level's codes every so often, writes previews, and reports progress.

    Its rows are the song's items, or the pieces of each in turn.
    """

    def __init__(self, song: Song, level: int, found: LevelCodes, options: Options, model: Model) -> None:
        self.song, self.level, self.found, self.options, self.model = song, level, found, options, model
        pieces = 1 if level == LEVELS[-1] else song.request.pieces[level]
        self.layout = layout_of(song.resolved.plans[level], found, pieces)
        self.given = self.layout.given(found)
        self.work = torch.from_numpy(self.layout.rows(found).astype(np.int64)).to(model.device)
        self.saved = self.reported = self.previewed = time.monotonic()
        self.wanted = [item * self.pieces + piece for item in song.items(level) for piece in range(self.pieces)]
        self.rows: tuple[int, ...] = ()
        self.tokens = self.work[:0]

    @property
    def pieces(self) -> int:
        """How many rows an item is made as."""
        return len(self.layout.starts)

    def batches(self) -> list[tuple[int, ...]]:
        """Return the rows to be sampled in batches; items that are whole are alike in how many tokens were given."""
        found, size = list[tuple[int, ...]](), self.options.batch
        for _, alike in groupby(self.wanted, key=lambda row: self.given[row] if self.pieces == 1 else None):
            group = tuple(alike)
            found += [group[first : first + size] for first in range(0, len(group), size)]
        return found

    def begin(self, rows: tuple[int, ...]) -> torch.Tensor:
        """Go to the next batch of rows; returns their tokens, to be filled in place."""
        self.rows, self.tokens = rows, self.work[list(rows)]
        return self.tokens

    def check_stop(self) -> None:
        """Raise StoppedError where a person asked for it."""
        if self.options.stop is not None and self.options.stop():
            raise StoppedError(f"{self.song.root} was stopped; all is saved, and it goes on where it was.")

    def made(self, position: int) -> None:
        """Take note of a token, made or replayed, at a position of the current rows."""
        self.check_stop()
        now = time.monotonic()
        if now - self.reported >= 1 / REPORTS_A_SECOND or position == self.work.shape[1] - 1:
            self.reported = now
            if self.options.progress:
                before = self.wanted[: self.wanted.index(self.rows[0])]
                done = self.layout.shown(before) + self.layout.shown(self.rows, position + 1)
                self.options.progress(Progress(self.level, done, self.layout.shown(self.wanted)))
        if now - self.saved >= self.options.save_every:
            self.save()
        if now - self.previewed >= self.options.preview_every:
            self.save()
            write_sounds(self.song, self.level, self.model)
            self.previewed = time.monotonic()

    def save(self) -> None:
        """Keep the codes so far."""
        self.work[list(self.rows)] = self.tokens
        rows = self.work.cpu().numpy().astype(np.int16)
        if not np.array_equal(rows, self.layout.rows(self.found)):  # tokens that are only replayed stand already
            found = self.layout.level(self.found, rows)
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
