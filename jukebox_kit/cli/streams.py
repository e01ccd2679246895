"""Standard output and error that never stop the work, whether closed, full, abandoned by their reader or not UTF-8."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import Any

NAMES = ("stdin", "stdout", "stderr")  # by file descriptor

ERRORS = "jukebox_kit.cli"  # the name of `_encoded` as an encoding's error handler


class Sink(io.RawIOBase):
    """Writes bytes to a file descriptor. After the first error, which is kept, everything else is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor, self.name = descriptor, f"<{NAMES[descriptor]}>"
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor, for programs that are started with it."""
        return self.descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self.descriptor)

    def write(self, content: Any) -> int:
        """Write some of the content, bytes or a view of them; returns how many bytes were written or dropped."""
        while self.error is None:
            try:
                return os.write(self.descriptor, content)
            except BlockingIOError:  # whoever shares the terminal or pipe may have made it so
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.error = error
        return len(content)

    @property
    def lost(self) -> str:
        """Why output was lost, as a sentence; empty if nothing was, or if its reader wanted no more, as `head` does."""
        if self.error is None or isinstance(self.error, BrokenPipeError):
            return ""
        reason = (self.error.strerror or str(self.error)).lower()
        return f"{self.name[1:-1]} could not be written ({reason}), but everything that was done is saved."


def use_utf8() -> None:
    """Start the program again in Python's UTF-8 mode if names of files can only be ASCII here, as with LC_ALL=C.

    Folders, albums and lyrics may be in any language, and are stored in UTF-8.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


def open_streams() -> Sink:
    """Replace the standard streams by ones that cannot fail; returns the one that standard output is written to.

    A stream that was closed becomes the null device: otherwise the next file that is opened, such as a song's codes,
    would take its number, and whatever writes to that number would write into the file. `sys.stdin` stays None if
    standard input was closed.
    """
    for descriptor in range(len(NAMES)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # opens under the lowest number that is free
    codecs.register_error(ERRORS, _encoded)
    sys.stderr = _text(Sink(2), sys.stderr)
    output = Sink(1)
    sys.stdout = _text(output, sys.stdout)
    return output


def _text(sink: Sink, before: Any) -> io.TextIOWrapper:
    """Return a text stream with the settings of the one before, which is None if it was closed."""
    encoding = "utf-8" if before is None else before.encoding
    if codecs.lookup(encoding).name == "ascii":  # the locale is not set; UTF-8 contains it
        encoding = "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(sink),
        encoding=encoding,
        errors=ERRORS,
        line_buffering=before is None or before.line_buffering,
        write_through=before is not None and before.write_through,
    )


def _encoded(error: UnicodeError) -> tuple[bytes, int]:
    r"""Return the bytes for characters that an encoding lacks: a file name's own bytes, otherwise as in \u65e5."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return b"".join(_bytes_of(character) for character in characters), error.end


def _bytes_of(character: str) -> bytes:
    from_a_name = "\udc80" <= character <= "\udcff"  # a byte of a file name that is not UTF-8
    return character.encode("ascii", "surrogateescape" if from_a_name else "backslashreplace")
