"""Plays many histories and prints what happened in them; see `tests/README.md`."""

from __future__ import annotations

import argparse
import sys

from tests.simulate.history import history_of
from tests.simulate.run import broken, report, run_seeds, simulating


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate")
    parser.add_argument("--seed", type=int, default=0, help="of the first history; the next ones follow")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no more are begun")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--tell", action="store_true", help="print what happens in the history of the seed")
    given = parser.parse_args()
    if given.tell:
        with simulating() as model:
            what, lines = broken(history_of(given.seed), model)
        sys.stdout.write("\n".join([history_of(given.seed).words, "", *lines, what or "no promise was broken", ""]))
        sys.exit(1 if what else 0)
    outcome = run_seeds(given.seed, given.histories, given.minutes * 60, given.processes)
    sys.stdout.write(report(outcome))
    sys.exit(1 if outcome.failure else 0)


if __name__ == "__main__":
    main()
