"""Not a test: `python tests/tables.py [NAME …]` measures the tables of the READMEs again and writes them.

In a README a table lies between `<!-- table NAME -->` and `<!-- end -->`, with the command that measured it, the date,
the commit and the machine below it. Run it on a quiet machine from a clean working tree, since the commit is recorded.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
ENGINE, CHECKS, TRAINING = (f"jukebox_kit/{room}/README.md" for room in ("engine", "checks", "training"))
GENRES = ("lullaby", "waltz", "march", "dance")

Rows = list[list[str]]


@dataclass(frozen=True)
class Table:
    """A table of a README. rows: makes its rows, the header first, of the JSON that `command` prints."""

    name: str
    readme: str
    command: str
    rows: Callable[[Any], Rows]


def speed(found: Any) -> Rows:
    """Return tokens per second of each contender, and how ours compares."""
    header = ["precision", "batch size", "from token", "ours, tokens/s", "% of the products alone", "times addmm"]
    ours = [row for row in found["rows"] if row["who"] == "ours"]
    peers = sorted({peer for row in ours for peer in row["against"]})
    rows = [[*header, *(f"times {peer}" for peer in peers)]]
    for row in ours:
        ratios = [row["products_percent"], row["addmm_percent"] / 100, *(row["against"].get(peer) for peer in peers)]
        shown = [f"{ratios[0]:.0f}", *("" if ratio is None else f"{ratio:.1f}" for ratio in ratios[1:])]
        rows.append([row["weights"], str(row["batch"]), str(row["at"]), f"{row['tokens_per_second']:,.0f}", *shown])
    return rows


def gains(found: Any) -> Rows:
    """Return the milliseconds of a step without and with each optimisation."""
    rows = [["prior", "batch size", "optimisation", "ms without", "ms with", "gain"]]
    for row in found:
        cells = f"{row['off_ms']:.2f}", f"{row['on_ms']:.2f}", f"{row['off_ms'] / row['on_ms'] - 1:+.0%}"
        rows.append([row["shape"], str(row["batch"]), row["name"], *cells])
    return rows


def flat(found: Any) -> Rows:
    """Return seconds of work per second of audio by the length of the song, then the two ends of a window."""
    rows = [["", "time", "peak memory"]]
    for length in found["lengths"]:
        cost = f"{length['seconds'] / length['song_seconds']:.3f} s per second of audio"
        rows.append([f"a song of {length['song_seconds']:g} s", cost, f"{length['memory_bytes'] / 2**20:.0f} MiB"])
    window = found["window"]
    for end in ("first", "last"):
        rows.append([f"the {end} {window['tokens']} tokens of a window", f"{window[f'{end}_ms']:.3f} ms per token", ""])
    return rows


def bits(found: Any) -> Rows:
    """Return bits per token, a row for each level, a column for each precision and engine."""
    columns = list(dict.fromkeys((row["weights"], row["engine"]) for row in found["bits"]))
    cells = {(row["level"], row["weights"], row["engine"]): f"{row['bits']:.4f}" for row in found["bits"]}
    rows = [["", *(f"{weights}, {engine}" for weights, engine in columns)]]
    levels = sorted({level for level, _, _ in cells}, reverse=True)
    return rows + [[f"level {level}", *(cells.get((level, *column), "") for column in columns)] for level in levels]


def heard(found: Any) -> Rows:
    """Return what is recognised in synthesised clips, in their decoded codes, and in sampled songs."""
    rows = [["input", "artist", "genre", f"on the scale ({' / '.join(GENRES)})", "tempo within 3%", "vowels"]]
    names = {"clean": "synthesised clips"}
    names |= {f"decoded_level_{level}": f"level {level} codes, decoded" for level in (0, 1, 2)}
    names |= {f"sampled_level_{level}": f"sampled, level {level}" for level in (2, 1, 0)}
    for key, name in names.items():
        one = found[key]
        by_genre = [
            " / ".join(f"{one[of][genre]:.0%}" for genre in GENRES) for of in ("scale_share", "tempo_within_3_percent")
        ]
        right = [f"{one[of]:.0%}" for of in ("artist_right", "genre_right")]
        rows.append([name, *right, *by_genre, f"{one['vowels_as_the_lyrics_say']:.0%}"])
    return rows


def distances(found: Any) -> Rows:
    """Return log-spectral distances to the clean clips, a column for each floor."""
    by_name = found["distance_to_clean_db"]
    names = {f"decoded_level_{level}": f"level {level} codes, decoded" for level in (0, 1, 2)}
    names |= {f"level_2_upsampled_to_{level}": f"level 2 codes, upsampled to level {level}" for level in (1, 0)}
    floors = list(next(iter(by_name.values())))
    rows = [["dB above a floor of", *(floor.removeprefix("above_").replace("_db", " dB") for floor in floors)]]
    return rows + [[names[name], *(f"{one[floor]:.1f}" for floor in floors)] for name, one in by_name.items()]


def training_cards(found: Any) -> Rows:
    """Return what the plan chooses for graphics cards."""
    cards = found["cards"]
    models = [name for name in cards[0] if name != "gigabytes"]
    rows = [["card", *models]]
    for card in cards:
        plans = (card[name] for name in models)
        cells = (
            f"base in {plan['base']}, batch size {plan['batch']}: {plan['planned'] / 2**30:.1f} GiB"
            if plan
            else "does not fit"
            for plan in plans
        )
        rows.append([f"{card['gigabytes']} GB", *cells])
    return rows


ONE = "OMP_NUM_THREADS=1"
EVALUATE = "jukebox-kit evaluate --seeds 1"
BENCH = f"{ONE} jukebox-kit bench --json --against transformers"
TABLES = (
    Table(
        "speed",
        ENGINE,
        f"{BENCH} --shape 1024x24 --batch-size 1,4 --at 0,4096 --precision float32,int8 --tokens 8",
        speed,
    ),
    Table("speed-demo", ENGINE, f"{BENCH} --shape 256x6 --at 0,4096", speed),
    Table("gains", ENGINE, f"{ONE} python tests/gains.py --json", gains),
    Table("flat", ENGINE, f"{ONE} jukebox-kit bench --flat --json", flat),
    Table("bits", ENGINE, "jukebox-kit bench --bits --json", bits),
    Table("heard", CHECKS, EVALUATE, heard),
    Table("distances", CHECKS, EVALUATE, distances),
    Table("training-cards", TRAINING, "python -m tests.training_memory --plan", training_cards),
)


def measured(command: str) -> Any:
    """Run a command in the root of the repository, and return the JSON that it prints."""
    words = shlex.split(command)
    settings = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
    program = {"jukebox-kit": [sys.executable, "-m", "jukebox_kit"], "python": [sys.executable]}
    name, *rest = words[len(settings) :]
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*program[name], *rest], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def clean_commit() -> str:
    """Return the commit of the working tree; exit where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    if described.endswith("-dirty"):
        raise SystemExit(
            "the working tree has changes; commit them first, since the tables say which commit they measured."
        )
    return described


def origin(command: str, commit: str) -> str:
    """Return the line below a table: its command, the date, the commit and the machine."""
    day = datetime.now(timezone.utc).date()
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    machine = f"{os.cpu_count()} cores of {cpu[1] if cpu else 'an unknown CPU'}, torch {torch.__version__}"
    return f"*`{command}`, {day}, at {commit}, on {machine}.*"


def write(table: Table, rows: Rows, source: str) -> None:
    """Replace a table in its README; source: the line below it."""
    path = ROOT / table.readme
    lines = ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]
    block = "\n".join([f"<!-- table {table.name} -->", *lines, "", source, "<!-- end -->"])
    pattern = rf"<!-- table {table.name} -->.*?<!-- end -->"
    text, count = re.subn(pattern, lambda _: block, path.read_text(encoding="utf-8"), flags=re.S)
    if count != 1:
        raise SystemExit(f"{path} has {count} places for the table {table.name}; it needs one.")
    path.write_text(text, encoding="utf-8")


def main(names: list[str]) -> None:
    """Measure some tables, by default all; a command that gives several is run once."""
    unknown = set(names) - {table.name for table in TABLES}
    if unknown:
        known = ", ".join(table.name for table in TABLES)
        raise SystemExit(f"there is no table {', '.join(sorted(unknown))}; choose of {known}.")
    commit = clean_commit()
    results: dict[str, Any] = {}
    for table in TABLES:
        if not names or table.name in names:
            if table.command not in results:
                results[table.command] = measured(table.command)
            write(table, table.rows(results[table.command]), origin(table.command, commit))


if __name__ == "__main__":
    main(sys.argv[1:])
