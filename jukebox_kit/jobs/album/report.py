"""Reports on an album: its progress with a line for each rank, a table at the end, and both as JSON."""

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
from jukebox_kit.jobs.album.run import AlbumStatus
from jukebox_kit.jobs.album.schedule import SongTask
from jukebox_kit.model import DOWNWARD
from jukebox_kit.steps import duration

log = logging.getLogger(__name__)

REPORT_SECONDS = {True: 1.0, False: 15.0}  # between two reports; True: on a terminal


def lines(status: AlbumStatus) -> list[str]:
    """Return an album's progress: one line for all songs, then one for each busy rank."""
    done, failed = status.count("finished"), status.count("failed", "lost", "skipped", "stopped")
    working = len({rank.song for rank in status.busy})
    parts = [f"{done} of {len(status.works)} songs done", f"{working} in progress"]
    parts += [f"{failed} not"] if failed else []
    parts += [f"{status.share:.0%} of the tokens", f"{status.rate:,.0f} tokens/s"]
    parts += [f"{duration(status.left)} left"] if status.left is not None else []
    text = [", ".join(parts)]
    for rank in status.busy:
        share = f"{rank.done / rank.total:4.0%}" if rank.total else "starting"
        text.append(f"  {rank.summary}: {rank.task} {share}, {rank.rate:,.0f} tokens/s")
    return text


def table(works: Sequence[SongTask]) -> list[str]:
    """Return a line for each song's outcome, then one with the totals."""
    width = max(len(work.song.name) for work in works)
    text = list[str]()
    for work in works:
        done = f"{work.seconds:6.0f} s  {work.tokens:>9,} tokens"
        text.append(f"{work.song.name:<{width}}  {work.end:<8}  {done}  {work.why}".rstrip())
    ends = dict.fromkeys(("finished", "failed", "lost", "skipped", "stopped"), 0)
    for work in works:
        ends[work.end] += 1
    return [*text, ", ".join(f"{count} {end}" for end, count in ends.items() if count or end == "finished")]


def plan_lines(works: Sequence[SongTask], album: Album) -> list[str]:
    """Return what a run would do: a line for each song, then one with the totals."""
    width = max(len(work.song.name) for work in works)
    text = [f"{shown_path(album.path)}: {len(works)} songs into {shown_path(album.folder)}/"]
    for work in works:
        request = work.song.request
        left = "  ".join(f"level_{level} {work.left[level]:>9,}" for level in work.levels) or "done"
        about = f"{request.artist}, {request.genre}, {request.seconds:g} s, {request.items} items, seed {request.seed}"
        text.append(f"  {work.song.name:<{width}}  {about}  {left}")
        text += [f"    {note}" for note in work.song.notes]
    totals = "  ".join(f"level_{level} {sum(work.left[level] for work in works):,}" for level in DOWNWARD)
    return [*text, f"tokens to sample: {totals}"]


def as_json(album: Album, works: Sequence[SongTask], seconds: float) -> dict[str, Any]:
    """Return the outcome of an album as values that JSON can hold."""
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


class ProgressReporter:
    """Reports an album's progress on stderr, in its album.json and, whenever a song ends, on its page."""

    def __init__(self, album: Album) -> None:
        self.album = album
        self.drawn, self.reported, self.ended = 0, 0.0, -1

    def __call__(self, status: AlbumStatus) -> None:
        """Report a status, unless the last report was a moment ago."""
        terminal, now = sys.stderr.isatty(), time.monotonic()
        ended = status.count("") != self.ended
        if now - self.reported < REPORT_SECONDS[terminal] and not ended:
            return
        self.reported = now
        text = lines(status)
        back = f"\x1b[{self.drawn}F\x1b[J" if terminal and self.drawn else ""
        sys.stderr.write(back + "\n".join(text) + "\n")
        sys.stderr.flush()
        self.drawn = len(text)
        self.save(status, page=ended)
        self.ended = status.count("")

    def save(self, status: AlbumStatus, page: bool) -> None:
        """Write album.json and, if `page`, the album's page."""
        album = self.album
        content = as_json(album, status.works, status.seconds)
        content |= {"ranks": [asdict(rank) for rank in status.ranks], "progress": lines(status)}
        try:
            write_atomically(album.folder, "album.json", json.dumps(content, indent=1).encode())
            if page:
                facts = {"Made with": f"jukebox-kit album {shlex.quote(shown_path(album.path))}"}
                roots = [work.root for work in status.works]
                write_album_page(album.folder, album.path.stem, album.about, roots, facts)
        except SongError as error:  # the songs matter more, and another run may be writing its own
            log.warning("%s", error)
