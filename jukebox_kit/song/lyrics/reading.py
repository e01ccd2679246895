"""Reads files of lyrics: text, or text with times."""

from __future__ import annotations

from pathlib import Path

from jukebox_kit._files import user_path
from jukebox_kit.errors import RequestError
from jukebox_kit.song.lyrics.lrc import phrases_of, text_of_lrc


def read_lyrics(path: Path) -> str:
    """Return the text of a lyrics file; RequestError if it is missing, and as in `decoded_lyrics`."""
    try:
        return decoded_lyrics(user_path(path).read_bytes(), str(path))
    except FileNotFoundError:
        raise RequestError(f"there is no lyrics file {path}.") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror}); pass a text file.") from None


def decoded_lyrics(content: bytes, source: str) -> str:
    """Return lyrics as text without a byte order mark, lines ending in a newline; times stay where they are.

    source: the file's name, which may end in .lrc; then metadata is left out if there are no times. RequestError if it
    is not text in UTF-8, or in UTF-16 with its mark, or about a time that cannot be.
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"{source} cannot be read as text ({error}); save the lyrics as UTF-8.") from None
    if "\0" in text:
        raise RequestError(f"{source} is not text in UTF-8; save the lyrics as UTF-8.")
    if source.lower().endswith(".lrc"):
        return text_of_lrc(text, source)
    phrases_of(text, source)  # here an error can name the file
    return text
