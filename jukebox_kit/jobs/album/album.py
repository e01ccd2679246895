"""An album as its YAML file describes it: songs with defaults and sweeps, all checked before anything is sampled.

configs/albums/ has examples. One error lists all faults of a file, each with its line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from jukebox_kit._files import kept_path, shown_path, user_path
from jukebox_kit._settings import Faults
from jukebox_kit._yaml import Reader, is_null, line_of
from jukebox_kit.jobs.album.songs import read_drafts
from jukebox_kit.jobs.album.validate import Checks
from jukebox_kit.song import Request, Resolved, is_song


@dataclass(frozen=True)
class AlbumSong:
    """One song of an album.

    name: of its folder.
    line: where it begins in the album's file.
    request: normalised, as the song will save it.
    resolved: the request as the model reads it.
    """

    name: str
    line: int
    request: Request
    resolved: Resolved

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on where the model differs from the request, such as an unknown artist."""
        return self.resolved.notes


@dataclass(frozen=True)
class Album:
    """The songs in the order of their file, and the folder that they are saved in. Both paths are absolute."""

    path: Path
    folder: Path
    about: str
    songs: tuple[AlbumSong, ...]

    def folder_of(self, song: AlbumSong) -> Path:
        """Return a song's folder."""
        return self.folder / song.name


def load_album(path: Path, folder: Path | None = None) -> Album:
    """Read an album's YAML file; nothing is written.

    folder: by default the one that the file names, or songs/ and the file's name. ConfigurationError lists every fault
    with its line; RequestError if there is no such file. Each model's definition, tables and files are checked once.
    """
    path = user_path(path)
    faults = Faults(path)
    reader = Reader(path, faults, f"there is no album file {path}; see configs/albums for some to copy.")
    root = reader.root()
    if root is None:
        faults.add(1, "the file is empty; an album needs songs.")
        faults.check()
    assert root is not None  # or there was a fault
    entries = reader.entries(root, "an album", ("about", "folder", "defaults", "songs"))
    if not isinstance(root, yaml.MappingNode):
        faults.check()
    texts = {
        name: reader.text(entries[name].node, name)
        for name in ("about", "folder")
        if name in entries and not is_null(entries[name].node)
    }
    place = kept_path(folder or texts.get("folder") or f"songs/{path.stem}")
    if place.exists() and (not place.is_dir() or is_song(place)):
        line = line_of(entries["folder"].node if "folder" in entries else root)
        kind = "a song" if place.is_dir() else "a file"
        faults.add(line, f"{shown_path(place)} is {kind}; choose another folder for the album's songs.")
    drafts = read_drafts(reader, entries, line_of(root))
    checks, songs = Checks(faults), list[AlbumSong]()
    for draft in drafts:
        made = checks.song(draft.fields, draft.line, None if draft.name is None else place / draft.name)
        if made is not None and draft.name is not None:
            songs.append(AlbumSong(draft.name, draft.line, *made))
    faults.check()
    return Album(kept_path(path), place, texts.get("about") or "", tuple(songs))
