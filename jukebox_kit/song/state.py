"""What a song is at one moment: song.json, codes and layouts of its levels, each file read and checked once at most."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jukebox_kit.engine import UNSAMPLED
from jukebox_kit.errors import SongError
from jukebox_kit.model import LEVELS, TOP
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song.chunks import ChunkLayout, chunks_at, layout_of
from jukebox_kit.song.codes import Codes, LevelCodes, unpack_codes
from jukebox_kit.song.files import codes_name, version_name
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.renamed import check_not_renamed
from jukebox_kit.song.request import Request, Resolved
from jukebox_kit.song.store.base import Store

if TYPE_CHECKING:
    from jukebox_kit.song.song import Song


@dataclass(frozen=True, eq=False)
class SongState:
    """A song's manifest and levels as they were read; a level is read when it is first needed.

    It holds only while no other process can write, so `Song.locked` yields one to be passed down. `Song.keep` and
    `Song.write_level` return the state after a write, which reads nothing again.
    """

    song: Song
    manifest: Manifest
    levels: dict[int, LevelCodes] = field(default_factory=dict[int, LevelCodes])

    @property
    def store(self) -> Store:
        """The song's folder."""
        return self.song.store

    @property
    def root(self) -> Path:
        """The path of the folder."""
        return self.song.root

    @property
    def shown_path(self) -> str:
        """The folder's path as messages show it."""
        return self.song.shown_path

    @property
    def definition(self) -> ModelDefinition:
        """The definition of the song's model."""
        return self.song.definition

    @property
    def sr(self) -> int:
        """Sample rate of the song's audio in samples per second."""
        return self.song.sr

    @property
    def request(self) -> Request:
        """The request."""
        return self.manifest.request

    @property
    def resolved(self) -> Resolved:
        """The request as the model reads it."""
        return self.manifest.resolved

    def level(self, level: int) -> LevelCodes:
        """Return a level's codes and how many of them were given; SongError if its file is damaged."""
        if level not in self.levels:
            self.levels[level] = self._read(level)
        return self.levels[level]

    def all_levels(self) -> dict[int, LevelCodes]:
        """Return the codes of levels 0, 1 and 2."""
        return {level: self.level(level) for level in LEVELS}

    def layout(self, level: int) -> ChunkLayout:
        """Return the rows in which a level is sampled."""
        return layout_of(self.resolved.plans[level], self.level(level), chunks_at(self.request.chunks, level))

    def items(self, level: int) -> tuple[int, ...]:
        """Return the items that a level is sampled for: all at the top, below it those chosen for upsampling."""
        chosen = self.manifest.upsample if level != TOP else None
        return tuple(range(self.request.items)) if chosen is None else chosen

    def missing(self, level: int) -> int:
        """Return how many tokens are still to be sampled, of all items of a level together."""
        return self._missing(level, self.items(level))

    def finished(self, level: int) -> bool:
        """Return whether every token of a level's items is sampled."""
        return not self.missing(level)

    def upper_codes(self, level: int) -> Codes | None:
        """Return the codes that a level is conditioned on, (items, tokens) int16; None for the top level.

        SongError if any of the items of this level is unfinished at the level above.
        """
        if level == TOP:
            return None
        upper = level + 1
        if self._missing(upper, self.items(level)):
            raise SongError(
                f"level {level} of {self.shown_path} needs level {upper} finished; run level_{upper} first."
            )
        return self.level(upper).codes

    def with_level(self, level: int, codes: LevelCodes) -> SongState:
        """Return the state after a level's codes were written."""
        return replace(self, levels=self.levels | {level: codes})

    def with_manifest(self, manifest: Manifest) -> SongState:
        """Return the state after song.json was written."""
        if manifest.settling is not None:  # its codes are in other files
            return SongState(self.song, manifest)
        return replace(self, manifest=manifest)

    def _missing(self, level: int, items: tuple[int, ...]) -> int:
        return int((self.level(level).codes[list(items)] == UNSAMPLED).sum())

    def _read(self, level: int) -> LevelCodes:
        version, name = self.manifest.settling, codes_name(level)
        name = version_name(version, name) if version else name
        content = self.store.read(name)
        shape = (self.request.items, self.resolved.plans[level].total)
        if content is None:
            check_not_renamed(self.root, name, ", or move it elsewhere to sample that level again")
            return LevelCodes.blank(*shape)
        codes = unpack_codes(content, f"{self.shown_path}/{name}")
        if codes.codes.shape != shape:
            raise SongError(
                f"{self.shown_path}/{name} has the shape of another song, {codes.codes.shape}; put back a copy of it."
            )
        return codes
