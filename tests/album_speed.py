"""Not a test: `python -m tests.album_speed FOLDER` shows how much faster more ranks make an album.

Six songs of the demo model are made by one rank and by two, or by as many as `--ranks` says, one thread each, in turn;
the medians of whole runs, starting and ending included, and their ratio are printed. Codes have to come out the same.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

from tests.album.launching import codes_of, made

SONGS = """
defaults: {{seconds: {seconds}, genre: dance}}
songs:
  - sweep: {{artist: [glass bells, saw strings, hollow reeds], seed: [1, 2]}}
"""


def main() -> None:
    """Print what each number of ranks takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--seconds", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    album = asked.folder / "six.yaml"
    album.write_text(SONGS.format(seconds=asked.seconds))
    counts = [int(count) for count in asked.ranks.split(",")]
    took: dict[int, list[float]] = {count: [] for count in counts}
    codes: dict[str, list[bytes]] = {}
    for _ in range(asked.rounds):
        for count in counts:
            songs = asked.folder / "songs"
            shutil.rmtree(songs, ignore_errors=True)
            begun = time.perf_counter()
            made(count, album, "--folder", songs)
            took[count].append(time.perf_counter() - begun)
            found = codes_of(songs)
            codes = codes or found
            sys.stdout.write(f"{count} ranks: {took[count][-1]:.1f} s, the same codes: {found == codes}\n")
            sys.stdout.flush()
    first = statistics.median(took[counts[0]])
    for count in counts:
        median = statistics.median(took[count])
        sys.stdout.write(
            f"median of {count} ranks: {median:.1f} s, {first / median:.2f} times as fast as {counts[0]}\n"
        )


if __name__ == "__main__":
    main()
