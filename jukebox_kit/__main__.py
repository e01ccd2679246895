"""The program `jukebox-kit`, also as `python -m jukebox_kit`."""

from __future__ import annotations

import sys

from jukebox_kit.cli import signals, streams


def main() -> None:
    """Run the command line. What it is started with, such as closed streams or Ctrl-C, never ends in a traceback."""
    streams.use_utf8()
    signals.handle_signals()
    output = streams.open_streams()
    code: int | str | None = 0
    try:
        from jukebox_kit.cli.app import main as run

        run()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        if not (signals.interrupted() or isinstance(error, KeyboardInterrupt)):
            raise
        signals.restore_signals()
        sys.stderr.write(f"{signals.INTERRUPTED}\n")
        code = signals.exit_code()
    finally:
        signals.restore_signals()
        sys.stdout.flush()
    if output.lost:
        sys.stderr.write(f"jukebox-kit: {output.lost}\n")
    sys.exit(code or int(bool(output.lost)))


if __name__ == "__main__":
    main()
