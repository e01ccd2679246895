"""Shards: rows of a level that are sampled by other processes, and then merged by the level's own step.

A shard is a folder in the song's folder, `shares/level_1_rows_0-3_MARK`, with its own codes and lease, so that one
process works on it at a time. The mark is a hash of everything that its tokens depend on: shards from before an edit,
or of a level whose upper level has changed, are deleted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from jukebox_kit._files import explained, shown_path
from jukebox_kit.engine import UNSAMPLED, Model
from jukebox_kit.errors import SongBusyError, SongError
from jukebox_kit.model import TOP
from jukebox_kit.song import (
    SHARD_CODES,
    SHARD_FACTS,
    SHARD_NAME,
    Codes,
    EventKind,
    LevelCodes,
    Song,
    SongState,
    format_1_note,
    format_1_request,
    pack_codes,
    shard_name,
    shard_pattern,
    unpack_codes,
)
from jukebox_kit.song.store import Store, holder, open_store
from jukebox_kit.steps.level_writer import LevelWriter
from jukebox_kit.steps.progress import RunSettings

Done = TypeVar("Done")

PATIENCE = 60.0  # seconds to wait for processes that lock the song while they start their shards


@dataclass(frozen=True)
class Shard:
    """Some rows of a level, in their own folder; one process works on it at a time."""

    store: Store
    level: int
    rows: range

    def codes(self, length: int) -> Codes:
        """Return the tokens so far, (rows, length)."""
        content = self.store.read(SHARD_CODES)
        if content is None:
            return LevelCodes.blank(len(self.rows), length).codes
        codes = unpack_codes(content, shown_path(self.store.root / SHARD_CODES)).codes
        if codes.shape != (len(self.rows), length):
            raise SongError(
                f"{shown_path(self.store.root)} has another number of tokens than its song; delete that folder."
            )
        return codes

    def facts(self) -> dict[str, Any]:
        """Return what was recorded while it was sampled: `run`, what its bits depend on, and `notes`, its events."""
        content = self.store.read(SHARD_FACTS)
        return {"run": None, "notes": []} if content is None else dict(json.loads(content))


class ShardWriter(LevelWriter):
    """Saves the rows of a shard in its folder."""

    def __init__(self, shard: Shard, state: SongState, level: int, run: RunSettings, model: Model) -> None:
        super().__init__(state, level, run, model)
        self.shard, self.shard_rows = shard, list(shard.rows)
        self.target_rows = [row for row in self.target_rows if row in shard.rows]
        self.saved_rows = shard.codes(self.work.shape[1])
        saved = torch.from_numpy(self.saved_rows.astype(np.int64)).to(self.work.device)
        self.work[self.shard_rows] = torch.where(saved == UNSAMPLED, self.work[self.shard_rows], saved)
        self.tokens_before = self.count_tokens()

    def keep(self, rows: Codes) -> None:
        """See LevelWriter."""
        now = rows[self.shard_rows]
        if not np.array_equal(now, self.saved_rows):
            self.shard.store.write(SHARD_CODES, pack_codes(LevelCodes(now, (0,) * len(now))))
            self.saved_rows = now

    def preview(self) -> None:
        """See LevelWriter; nothing is written, as the other rows are not known here."""

    def note(self, kind: EventKind, **facts: object) -> None:
        """See LevelWriter."""
        saved = self.shard.facts()
        self._write(saved | {"notes": [*saved["notes"], {"kind": kind, **facts}]})

    def note_start(self) -> None:
        """See LevelWriter; nothing to record, as a shard is named after its rows."""

    def note_run(self, now: dict[str, Any]) -> None:
        """See LevelWriter."""
        saved = self.shard.facts()
        if saved["run"] not in (None, now):
            self.note("resumed_elsewhere", before=saved["run"])
        self._write(self.shard.facts() | {"run": now})

    def _write(self, facts: dict[str, Any]) -> None:
        self.shard.store.write(SHARD_FACTS, json.dumps(facts, indent=1).encode())


@contextmanager
def held_shard(song: Song, level: int, rows: range) -> Iterator[tuple[Shard, SongState]]:
    """Lock some rows of a level and yield them with the song's state; SongBusyError if another process has them.

    The song itself is locked for a moment, so no step of the whole song can be running.
    """
    with ExitStack() as held:
        with _held_in_turn(song) as state:
            held.enter_context((shard := _start_shard(state, level, rows)).store.lock())
        yield shard, state


def _start_shard(state: SongState, level: int, rows: range) -> Shard:
    chunks = len(state.layout(level).starts)
    if not (rows and rows.step == 1 and rows.start >= 0 and rows.stop <= state.request.items * chunks):
        last = state.request.items * chunks - 1
        raise SongError(f"level {level} of {state.shown_path} has rows 0 to {last}, not {rows}.")
    root = state.root / shard_name(level, rows, _mark(state, level))
    store = open_store(root)
    store.begin()
    return Shard(store, level, rows)


def merge_shards(state: SongState, level: int) -> SongState:
    """Merge a level's shards into it and delete them; returns the state after that, the same if there are none.

    The song must be locked. SongBusyError if a shard is being worked on.
    """
    with explained(state.root, "read"):
        paths, shards = sorted(state.root.glob(shard_pattern(level))), list[Shard]()
    if not paths:
        return state
    mark = _mark(state, level)
    for path in paths:
        name = SHARD_NAME.fullmatch(path.name)
        if holder(path) is not None:
            with open_store(path).lock():  # waits until its process proves gone; SongBusyError if it is alive
                pass
        if name and name["mark"] == mark:
            shards.append(Shard(open_store(path), level, range(int(name["first"]), int(name["last"]) + 1)))
        else:
            _remove(path)
    if shards:
        codes, layout = state.level(level), state.layout(level)
        rows = layout.rows(codes)
        for shard in shards:
            at, sampled = list(shard.rows), shard.codes(rows.shape[1])
            rows[at] = np.where(rows[at] == UNSAMPLED, sampled, rows[at])
        state = _note(state.song.write_level(level, layout.level(codes, rows)), level, shards)
    for shard in shards:
        _remove(shard.store.root)
    return state


def _note(state: SongState, level: int, shards: list[Shard]) -> SongState:
    """Record in the song's history how its shards were sampled."""
    manifest = state.manifest
    runs: dict[str, Any] = dict(manifest.runs)
    for shard in shards:
        facts = shard.facts()
        where: dict[str, Any] = {"level": level, "first_row": shard.rows.start, "last_row": shard.rows.stop - 1}
        manifest = manifest.noted("shard_merged", **where, run=facts["run"])
        for note in facts["notes"]:
            event = note | where if "kind" in note else format_1_note(note, level, shard.rows)
            manifest = manifest.noted(**event)
        runs[str(level)] = facts["run"] or runs.get(str(level))
    return state.song.keep(replace(manifest, runs=runs))


def _mark(state: SongState, level: int) -> str:
    """Return a short hash of everything that a level's tokens depend on."""
    codes, layout = state.level(level), state.layout(level)
    given = np.where(np.arange(layout.total) < np.array(codes.given)[:, None], codes.codes, UNSAMPLED)
    facts = [
        format_1_request(asdict(state.request)),
        state.resolved.fields(),
        state.manifest.checkpoints,
        layout.starts,
        layout.length,
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(given.tobytes())
    if level < TOP:
        digest.update(state.level(level + 1).codes[list(state.items(level))].tobytes())
    return digest.hexdigest()[:12]


@contextmanager
def _held_in_turn(song: Song) -> Iterator[SongState]:
    """Lock a song that other processes lock only for moments."""
    with ExitStack() as held:
        yield patiently(lambda: held.enter_context(song.locked()))


def patiently(do: Callable[[], Done]) -> Done:
    """Return the result of `do` on a song that others lock only for moments; SongBusyError if it stays locked."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return do()
        except SongBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # it may hold other shards
        path.parent.rmdir()
