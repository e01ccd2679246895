"""The markers of a project: lines of the lyrics, edits, and the seams of a level that was sampled in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS, TOP
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.lyrics.alignment import follow, read_alignments
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.state import SongState
from jukebox_kit.song.studio.project import Marker
from jukebox_kit.song.version_tree import last_edit
from jukebox_kit.song.versions import read_version, version_names

KEPT = {"created": "the prompt ends", "created_from": "what the song was created from ends"}


def markers_of(state: SongState, item: int) -> tuple[Marker, ...]:
    """Return the markers of an item in the order of time; those at one moment with one name are one.

    A line is where it is sung by the item's alignment, if it has one. An edit is where the tokens end that existed when
    it was made: what follows was sampled by the edited request. A seam is where one chunk takes over from another.
    """
    found = {*_lyrics(state, item), *_edits(state, item), *_seams(state, item)}
    return tuple(sorted(found, key=lambda marker: (marker.seconds, marker.kind, marker.name)))


def _lyrics(state: SongState, item: int) -> Iterator[Marker]:
    for one, alignment in read_alignments(state):
        for line in follow(alignment) if one == item else ():
            yield Marker(line.start, line.text, "lyrics")


def _edits(state: SongState, item: int) -> Iterator[Marker]:
    """Yield the edits that led to the present state, from its undo stack; those whose version is lost are left out."""
    versions: dict[str, tuple[Manifest, LevelCodes]] = {}
    for name in version_names(state):
        with suppress(SongError):
            manifest, levels = read_version(state, name)
            versions[name] = manifest, levels[TOP]
    manifests = {name: manifest for name, (manifest, _) in versions.items()}
    chain = [versions[name] for name in state.manifest.undo if name in versions]
    end = state.resolved.samples / state.sr
    for manifest, top in (*chain, (state.manifest, state.level(TOP))):
        seconds = top.given[min(item, len(top.given) - 1)] * state.definition.vqvae.hops[TOP] / state.sr
        event = last_edit(manifest, manifests)
        if event is not None and 0 < seconds < end:
            yield Marker(seconds, KEPT.get(event.kind, event.sentence), "edit")


def _seams(state: SongState, item: int) -> Iterator[Marker]:
    for level in LEVELS:
        codes = state.level(level)
        for join in codes.joins:
            if join.end <= codes.made[item]:
                seconds = join.cut * state.definition.vqvae.hops[level] / state.sr
                yield Marker(seconds, f"seam of level {level}", "seam")
