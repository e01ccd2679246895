"""The program `jukebox-kit`, also as `python -m jukebox_kit`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported ends it with one line, as later."""
    try:
        from jukebox_kit.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("jukebox-kit: interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
