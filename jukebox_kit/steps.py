"""The three steps of a song, level_2 → level_1 → level_0: each saves on the way and goes on from what is saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jukebox_kit.audio import SampledAudio, audio_samples, spectrogram_png, wav_bytes
from jukebox_kit.errors import SongError
from jukebox_kit.model.prior import Prior
from jukebox_kit.models import Model
from jukebox_kit.sampling import UNMADE, LevelJob, sample_level
from jukebox_kit.song import LEVELS, Song

log = logging.getLogger(__name__)

REPORTS_A_SECOND = 4
SMALL_MAP = 2**18  # weights of a map


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
    anew; batch: items sampled at once; progress: called a few times a second.
    """

    save_every: float = 30.0
    preview_every: float = 120.0
    batch: int = 16
    engine: str = "cached"
    progress: Callable[[Progress], None] | None = None


def sample(song: Song, until: int = 0, model: Model | None = None, options: Options | None = None) -> Song:
    """Do what is left of a song, level 2 first, down to level `until`. Returns the song."""
    loaded = model or Model.load(song.request.model)
    for level in reversed(LEVELS):
        if level >= until:
            _step(song, level, loaded, options or Options())
    return song


def level_2(song: Song, model: Model | None = None, options: Options | None = None) -> Song:
    """Sample the top level, or what is left of it."""
    return _step(song, 2, model or Model.load(song.request.model), options or Options())


def level_1(song: Song, model: Model | None = None, options: Options | None = None) -> Song:
    """Upsample level 2's codes to level 1; SongError where those are not finished."""
    return _step(song, 1, model or Model.load(song.request.model), options or Options())


def level_0(song: Song, model: Model | None = None, options: Options | None = None) -> Song:
    """Upsample level 1's codes to level 0; SongError where those are not finished."""
    return _step(song, 0, model or Model.load(song.request.model), options or Options())


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


def _step(song: Song, level: int, model: Model, options: Options) -> Song:
    with song.store.lock():
        codes, primed = song.codes(level)
        if not (codes == UNMADE).any():
            _write_audio(song, level, model, only_missing=True)  # it may have been stopped just before
            return song
        song.check_model(model)
        above = _upper_codes(song, level, model)
        prior = model.prior(level)
        work = torch.from_numpy(codes.astype(np.int64)).to(model.device)
        keeper = _Keeper(song, level, primed, work, options, model)
        for first in range(0, len(work), options.batch):
            items = tuple(range(first, min(first + options.batch, len(work))))
            job = LevelJob(
                song.resolved.plans[level],
                items,
                (song.resolved.labels[level],) * len(items),
                None if above is None else above[items[0] : items[-1] + 1],
                song.request.seed,
                song.request.choice(level, song.definition),
                options.engine,
                primed,
            )
            keeper.begin(items)
            try:
                with _threads_for(prior):
                    strangers = sample_level(prior, job, work[items[0] : items[-1] + 1], keeper.made)
            except BaseException:
                keeper.save()  # Ctrl-C, out of memory, anything: what is made is kept
                raise
            if strangers:
                song.note(
                    f"level {level} went on at token {strangers[0]} on hardware or software that counts differently"
                )
        keeper.save()
        _write_audio(song, level, model, only_missing=False)
    return song


class _Keeper:
    """Saves a level's codes every so often, writes previews, and reports progress."""

    def __init__(self, song: Song, level: int, primed: int, work: torch.Tensor, options: Options, model: Model) -> None:
        self.song, self.level, self.primed, self.work, self.options = song, level, primed, work, options
        self.model = model
        self.saved = self.reported = self.previewed = time.monotonic()
        self.items: tuple[int, ...] = ()

    def begin(self, items: tuple[int, ...]) -> None:
        """Go to the next batch of items."""
        self.items = items

    def made(self, position: int) -> None:
        """Take note of a token, made or replayed, at a position of the current items."""
        now = time.monotonic()
        items, total = self.work.shape
        if now - self.reported >= 1 / REPORTS_A_SECOND or position == total - 1:
            self.reported = now
            done = self.items[0] * total + len(self.items) * (position + 1)
            if self.options.progress:
                self.options.progress(Progress(self.level, done, items * total))
        if now - self.saved >= self.options.save_every:
            self.save()
        if now - self.previewed >= self.options.preview_every:
            self.save()
            _write_audio(self.song, self.level, self.model, only_missing=False)
            self.previewed = time.monotonic()

    def save(self) -> None:
        """Keep the codes so far."""
        self.song.write_codes(self.level, self.work.cpu().numpy().astype(np.int16), self.primed)
        self.saved = time.monotonic()


@contextmanager
def _threads_for(prior: Prior) -> Iterator[None]:
    """Use one thread where the maps are so small that handing work to a second one takes longer than the work."""
    before = torch.get_num_threads()
    if prior.config.prior_width**2 < SMALL_MAP:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _upper_codes(song: Song, level: int, model: Model) -> torch.Tensor | None:
    if level == LEVELS[-1]:
        return None
    codes, _ = song.codes(level + 1)
    if (codes == UNMADE).any():
        raise SongError(f"level {level} of {song.root} needs level {level + 1} whole; do level_{level + 1} first.")
    return torch.from_numpy(codes.astype(np.int64)).to(model.device)


def _write_audio(song: Song, level: int, model: Model, only_missing: bool) -> None:
    """Write every item's audio of a level so far, and the picture of the levels; whole files are left if so wished."""
    names = [f"level_{level}/item_{item}.wav" for item in range(song.request.items)]
    wanted = [n for n in names if not (only_missing and audio_samples(song.root / n) == song.resolved.samples)]
    for item, name in enumerate(names):
        if name in wanted:
            song.store.write(name, wav_bytes(song.audio(level, item, model), song.sr))
    if wanted:
        levels = {higher: song.audio(higher, 0, model) for higher in LEVELS if higher >= level}
        title = f"{song.request.artist}, {song.request.genre} ({song.request.model})"
        song.store.write("spectrogram.png", spectrogram_png(levels, song.sr, title))
