"""An album told: a line and one for each rank while it is made, a table at the end, and the same as JSON."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jukebox_kit._files import shown_path, write_atomically
from jukebox_kit.errors import SongError
from jukebox_kit.jobs.album.album import Album
from jukebox_kit.jobs.album.page import write_album_page
from jukebox_kit.jobs.album.run import AlbumStanding
from jukebox_kit.jobs.album.schedule import SongTask
from jukebox_kit.model import DOWNWARD
from jukebox_kit.steps import duration

log = logging.getLogger(__name__)

TELL_EVERY = {True: 1.0, False: 15.0}  # seconds between two tellings, on a terminal and elsewhere


def lines(standing: AlbumStanding) -> list[str]:
    """Return an album's progress: one line in all, and one for each busy rank."""
    done, failed = standing.count("finished"), standing.count("failed", "lost", "skipped", "stopped")
    working = len({status.song for status in standing.busy})
    parts = [f"{done} of {len(standing.works)} songs done", f"{working} in progress"]
    parts += [f"{failed} not"] if failed else []
    parts += [f"{standing.share:.0%} of the tokens", f"{standing.rate:,.0f} tokens/s"]
    parts += [f"{duration(standing.left)} left"] if standing.left is not None else []
    found = [", ".join(parts)]
    for status in standing.busy:
        share = f"{status.done / status.total:4.0%}" if status.total else "starting"
        found.append(f"  {status.words}: {status.task} {share}, {status.rate:,.0f} tokens/s")
    return found


def table(works: Sequence[SongTask]) -> list[str]:
    """Return each song's outcome, a line each, and one line for all."""
    width = max(len(work.song.name) for work in works)
    found = list[str]()
    for work in works:
        done = f"{work.seconds:6.0f} s  {work.tokens:>9,} tokens"
        found.append(f"{work.song.name:<{width}}  {work.end:<8}  {done}  {work.why}".rstrip())
    ends = dict.fromkeys(("finished", "failed", "lost", "skipped", "stopped"), 0)
    for work in works:
        ends[work.end] += 1
    return [*found, ", ".join(f"{count} {end}" for end, count in ends.items() if count or end == "finished")]


def planned(works: Sequence[SongTask], album: Album) -> list[str]:
    """Return what a run would do, a line for each song and one for all."""
    width = max(len(work.song.name) for work in works)
    found = [f"{shown_path(album.path)}: {len(works)} songs into {shown_path(album.folder)}/"]
    for work in works:
        asked = work.song.request
        left = "  ".join(f"level_{level} {work.left[level]:>9,}" for level in work.levels) or "done"
        about = f"{asked.artist}, {asked.genre}, {asked.seconds:g} s, {asked.items} items, seed {asked.seed}"
        found.append(f"  {work.song.name:<{width}}  {about}  {left}")
        found += [f"    {note}" for note in work.song.notes]
    whole = "  ".join(f"level_{level} {sum(work.left[level] for work in works):,}" for level in DOWNWARD)
    return [*found, f"tokens to sample: {whole}"]


def as_json(album: Album, works: Sequence[SongTask], seconds: float) -> dict[str, Any]:
    """Return an album's outcome as plain values."""
    songs = [
        {
            "name": work.song.name,
            "folder": shown_path(work.root),
            "end": work.end,
            "why": work.why,
            "levels_left": work.levels,
            "tokens": work.tokens,
            "seconds": work.seconds,
        }
        for work in works
    ]
    paths = {"album": shown_path(album.path), "folder": shown_path(album.folder)}
    return {**paths, "seconds": seconds, "songs": songs}


class Told:
    """Reports an album's progress: on stderr, in the folder's album.json, and on its page as songs end."""

    def __init__(self, album: Album) -> None:
        self.album = album
        self.drawn, self.told, self.ended = 0, 0.0, -1

    def __call__(self, standing: AlbumStanding) -> None:
        """Take note of how it stands."""
        terminal, now = sys.stderr.isatty(), time.monotonic()
        ended = standing.count("") != self.ended
        if now - self.told < TELL_EVERY[terminal] and not ended:
            return
        self.told = now
        found = lines(standing)
        back = f"\x1b[{self.drawn}F\x1b[J" if terminal and self.drawn else ""
        sys.stderr.write(back + "\n".join(found) + "\n")
        sys.stderr.flush()
        self.drawn = len(found)
        self.keep(standing, page=ended)
        self.ended = standing.count("")

    def keep(self, standing: AlbumStanding, page: bool) -> None:
        """Write what others can read."""
        album = self.album
        found = as_json(album, standing.works, standing.seconds)
        found |= {"ranks": [asdict(status) for status in standing.statuses], "told": lines(standing)}
        try:
            write_atomically(album.folder, "album.json", json.dumps(found, indent=1).encode())
            if page:
                facts = {"Made by": f"jukebox-kit album {shlex.quote(shown_path(album.path))}"}
                roots = [work.root for work in standing.works]
                write_album_page(album.folder, album.path.stem, album.about, roots, facts)
        except SongError as error:  # the songs are what counts; another run may be writing its own
            log.warning("%s", error)
