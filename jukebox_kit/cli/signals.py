"""Ctrl-C and the signals that ask a program to end: the work is saved, and one line says so."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STOPPED = 130  # the exit code of work that was stopped with everything saved, whichever the signal

INTERRUPTED = "jukebox-kit: interrupted."

CLI = Path(__file__).parent

FUNCTION = 1  # inspect.CO_OPTIMIZED, which the code of modules and classes lacks

_received: list[int] = []


def handle_signals() -> None:
    """Let the signals that end programs raise KeyboardInterrupt, except those that are ignored, as under nohup."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def restore_signals() -> None:
    """Let those signals end the process as they usually do, without a traceback while Python shuts down."""
    for number in ENDING:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)


def interrupted() -> bool:
    """Return whether a signal asked the program to end."""
    return bool(_received)


def exit_code() -> int:
    """Return the exit code of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _handle(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if _is_importing(frame):
        with suppress(OSError):
            os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(exit_code())
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a command is still importing what it needs, at which point nothing has been done yet.

    An exception that is raised in the seconds in which torch is imported may come out as another one, or not at all.
    """
    importing = False
    while frame is not None:
        code, file = frame.f_code, Path(frame.f_code.co_filename)
        if code.co_filename.startswith("<frozen importlib"):
            importing = True
        elif code.co_flags & FUNCTION and file.is_relative_to(CLI.parent):
            importing = importing and (file.parent == CLI or file.name == "__main__.py")  # otherwise a room is at work
        frame = frame.f_back
    return importing
