"""The saved versions of a song, `versions/1`, `versions/2` …: its state before each edit."""

from __future__ import annotations

from jukebox_kit._files import shown_path
from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.codes import LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.files import SONG, VERSIONS, codes_name, version_name
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.renamed import check_not_renamed
from jukebox_kit.song.state import SongState
from jukebox_kit.song.store.base import Store

Levels = dict[int, LevelCodes]


def version_names(state: SongState) -> tuple[str, ...]:
    """Return the names of the saved versions, oldest first, including damaged ones."""
    files = (name.split("/") for name in state.store.names(VERSIONS))
    return tuple(sorted((f[1] for f in files if f[2:] == [SONG] and f[1].isdecimal()), key=int))


def read_manifest(state: SongState, name: str) -> Manifest:
    """Return a version's song.json; raises SongError if it is missing or damaged."""
    place = shown_path(state.root / VERSIONS / name)
    content = state.store.read(version_name(name, SONG))
    if content is None:
        check_not_renamed(state.root, version_name(name, SONG))
        raise SongError(f"{place} is missing; put back a copy of it.")
    return Manifest.from_json(content, place)


def read_version(state: SongState, name: str) -> tuple[Manifest, Levels]:
    """Return a version's manifest and levels; raises SongError if anything is missing or damaged."""
    place = shown_path(state.root / VERSIONS / name)
    manifest = read_manifest(state, name)
    levels: Levels = {}
    for level in LEVELS:
        file = version_name(name, codes_name(level))
        content = state.store.read(file)
        if content is None:
            check_not_renamed(state.root, file)
            raise SongError(f"{shown_path(state.root / file)} is missing; put back a copy of it.")
        levels[level] = unpack_codes(content, shown_path(state.root / file))
        shape = (manifest.request.items, manifest.resolved.plans[level].total)
        if levels[level].codes.shape != shape:
            raise SongError(f"{place} contains the codes of another song; put back a copy of it.")
    return manifest, levels


def save_version(state: SongState) -> str:
    """Save the present state as a new version; returns its name."""
    # The name of a lost version is not reused, as undo and redo may still refer to it.
    used = (*version_names(state), *state.manifest.undo, *state.manifest.redo)
    name = str(1 + max((int(number) for number in used), default=0))
    write_levels(state.store, name, state.all_levels())
    state.store.write(version_name(name, SONG), state.manifest.to_json())
    return name


def write_levels(store: Store, name: str, levels: Levels) -> None:
    """Save codes under the name of a version."""
    for level, codes in levels.items():
        store.write(version_name(name, codes_name(level)), pack_codes(codes))
