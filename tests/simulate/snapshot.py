"""A song as a new process reads it, to be compared with what it was before a step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from jukebox_kit.errors import SongError
from jukebox_kit.song import LevelCodes, Song, is_song, tree
from jukebox_kit.song.store.drive import not_arrived
from jukebox_kit.song.versions import read_version, version_names


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A song as it is read: the request and stacks as text, its levels, and a digest of each saved version.

    events: how many its history has.
    """

    facts: str
    levels: dict[int, LevelCodes]
    versions: dict[str, str]
    events: int
    song: Song

    def same(self, other: Snapshot) -> bool:
        """Return whether two snapshots are the same state of the song."""
        return self.facts == other.facts and _digest(self.levels) == _digest(other.levels)


def snapshot(root: Path, late: bool = False, begun: bool = False) -> Snapshot | None:
    """Return the song in a folder, None if there is none.

    late: or if files of it may not have arrived. begun: or if its first save is not on the mount.
    """
    if not is_song(root):
        return None
    try:
        song = Song.open(root)
    except SongError as error:
        if late or (begun and is_not_arrived(error, root)):
            return None
        raise
    state = song.state
    manifest = state.manifest
    versions: dict[str, str] = {}
    for name in version_names(state):
        version, levels = read_version(state, name)
        versions[name] = f"{version.request} {_digest(levels)}"
    if versions:
        tree(state)
    song.status()
    facts = repr((manifest.request, manifest.upsample, manifest.undo, manifest.redo))
    return Snapshot(facts, state.all_levels(), versions, len(manifest.history), song)


def is_not_arrived(error: Exception, root: Path) -> bool:
    """Return whether an error says that the first save of a song is not on its mount."""
    return str(error) == str(not_arrived(root))


def _digest(levels: dict[int, LevelCodes]) -> str:
    digest = hashlib.sha256()
    for level in sorted(levels):
        codes = levels[level]
        digest.update(repr((level, codes.codes.shape, codes.given, codes.joins)).encode() + codes.codes.tobytes())
        digest.update(b"" if codes.others is None else codes.others.tobytes())
    return digest.hexdigest()
