"""The saved versions of a song, `versions/1`, `versions/2` …: its state before each edit."""

from __future__ import annotations

from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.song import Song

Levels = dict[int, LevelCodes]


def version_names(song: Song) -> tuple[str, ...]:
    """Return the names of the saved versions, oldest first, including damaged ones."""
    files = (name.split("/") for name in song.store.names("versions"))
    return tuple(sorted((f[1] for f in files if f[2:] == ["song.json"] and f[1].isdecimal()), key=int))


def read_manifest(song: Song, name: str) -> Manifest:
    """Return a version's song.json; raises SongError if it is missing or damaged."""
    place = f"{song.root}/versions/{name}"
    content = song.store.read(f"versions/{name}/song.json")
    if content is None:
        raise SongError(f"{place} is missing; put back a copy of it.")
    return Manifest.from_json(content, place)


def read_version(song: Song, name: str) -> tuple[Manifest, Levels]:
    """Return a version's manifest and levels; raises SongError if anything is missing or damaged."""
    place = f"{song.root}/versions/{name}"
    manifest = read_manifest(song, name)
    levels: Levels = {}
    for level in LEVELS:
        content = song.store.read(f"versions/{name}/level_{level}/codes.safetensors")
        if content is None:
            raise SongError(f"{place}/level_{level}/codes.safetensors is missing; put back a copy of it.")
        levels[level] = unpack_codes(content, f"{place}/level_{level}/codes.safetensors")
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
    song.store.write(f"versions/{name}/song.json", song.manifest.to_json())
    return name


def write_levels(song: Song, name: str, levels: Levels) -> None:
    """Save codes under the name of a version."""
    for level, codes in levels.items():
        song.store.write(f"versions/{name}/level_{level}/codes.safetensors", pack_codes(codes))
