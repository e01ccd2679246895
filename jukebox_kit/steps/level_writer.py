"""Work on a level as it is kept: its rows, saved every so often, seen and heard while they grow."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from jukebox_kit.engine import UNMADE, Model
from jukebox_kit.song import Codes, EventKind, Layout, LevelCodes, Song, chunks_at, layout_of, write_sounds
from jukebox_kit.steps.progress import Progress, RunSettings, check_stop

REPORTS_A_SECOND = 4


def layout_now(song: Song, level: int, found: LevelCodes | None = None) -> Layout:
    """Return the rows that a level is being made as, or will be; `found` spares reading its codes again."""
    chunks = chunks_at(song.request.chunks, level)
    return layout_of(song.resolved.plans[level], found or song.level(level), chunks)


class LevelWriter:
    """Saves a level's codes every so often, writes previews, and reports progress.

    Its rows are the song's items, or the chunks of each in turn.
    """

    def __init__(self, song: Song, level: int, run: RunSettings, model: Model) -> None:
        self.song, self.level, self.run, self.model = song, level, run, model
        self.level_codes = song.level(level)
        self.layout = layout_now(song, level, self.level_codes)
        self.given = self.layout.given(self.level_codes)
        self.work = torch.from_numpy(self.layout.rows(self.level_codes).astype(np.int64)).to(model.device)
        self.saved = self.reported = self.previewed = time.monotonic()
        self.wanted = [item * self.chunks + chunk for item in song.items(level) for chunk in range(self.chunks)]
        self.rows: tuple[int, ...] = ()
        self.tokens = self.work[:0]
        self.stood = self.standing()

    def standing(self) -> int:
        """Return how many tokens stand of the rows that are wanted, counted as `Layout.shown` does."""
        found = 0
        for row in self.wanted:
            chunk = row % self.chunks
            (first, last), start = self.layout.shares[chunk], self.layout.starts[chunk]
            made = int((self.work[row, first - start : last - start] != UNMADE).sum())
            found += made + (0 if chunk else first)
        return found

    @property
    def chunks(self) -> int:
        """How many rows an item is made as."""
        return len(self.layout.starts)

    @property
    def what(self) -> str:
        """What a row is."""
        return "item" if self.chunks == 1 else "chunk"

    def batches(self) -> list[tuple[int, ...]]:
        """Return the rows to be sampled in batches; items that are whole are alike in how many tokens were given."""
        found, size = list[tuple[int, ...]](), self.run.batch_size
        for _, alike in groupby(self.wanted, key=lambda row: self.given[row] if self.chunks == 1 else None):
            group = tuple(alike)
            found += [group[first : first + size] for first in range(0, len(group), size)]
        return found

    def start_batch(self, rows: tuple[int, ...]) -> torch.Tensor:
        """Go to the next batch of rows; returns their tokens, to be filled in place."""
        self.rows, self.tokens = rows, self.work[list(rows)]
        return self.tokens

    def made(self, position: int) -> None:
        """Take note of a token, made or replayed, at a position of the current rows."""
        check_stop(self.song, self.run)
        now = time.monotonic()
        if now - self.reported >= 1 / REPORTS_A_SECOND or position == self.work.shape[1] - 1:
            self.reported = now
            if self.run.progress:
                before = self.wanted[: self.wanted.index(self.rows[0])]
                done = self.layout.shown(before) + self.layout.shown(self.rows, position + 1)
                self.run.progress(Progress(self.level, done, self.layout.shown(self.wanted), self.stood))
        if now - self.saved >= self.run.save_every:
            self.save()
        if now - self.previewed >= self.run.preview_every:
            self.save()
            self.preview()
            self.previewed = time.monotonic()

    def save(self) -> None:
        """Keep the codes so far."""
        self.work[list(self.rows)] = self.tokens
        self.keep(self.work.cpu().numpy().astype(np.int16))
        self.saved = time.monotonic()

    def keep(self, rows: Codes) -> None:
        """Keep all rows, (rows, L), where they are not what is kept."""
        if not np.array_equal(rows, self.layout.rows(self.level_codes)):  # tokens that are only replayed stand already
            found = self.layout.level(self.level_codes, rows)
            self.song.write_level(self.level, found)
            self.level_codes = found  # only now: a write that was interrupted is done again

    def preview(self) -> None:
        """Write what can be heard so far."""
        write_sounds(self.song, self.level, self.model)

    def note(self, kind: EventKind, **facts: object) -> None:
        """Record an event in the song's history."""
        self.song.keep(self.song.manifest.noted(kind, level=self.level, **facts))

    def note_run(self, now: dict[str, Any]) -> None:
        """Record what the bits of the tokens to come depend on, and where that differs from what stands already."""
        song, level, found = self.song, self.level, self.level_codes
        before = song.manifest.runs.get(str(level))
        if before == now:
            return
        manifest = song.manifest
        at = min((made for made in found.made if made < found.codes.shape[1]), default=0)
        if before is not None and found.sampled:
            changed = {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
            manifest = manifest.noted("resumed_elsewhere", level=level, token=at, changed=changed)
        song.keep(replace(manifest, runs={**manifest.runs, str(level): now}))
