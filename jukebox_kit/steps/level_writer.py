"""Writing a level while it is sampled: autosave, previews, progress, and notes in the song's history."""

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


def layout_now(song: Song, level: int, saved: LevelCodes | None = None) -> Layout:
    """Return the rows in which a level is sampled; `saved`: its codes, if they were read already."""
    chunks = chunks_at(song.request.chunks, level)
    return layout_of(song.resolved.plans[level], saved or song.level(level), chunks)


class LevelWriter:
    """Saves a level's codes at intervals, writes previews, and reports progress.

    Its rows are the song's items, or the chunks of each in turn.
    """

    def __init__(self, song: Song, level: int, run: RunSettings, model: Model) -> None:
        self.song, self.level, self.run, self.model = song, level, run, model
        self.level_codes = song.level(level)
        self.layout = layout_now(song, level, self.level_codes)
        self.given = self.layout.given(self.level_codes)
        self.work = torch.from_numpy(self.layout.rows(self.level_codes).astype(np.int64)).to(model.device)
        self.saved = self.reported = self.previewed = time.monotonic()
        self.target_rows = [item * self.chunks + chunk for item in song.items(level) for chunk in range(self.chunks)]
        self.rows: tuple[int, ...] = ()
        self.tokens = self.work[:0]
        self.tokens_before = self.count_tokens()

    def count_tokens(self) -> int:
        """Return how many tokens of the target rows are sampled or given, counted as `Layout.shown` does."""
        total = 0
        for row in self.target_rows:
            chunk = row % self.chunks
            (first, last), start = self.layout.shares[chunk], self.layout.starts[chunk]
            made = int((self.work[row, first - start : last - start] != UNMADE).sum())
            total += made + (0 if chunk else first)
        return total

    @property
    def chunks(self) -> int:
        """How many rows an item has."""
        return len(self.layout.starts)

    @property
    def what(self) -> str:
        """What a row is called in messages."""
        return "item" if self.chunks == 1 else "chunk"

    def batches(self) -> list[tuple[int, ...]]:
        """Return the target rows in batches; items without chunks share one only if equally many tokens are given."""
        batches, size = list[tuple[int, ...]](), self.run.batch_size
        for _, alike in groupby(self.target_rows, key=lambda row: self.given[row] if self.chunks == 1 else None):
            group = tuple(alike)
            batches += [group[first : first + size] for first in range(0, len(group), size)]
        return batches

    def start_batch(self, rows: tuple[int, ...]) -> torch.Tensor:
        """Start a batch of rows; returns their tokens, (rows, L), to be filled in place."""
        self.rows, self.tokens = rows, self.work[list(rows)]
        return self.tokens

    def made(self, position: int) -> None:
        """Report a token, sampled or replayed, at a position of the current rows; save and preview when it is time."""
        check_stop(self.song, self.run)
        now = time.monotonic()
        if now - self.reported >= 1 / REPORTS_A_SECOND or position == self.work.shape[1] - 1:
            self.reported = now
            if self.run.progress:
                before = self.target_rows[: self.target_rows.index(self.rows[0])]
                done = self.layout.shown(before) + self.layout.shown(self.rows, position + 1)
                self.run.progress(Progress(self.level, done, self.layout.shown(self.target_rows), self.tokens_before))
        if now - self.saved >= self.run.save_every:
            self.save()
        if now - self.previewed >= self.run.preview_every:
            self.save()
            self.preview()
            self.previewed = time.monotonic()

    def save(self) -> None:
        """Save the codes so far."""
        self.work[list(self.rows)] = self.tokens
        self.keep(self.work.cpu().numpy().astype(np.int16))
        self.saved = time.monotonic()

    def keep(self, rows: Codes) -> None:
        """Save all rows, (rows, L), if they differ from what is saved."""
        if not np.array_equal(rows, self.layout.rows(self.level_codes)):  # replayed tokens are saved already
            level_codes = self.layout.level(self.level_codes, rows)
            self.song.write_level(self.level, level_codes)
            self.level_codes = level_codes  # only now: an interrupted write is repeated

    def preview(self) -> None:
        """Write the audio, pictures and page of what is sampled so far."""
        write_sounds(self.song, self.level, self.model)

    def note(self, kind: EventKind, **facts: object) -> None:
        """Record an event in the song's history."""
        self.song.keep(self.song.manifest.noted(kind, level=self.level, **facts))

    def note_run(self, now: dict[str, Any]) -> None:
        """Record what the bits of the next tokens depend on, and where that differs from the tokens saved before."""
        song, level, codes = self.song, self.level, self.level_codes
        before = song.manifest.runs.get(str(level))
        if before == now:
            return
        manifest = song.manifest
        at = min((made for made in codes.made if made < codes.codes.shape[1]), default=0)
        if before is not None and codes.sampled:
            changed = {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
            manifest = manifest.noted("resumed_elsewhere", level=level, token=at, changed=changed)
        song.keep(replace(manifest, runs={**manifest.runs, str(level): now}))
