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

STOP = "stop"  # exists once all ranks are to save and stop


@dataclass(frozen=True)
class RankStatus:
    """What a rank is doing.

    summary: which rank it is. task: its summary, empty while waiting. done, total: its tokens. sampled_before: tokens
    that were sampled before it. rate: tokens per second. when: seconds since 1970 by the rank's clock, which is not
    compared with other clocks.
    """

    rank: int
    summary: str
    task: str = ""
    song: str = ""
    level: int = 0
    done: int = 0
    total: int = 0
    sampled_before: int = 0
    rate: float = 0.0
    process: int = 0
    when: float = 0.0


def write_rank_status(folder: Path, status: RankStatus) -> None:
    """Write a rank's status into the folder of its run; errors of the disk are ignored."""
    with suppress(OSError), replacing(folder / f"rank_{status.rank}.json", durable=False) as beside:
        beside.write_text(json.dumps(asdict(status) | {"when": time.time()}))


def read_rank_statuses(folder: Path, size: int) -> tuple[RankStatus, ...]:
    """Return the latest status of each of `size` ranks, omitting those that cannot be read."""
    statuses = list[RankStatus]()
    for number in range(size):
        with suppress(OSError, ValueError, TypeError):
            statuses.append(RankStatus(**json.loads((folder / f"rank_{number}.json").read_text())))
    return tuple(statuses)


def create_run_folder(album: Path) -> Path:
    """Create the folder of a new run, for the logs and statuses of its ranks; SongError if that fails."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = album / "logs" / f"{stamp}-{socket.gethostname()}-{os.getpid()}"
    make_folder(folder)
    return folder
