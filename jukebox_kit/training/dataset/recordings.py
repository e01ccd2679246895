"""Which recordings a folder holds, and their artists, genres and lyrics, from metadata.csv or the folder's names."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jukebox_kit._files import contents, kept_path, shown_path
from jukebox_kit._settings import Faults
from jukebox_kit.errors import RequestError
from jukebox_kit.song import read_lyrics
from jukebox_kit.song.lyrics import phrases_of

METADATA = "metadata.csv"

COLUMNS = ("file", "artist", "genre", "lyrics")

DELIMITERS = (",", ";", "\t", "|")

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".au", ".caf", ".wma")

LYRICS = (".txt", ".lrc")


@dataclass(frozen=True)
class Recording:
    """A recording and its labels.

    path: absolute. line: of metadata.csv that lists it, as text; "" if it was found in the folder.
    """

    path: Path
    artist: str
    genre: str = "unknown"
    lyrics: str = ""
    line: str = ""

    def located(self, sentence: str) -> str:
        """Return a sentence about the recording with the line that lists it, or with its path."""
        if self.line:
            return f"{self.line}: {sentence}"
        path = shown_path(self.path)
        return sentence if sentence.startswith(path) else f"{path}: {sentence}"


def find_recordings(folder: Path) -> list[Recording]:
    """Return the recordings of a folder: those in its metadata.csv if there is one, otherwise all in it.

    Without a metadata.csv the artist is the folder's name, or that of the folder directly inside it that contains the
    recording. Lyrics are taken from a .txt or .lrc file of the recording's name beside it.

    Raises RequestError if there are no recordings, ConfigurationError with all faults of metadata.csv and their lines.
    """
    folder = kept_path(folder)
    if not folder.is_dir():
        raise RequestError(f"there is no folder {shown_path(folder)}; pass the folder that contains your recordings.")
    table = folder / METADATA
    found = _listed(table) if table.is_file() else _all_inside(folder)
    if not found:
        kinds = ", ".join(kind.removeprefix(".") for kind in SOUNDS)
        raise RequestError(f"{shown_path(folder)} contains no recordings; they may be {kinds}.")
    return found


def _all_inside(folder: Path) -> list[Recording]:
    recordings: list[Recording] = []
    for path in _files_below(folder):
        if path.suffix.lower() in SOUNDS:
            parents = path.relative_to(folder).parts
            artist = parents[0] if len(parents) > 1 else folder.name
            recordings.append(Recording(path, artist, lyrics=_lyrics_beside(path)))
    return recordings


def _files_below(folder: Path) -> Iterator[Path]:
    for path in contents(folder):
        if path.is_dir():
            yield from _files_below(path)
        else:
            yield path


def _lyrics_beside(path: Path) -> str:
    """Return the lyrics in a file of a recording's name, "" if there is none; RequestError as in `read_lyrics`."""
    for kind in LYRICS:
        beside = path.with_suffix(kind)
        if beside.is_file():
            return read_lyrics(beside)
    return ""


def _listed(table: Path) -> list[Recording]:
    """Return the recordings of a metadata.csv; ConfigurationError with all of its faults."""
    faults = Faults(Path(shown_path(table)))
    rows = _rows(table, faults)
    faults.check()
    _, columns = rows[0]
    recordings: list[Recording] = []
    first_lines: dict[str, int] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(columns):
            faults.add(
                line,
                f"it has {len(cells)} cells, and the first line has {len(columns)}; put text that contains the "
                f"delimiter into double quotes.",
            )
            continue
        values = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
        values |= {name: " ".join(values[name].split()) for name in ("artist", "genre") if name in values}
        recording = _recording(table, line, values, faults)
        if recording is not None:
            same = os.path.realpath(recording.path)
            if same in first_lines:
                faults.add(line, f"{values['file']} is in line {first_lines[same]} already; remove one of the two.")
            first_lines.setdefault(same, line)
            recordings.append(recording)
    faults.check()
    return recordings


def _recording(table: Path, line: int, values: dict[str, str], faults: Faults) -> Recording | None:
    """Return the recording of a row, None after reporting its fault."""
    if not values["file"]:
        faults.add(line, "the column file is empty; write the name of the recording.")
        return None
    path = table.parent / values["file"]
    try:
        if not path.is_file():
            faults.add(line, f"there is no file {values['file']} in {shown_path(table.parent)}.")
            return None
        lyrics = _lyrics_of(table, values.get("lyrics", "")) or _lyrics_beside(path)
    except (OSError, ValueError, RequestError) as error:  # impossible names; unreadable lyrics
        faults.add(line, str(error))
        return None
    artist, genre = values.get("artist", ""), values.get("genre", "")
    place = f"{shown_path(table)}, line {line}"
    return Recording(path, artist or table.parent.name, genre or "unknown", lyrics, place)


def _lyrics_of(table: Path, cell: str) -> str:
    """Return the lyrics of a cell: text, or the name of a .txt or .lrc file.

    RequestError if there is no such file, or about a time in the lyrics that cannot be.
    """
    if "\n" in cell or not cell.lower().endswith(LYRICS):
        phrases_of(cell)
        return cell
    path = table.parent / cell
    if not path.is_file():
        raise RequestError(f"there is no lyrics file {cell} in {shown_path(table.parent)}.")
    return read_lyrics(path)


def _rows(table: Path, faults: Faults) -> list[tuple[int, list[str]]]:
    """Return the rows of a metadata.csv that are not empty, each with its first line; the first has the columns."""
    text = _text(table, faults)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda one: (_known(header, one), header.count(one)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.add(line, f"it cannot be read as CSV ({error}); a double quote inside of quotes is written twice.")
        return []
    if not rows:
        faults.add(1, f"it is empty; its first line names the columns: {','.join(COLUMNS)}.")
        return []
    names = [name.strip().lower() for name in rows[0][1]]
    rows[0] = rows[0][0], names
    for name in names:
        if name not in COLUMNS or names.count(name) > 1:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            known = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(COLUMNS)}."
            what = f"the column {name!r} appears twice" if name in COLUMNS else f"there is no column {name!r}"
            faults.add(rows[0][0], f"{what}; {known}")
    if "file" not in names:
        faults.add(rows[0][0], f"the column file is missing; the columns are {', '.join(COLUMNS)}.")
    return rows


def _known(header: str, delimiter: str) -> int:
    return sum(cell.strip().strip('"').lower() in COLUMNS for cell in header.split(delimiter))


def _text(table: Path, faults: Faults) -> str:
    """Return the text of a metadata.csv, which spreadsheets write in UTF-8 or UTF-16."""
    content = table.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        faults.add(line, "it is not in UTF-8; save the table as CSV in UTF-8.")
        return ""
