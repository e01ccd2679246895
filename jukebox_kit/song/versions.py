"""The saved versions of a song, `versions/1`, `versions/2` …: its state before each edit."""

from __future__ import annotations

from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.files import SONG, VERSIONS, codes_name, version_name
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.song import Song

Levels = dict[int, LevelCodes]


def version_names(song: Song) -> tuple[str, ...]:
    """Return the names of the saved versions, oldest first, including damaged ones."""
    files = (name.split("/") for name in song.store.names(VERSIONS))
    return tuple(sorted((f[1] for f in files if f[2:] == [SONG] and f[1].isdecimal()), key=int))


def read_manifest(song: Song, name: str) -> Manifest:
    """Return a version's song.json; raises SongError if it is missing or damaged."""
    place = str(song.root / VERSIONS / name)
    content = song.store.read(version_name(name, SONG))
    if content is None:
        raise SongError(f"{place} is missing; put back a copy of it.")
    return Manifest.from_json(content, place)


def read_version(song: Song, name: str) -> tuple[Manifest, Levels]:
    """Return a version's manifest and levels; raises SongError if anything is missing or damaged."""
    place = str(song.root / VERSIONS / name)
    manifest = read_manifest(song, name)
    levels: Levels = {}
    for level in LEVELS:
        file = version_name(name, codes_name(level))
        content = song.store.read(file)
        if content is None:
            raise SongError(f"{song.root / file} is missing; put back a copy of it.")
        levels[level] = unpack_codes(content, str(song.root / file))
        shape = (manifest.request.items, manifest.resolved.plans[level].total)
        if levels[level].codes.shape != shape:
            raise SongError(f"{place} holds the codes of another song; put back a copy of it.")
    return manifest, levels


def keep_version(song: Song) -> str:
    """Save the present state as a new version; returns its name."""
    # The name of a version that was lost is not used again: undo and redo may still refer to it.
    taken = (*version_names(song), *song.manifest.undo, *song.manifest.redo)
    name = str(1 + max((int(known) for known in taken), default=0))
    write_levels(song, name, {level: song.level(level) for level in LEVELS})
    song.store.write(version_name(name, SONG), song.manifest.to_json())
    return name


def write_levels(song: Song, name: str, levels: Levels) -> None:
    """Save codes under the name of a version."""
    for level, codes in levels.items():
        song.store.write(version_name(name, codes_name(level)), pack_codes(codes))
