"""Saves a level while it is sampled: autosave, previews, progress, and events in the song's history."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from jukebox_kit.engine import UNSAMPLED, Model
from jukebox_kit.song import Codes, EventKind, LevelCodes, SongState, write_sounds
from jukebox_kit.steps.progress import Progress, RunSettings, check_stop

REPORTS_PER_SECOND = 4


class LevelWriter:
    """Saves a level's codes at intervals, writes previews, and reports progress.

    Its rows are the song's items, or the chunks of each in turn. `state` is the song's state after the last write.
    """

    def __init__(self, state: SongState, level: int, run: RunSettings, model: Model) -> None:
        self.state, self.level, self.run, self.model = state, level, run, model
        self.layout = state.layout(level)
        self.given = self.layout.given(self.level_codes)
        self.work = torch.from_numpy(self.layout.rows(self.level_codes).astype(np.int64)).to(model.device)
        self.saved = self.reported = self.previewed = time.monotonic()
        self.target_rows = [item * self.chunks + chunk for item in state.items(level) for chunk in range(self.chunks)]
        self.rows: tuple[int, ...] = ()
        self.tokens = self.work[:0]
        self.tokens_before = self.count_tokens()

    def count_tokens(self) -> int:
        """Return how many tokens of the target rows are sampled or given; see `ChunkLayout.count_played`."""
        total = 0
        for row in self.target_rows:
            chunk = row % self.chunks
            (first, last), start = self.layout.played[chunk], self.layout.starts[chunk]
            made = int((self.work[row, first - start : last - start] != UNSAMPLED).sum())
            total += made + (0 if chunk else first)
        return total

    @property
    def level_codes(self) -> LevelCodes:
        """The level as last saved."""
        return self.state.level(self.level)

    @property
    def chunks(self) -> int:
        """How many rows an item has."""
        return len(self.layout.starts)

    @property
    def unit(self) -> str:
        """The word for a row in messages."""
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

    def report_token(self, position: int) -> None:
        """Report progress after a token of the current rows, sampled or replayed; save and preview when it is time."""
        check_stop(self.state.root, self.run)
        now = time.monotonic()
        if now - self.reported >= 1 / REPORTS_PER_SECOND or position == self.work.shape[1] - 1:
            self.reported = now
            if self.run.progress:
                before, count = self.target_rows[: self.target_rows.index(self.rows[0])], self.layout.count_played
                done, total = count(before) + count(self.rows, position + 1), count(self.target_rows)
                self.run.progress(Progress(self.level, done, total, self.tokens_before))
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
        """Save all rows, (rows, L), unless they are saved already."""
        if not np.array_equal(rows, self.layout.rows(self.level_codes)):  # replayed tokens are saved already
            level_codes = self.layout.level(self.level_codes, rows)
            self.state = self.state.song.write_level(self.level, level_codes)

    def preview(self) -> None:
        """Write the audio and pictures of what is sampled so far, and the page."""
        self.state = write_sounds(self.state, self.level, self.model)

    def note(self, kind: EventKind, **facts: object) -> None:
        """Record an event in the song's history."""
        self.state = self.state.song.keep(self.state.manifest.noted(kind, level=self.level, **facts))

    def note_start(self) -> None:
        """Record in how many chunks the level is sampled, before its first token."""
        if self.chunks > 1 and not self.level_codes.sampled:
            self.note("started_in_chunks", chunks=self.chunks)

    def note_run(self, now: dict[str, Any]) -> None:
        """Record what the bits of the next tokens depend on, and where it differs from that of the tokens before."""
        level, codes, manifest = self.level, self.level_codes, self.state.manifest
        before = manifest.runs.get(str(level))
        if before == now:
            return
        at = min((made for made in codes.made if made < codes.codes.shape[1]), default=0)
        if before is not None and codes.sampled:
            changed = {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
            manifest = manifest.noted("resumed_elsewhere", level=level, token=at, changed=changed)
        self.state = self.state.song.keep(replace(manifest, runs={**manifest.runs, str(level): now}))
