"""Finds songs of other programs: one file, one run's folder, or all in a folder, such as a whole Drive.

NAME/level_{2,1,0}/data.pth.tar   a run of the 2020 sampler; NAME_rank_{r}/… are the parts of one run under MPI
NAME.t                            the co-composer's list of codes
PROJECT-3-1-2.z                   a node of a web UI project's tree
NAME.pth.tar                      a run's file that was put elsewhere
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jukebox_kit._files import contents, is_litter
from jukebox_kit.errors import SongError
from jukebox_kit.song.interop.pickles import COMPOSER, RUN, WEB_UI
from jukebox_kit.song.song import is_song

DATA = "data.pth.tar"

LEVEL_FOLDERS = ("level_0", "level_1", "level_2")

NODES = (".z", ".zs")

RANK = re.compile(r"(.+)_rank_(\d+)")

# Browsers and file managers rename what exists already: data.pth (1).tar, data (1).pth.tar, Copy of data.pth.tar.
ENDING = r"\.pth(?![a-z]).*\.tar(?![a-z]).*"

PICKLE = re.compile(rf".+{ENDING}", re.IGNORECASE)

DATA_ALIKE = re.compile(rf"(?:.*\W)?data(?!_align|[a-z]).*{ENDING}", re.IGNORECASE)

# Weights, and alignments of lyrics: files of the same ending that hold no codes.
NO_SONGS = re.compile(rf"(?:.*\W)?(?:vqvae|prior_level_\d|data_align)(?![a-z]).*{ENDING}", re.IGNORECASE)

COUNTED = re.compile(r" ?\(\d+\)$")  # as in zs.t (1)

SETTINGS = (".yaml", ".yml", ".labels")


@dataclass(frozen=True)
class OldSource:
    """Files that make one song, or the tree of one project.

    paths: a run's folders in the order of their ranks, one file, or the nodes of a project.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]


def find_sources(place: Path) -> tuple[list[OldSource], bool]:
    """Return the sources at a place, and whether it is one song rather than a folder of songs.

    Raises SongError if nothing there can be imported.
    """
    if place.is_file():
        return [_file_source(place)], True
    ranks = _ranks(place)
    if not place.exists() and ranks:
        return [OldSource(RUN, place.name, tuple(ranks))], True
    if not place.is_dir():
        raise SongError(f"there is no file or folder {place}.")
    if is_song(place):
        raise SongError(f"{place} is already a song of this toolkit; resume it with: jukebox-kit resume {place}")
    place = place.absolute()
    data = find_data(place) if place.name in LEVEL_FOLDERS else None
    if data is not None:
        return [_file_source(data)], True
    if is_run(place):
        return [OldSource(RUN, place.name, (place,))], True
    sources = list(_walk(place))
    if not sources:
        zips = [path.name for path in contents(place) if path.suffix.lower() == ".zip"]
        raise SongError(
            f"{place} contains no songs of other programs; readable are run folders with level_2/{DATA}, and "
            f"files ending in .t, .z or .pth.tar"
            + (f"; import its zip files, such as {zips[0]}, one by one." if zips else ".")
        )
    return _with_own_names(sources, place), False


def project_of(node: Path) -> str:
    """Return the name of the project that a node belongs to.

    A project's name may end in a number, as nodes' names do; its settings file or else its folder tells them apart.
    """
    beside = [p.stem for p in node.parent.glob("*.y*ml") if not p.stem.endswith("-parents")]
    known = [name for name in (*beside, node.parent.absolute().name) if node.stem.startswith(f"{name}-")]
    numbered = re.fullmatch(r"(.+?)(?:-\d+)+", node.stem)
    return max(known, key=len) if known else numbered[1] if numbered else node.stem


def _file_source(path: Path) -> OldSource:
    path = path.absolute()
    if path.suffix in NODES:
        return OldSource(WEB_UI, project_of(path), (path,))
    if DATA_ALIKE.fullmatch(path.name):
        holder = path.parent.parent if path.parent.name in LEVEL_FOLDERS else path.parent
        return OldSource(RUN, holder.name, (path,))
    name = COUNTED.sub("", path.name)
    if name.endswith(".t"):
        return OldSource(COMPOSER, name.removesuffix(".t"), (path,))
    return OldSource(RUN, re.sub(ENDING, "", name, flags=re.IGNORECASE), (path,))


def find_data(folder: Path) -> Path | None:
    """Return the file of a run's level in its folder: `DATA`, or else the newest file with a name like it."""
    if (folder / DATA).is_file():
        return folder / DATA
    try:
        inside = contents(folder) if folder.is_dir() else []
    except SongError:  # a folder that cannot be read does not end a walk through a whole Drive
        return None
    alike = [path for path in inside if DATA_ALIKE.fullmatch(path.name) and path.is_file()]
    return max(alike, key=lambda path: path.stat().st_mtime, default=None)


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run of the 2020 sampler."""
    return any(find_data(folder / level) is not None for level in LEVEL_FOLDERS)


def is_needed(name: str) -> bool:
    """Return whether an import reads files of this name."""
    return _is_song_file(name) or name.endswith(SETTINGS)


def _is_song_file(name: str) -> bool:
    is_pickle = PICKLE.fullmatch(name) is not None and NO_SONGS.fullmatch(name) is None
    return is_pickle or COUNTED.sub("", name).endswith((".t", *NODES))


def _ranks(place: Path) -> list[Path]:
    """Return the folders that the processes of one MPI run wrote, in order."""
    found = [
        p.absolute()
        for p in place.parent.glob(f"{glob.escape(place.name)}_rank_*")
        if RANK.fullmatch(p.name) and is_run(p)
    ]
    return sorted(found, key=_rank)


def _rank(folder: Path) -> int:
    matched = RANK.fullmatch(folder.name)
    return int(matched[2]) if matched else -1


def _walk(place: Path) -> Iterator[OldSource]:
    """Yield the sources under a folder, in order; songs of this toolkit and hidden folders are passed over."""
    for name, folders, files in os.walk(place):
        here = Path(name)
        folders[:] = sorted(f for f in folders if f[0] != "." and not is_litter(f) and not is_song(here / f))
        families: dict[str, list[Path]] = {}
        for run in [f for f in folders if is_run(here / f)]:
            matched = RANK.fullmatch(run)
            families.setdefault(matched[1] if matched else run, []).append(here / run)
        yield from (OldSource(RUN, n, tuple(sorted(runs, key=_rank))) for n, runs in families.items())
        if is_run(here):
            folders[:] = [f for f in folders if f not in LEVEL_FOLDERS]
        projects: dict[str, list[Path]] = {}
        for path in sorted(here / f for f in files if f[0] != "." and not is_litter(f)):
            if path.suffix in NODES:
                projects.setdefault(project_of(path), []).append(path)
            elif _is_song_file(path.name) and not _is_of_run(path):
                yield _file_source(path)
        yield from (OldSource(WEB_UI, n, tuple(nodes)) for n, nodes in projects.items())


def _is_of_run(path: Path) -> bool:
    """Return whether a file belongs to a run, which is a source as a whole."""
    return path.parent.name in LEVEL_FOLDERS and path == find_data(path.parent)


def _with_own_names(sources: list[OldSource], place: Path) -> list[OldSource]:
    """Return the sources with names that differ: where two are alike, each takes those of its folders before it."""
    count = Counter(source.name for source in sources)
    named: list[OldSource] = []
    for source in sources:
        path = source.paths[0].parent.relative_to(place)
        longer = "-".join((*path.parts, source.name))
        named.append(replace(source, name=longer) if count[source.name] > 1 else source)
    twice = [name for name, n in Counter(source.name for source in named).items() if n > 1]
    named = [replace(s, name=f"{s.name}-{s.paths[0].suffix[1:] or 'run'}") if s.name in twice else s for s in named]
    number = Counter[str]()
    for i, source in enumerate(named):  # copies of one file in a folder
        number[source.name] += 1
        named[i] = replace(source, name=f"{source.name}-{n}") if (n := number[source.name]) > 1 else source
    return named
