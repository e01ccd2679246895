"""The status of each rank of a run, as files in the run's folder, readable by other processes and by you."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from jukebox_kit._files import make_folder, replacing

STOP = "stop"  # there once rank 0 wants all to save and end


@dataclass(frozen=True)
class RankStatus:
    """What a rank is doing.

    task: its summary, empty while waiting; done, total: its tokens; stood: those sampled before; rate: tokens a second;
    when: seconds since 1970 by the rank's clock, which no other clock is compared with.
    """

    rank: int
    words: str
    task: str = ""
    song: str = ""
    level: int = 0
    done: int = 0
    total: int = 0
    stood: int = 0
    rate: float = 0.0
    process: int = 0
    when: float = 0.0


def write_rank_status(folder: Path, status: RankStatus) -> None:
    """Write a rank's status into its run's folder; a failing disk is no reason to stop."""
    with suppress(OSError), replacing(folder / f"rank_{status.rank}.json", durable=False) as beside:
        beside.write_text(json.dumps(asdict(status) | {"when": time.time()}))


def read_rank_statuses(folder: Path, size: int) -> tuple[RankStatus, ...]:
    """Return the latest status of each of `size` ranks, omitting those that cannot be read."""
    found = list[RankStatus]()
    for number in range(size):
        with suppress(OSError, ValueError, TypeError):
            found.append(RankStatus(**json.loads((folder / f"rank_{number}.json").read_text())))
    return tuple(found)


def begin_run(album: Path) -> Path:
    """Make the folder of a new run in an album's folder, for its ranks' logs and statuses; SongError if it cannot."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = album / "logs" / f"{stamp}-{socket.gethostname()}-{os.getpid()}"
    make_folder(folder)
    return folder
