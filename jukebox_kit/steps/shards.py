"""Rows of a level made beside each other, by several processes at once; the level takes them in when its turn comes.

A share lies in its song's folder, `shares/level_1_rows_0-3_MARK`, with codes and a lease of its own, so that a song has
one worker and each share of it one. The mark says what its tokens follow from: of a song that was edited since, or that
goes on from other codes above, a share is worth nothing and is thrown away.
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

from jukebox_kit.engine import UNMADE, Model
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
    format_1_note,
    format_1_request,
    pack_codes,
    shard_name,
    shard_pattern,
    unpack_codes,
)
from jukebox_kit.song.store import Store, holder, open_store
from jukebox_kit.steps.level_writer import LevelWriter, layout_now
from jukebox_kit.steps.progress import RunSettings

Done = TypeVar("Done")

PATIENCE = 60.0  # seconds in which others who begin their shares let go of the song


@dataclass(frozen=True)
class Shard:
    """Some rows of a level, in a folder of their own; held by one process at a time."""

    store: Store
    level: int
    rows: range

    def codes(self, length: int) -> Codes:
        """Return the tokens so far, (rows, length)."""
        content = self.store.read(SHARD_CODES)
        if content is None:
            return LevelCodes.blank(len(self.rows), length).codes
        found = unpack_codes(content, str(self.store.root / SHARD_CODES)).codes
        if found.shape != (len(self.rows), length):
            raise SongError(f"{self.store.root} holds another number of tokens than its song; delete that folder.")
        return found

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of its making: `run`, what its bits depend on, and `notes`."""
        content = self.store.read(SHARD_FACTS)
        return {"run": None, "notes": []} if content is None else dict(json.loads(content))


class ShardWriter(LevelWriter):
    """Keeps the rows of a share alone, in its folder."""

    def __init__(self, share: Shard, song: Song, level: int, run: RunSettings, model: Model) -> None:
        super().__init__(song, level, run, model)
        self.share, self.own = share, list(share.rows)
        self.wanted = [row for row in self.wanted if row in share.rows]
        self.kept = share.codes(self.work.shape[1])
        kept = torch.from_numpy(self.kept.astype(np.int64)).to(self.work.device)
        self.work[self.own] = torch.where(kept == UNMADE, self.work[self.own], kept)
        self.stood = self.standing()

    def keep(self, rows: Codes) -> None:
        """See LevelWriter."""
        now = rows[self.own]
        if not np.array_equal(now, self.kept):
            self.share.store.write(SHARD_CODES, pack_codes(LevelCodes(now, (0,) * len(now))))
            self.kept = now

    def preview(self) -> None:
        """See LevelWriter; what others make is not known here."""

    def note(self, kind: EventKind, **facts: object) -> None:
        """See LevelWriter."""
        found = self.share.facts()
        self._write(found | {"notes": [*found["notes"], {"kind": kind, **facts}]})

    def note_run(self, now: dict[str, Any]) -> None:
        """See LevelWriter."""
        found = self.share.facts()
        if found["run"] not in (None, now):
            self.note("resumed_elsewhere", before=found["run"])
        self._write(self.share.facts() | {"run": now})

    def _write(self, facts: dict[str, Any]) -> None:
        self.share.store.write(SHARD_FACTS, json.dumps(facts, indent=1).encode())


@contextmanager
def held_shard(song: Song, level: int, rows: range) -> Iterator[Shard]:
    """Hold some rows of a level, which nobody else then works on; SongBusyError where somebody does.

    The song itself is held for a moment, in which nobody can be at work on it as a whole.
    """
    with ExitStack() as held:
        with _held_in_turn(song):
            held.enter_context((share := _begun(song, level, rows)).store.lock())
        yield share


def _begun(song: Song, level: int, rows: range) -> Shard:
    chunks = len(layout_now(song, level).starts)
    if not (rows and rows.step == 1 and rows.start >= 0 and rows.stop <= song.request.items * chunks):
        raise SongError(f"level {level} of {song.root} has rows 0 to {song.request.items * chunks - 1}, not {rows}.")
    root = song.root / shard_name(level, rows, _mark(song, level))
    store = open_store(root)
    store.begin()
    return Shard(store, level, rows)


def merge_shards(song: Song, level: int) -> bool:
    """Put into a level what its shares made, and do away with them; False where there are none.

    The song is held. SongBusyError where somebody is at work on a share.
    """
    paths, shares = sorted(song.root.glob(shard_pattern(level))), list[Shard]()
    if not paths:
        return False
    mark = _mark(song, level)
    for path in paths:
        name = SHARD_NAME.fullmatch(path.name)
        who = holder(path)
        if who is not None:
            raise SongBusyError(f"{path} is being worked on by {who}; wait for it or stop it.")
        if name and name["mark"] == mark:
            shares.append(Shard(open_store(path), level, range(int(name["first"]), int(name["last"]) + 1)))
        else:
            _remove(path)
    if shares:
        found, layout = song.level(level), layout_now(song, level)
        rows = layout.rows(found)
        for share in shares:
            own, made = list(share.rows), share.codes(rows.shape[1])
            rows[own] = np.where(rows[own] == UNMADE, made, rows[own])
        song.write_level(level, layout.level(found, rows))
        _note(song, level, shares)
    for share in shares:
        _remove(share.store.root)
    return bool(shares)


def _note(song: Song, level: int, shares: list[Shard]) -> None:
    """Record in the song's history how its shares were made."""
    manifest = song.manifest
    runs: dict[str, Any] = dict(manifest.runs)
    for share in shares:
        facts = share.facts()
        where: dict[str, Any] = {"level": level, "first_row": share.rows.start, "last_row": share.rows.stop - 1}
        manifest = manifest.noted("shard_merged", **where, run=facts["run"])
        for note in facts["notes"]:
            event = note | where if "kind" in note else format_1_note(note, level, share.rows)
            manifest = manifest.noted(**event)
        runs[str(level)] = facts["run"] or runs.get(str(level))
    song.keep(replace(manifest, runs=runs))


def _mark(song: Song, level: int) -> str:
    """Return what stands for all that a level's tokens follow from."""
    found, layout = song.level(level), layout_now(song, level)
    given = np.where(np.arange(layout.total) < np.array(found.given)[:, None], found.codes, UNMADE)
    facts = [
        format_1_request(asdict(song.request)),
        asdict(song.resolved),
        song.manifest.checkpoints,
        layout.starts,
        layout.length,
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(given.tobytes())
    if level < TOP:
        digest.update(song.codes(level + 1)[list(song.items(level))].tobytes())
    return digest.hexdigest()[:12]


@contextmanager
def _held_in_turn(song: Song) -> Iterator[None]:
    """Hold a song that others hold for moments only."""
    with ExitStack() as held:
        patiently(lambda: held.enter_context(song.locked()))
        yield


def patiently(do: Callable[[], Done]) -> Done:
    """Return what comes of doing something with a song that others hold for moments; SongBusyError where for longer."""
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
    with suppress(OSError):  # others may be in there
        path.parent.rmdir()
