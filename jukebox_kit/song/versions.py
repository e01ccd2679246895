"""The kept versions of a song, `versions/1`, `versions/2` …: what it was before each edit, to go back to."""

from __future__ import annotations

from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.song import Song

Levels = dict[int, LevelCodes]


def version_names(song: Song) -> tuple[str, ...]:
    """Return the names of the versions that are there, the oldest first, damaged ones too."""
    files = (name.split("/") for name in song.store.names("versions"))
    return tuple(sorted((f[1] for f in files if f[2:] == ["song.json"] and f[1].isdecimal()), key=int))


def read_manifest(song: Song, name: str) -> Manifest:
    """Return a version's song.json; SongError where it is gone or damaged."""
    place = f"{song.root}/versions/{name}"
    content = song.store.read(f"versions/{name}/song.json")
    if content is None:
        raise SongError(f"{place} is gone; put back a copy of it.")
    return Manifest.from_json(content, place)


def read_version(song: Song, name: str) -> tuple[Manifest, Levels]:
    """Return what a version holds; SongError where any of it is gone or damaged."""
    place = f"{song.root}/versions/{name}"
    manifest = read_manifest(song, name)
    levels: Levels = {}
    for level in LEVELS:
        held = song.store.read(f"versions/{name}/level_{level}/codes.safetensors")
        if held is None:
            raise SongError(f"{place}/level_{level}/codes.safetensors is gone; put back a copy of it.")
        levels[level] = unpack_codes(held, f"{place}/level_{level}/codes.safetensors")
        shape = (manifest.request.items, manifest.resolved.plans[level].total)
        if levels[level].codes.shape != shape:
            raise SongError(f"{place} holds the codes of another song; put back a copy of it.")
    return manifest, levels


def keep_version(song: Song) -> str:
    """Keep the song as it is under a new name; returns the name."""
    # A version that was lost keeps its name: the song may still say that one goes back to it.
    taken = (*version_names(song), *song.manifest.undo, *song.manifest.redo)
    name = str(1 + max((int(known) for known in taken), default=0))
    write_levels(song, name, {level: song.level(level) for level in LEVELS})
    song.store.write(f"versions/{name}/song.json", song.manifest.to_json())
    return name


def write_levels(song: Song, name: str, levels: Levels) -> None:
    """Keep codes under the name of a version."""
    for level, codes in levels.items():
        song.store.write(f"versions/{name}/level_{level}/codes.safetensors", pack_codes(codes))
