"""What a song is at one moment: song.json and the codes of its levels, each file read and checked once at most."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jukebox_kit.engine import UNMADE
from jukebox_kit.errors import SongError
from jukebox_kit.model import TOP
from jukebox_kit.song.codes import Codes, LevelCodes, unpack_codes
from jukebox_kit.song.files import codes_name, version_name
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.store.base import Store


@dataclass(frozen=True, eq=False)
class SongState:
    """A song's manifest and levels as they were read; a level is read when it is first needed.

    It stays true only while nobody else can write, so `Song` holds one for as long as it is locked and no longer. A
    write gives a new state, which takes over what was written.
    """

    store: Store
    manifest: Manifest
    levels: dict[int, LevelCodes] = field(default_factory=dict[int, LevelCodes])

    def level(self, level: int) -> LevelCodes:
        """Return a level's codes and how many of them were given; SongError where its file is damaged."""
        if level not in self.levels:
            self.levels[level] = self._read(level)
        return self.levels[level]

    def items(self, level: int) -> tuple[int, ...]:
        """Return the items that a level is sampled for: all at the top, below it those chosen for upsampling."""
        chosen = self.manifest.upsample if level != TOP else None
        return tuple(range(self.manifest.request.items)) if chosen is None else chosen

    def missing(self, level: int) -> int:
        """Return how many tokens are still to be sampled, of all items of a level together."""
        return int((self.level(level).codes[list(self.items(level))] == UNMADE).sum())

    def finished(self, level: int) -> bool:
        """Return whether every token of a level's items exists."""
        return not self.missing(level)

    def upper_codes(self, level: int) -> Codes | None:
        """Return the codes that a level is conditioned on, (items, tokens) int16; None for the top level.

        SongError where the items of that level have unsampled tokens.
        """
        if level == TOP:
            return None
        upper = level + 1
        if (self.level(upper).codes[list(self.items(level))] == UNMADE).any():
            raise SongError(
                f"level {level} of {self.store.root} needs level {upper} finished; run level_{upper} first."
            )
        return self.level(upper).codes

    def with_level(self, level: int, codes: LevelCodes) -> SongState:
        """Return the state after a level's codes were written."""
        return replace(self, levels=self.levels | {level: codes})

    def with_manifest(self, manifest: Manifest) -> SongState:
        """Return the state after song.json was written."""
        if manifest.settling is not None:  # it names other files of codes
            return SongState(self.store, manifest)
        return replace(self, manifest=manifest)

    def _read(self, level: int) -> LevelCodes:
        version, name = self.manifest.settling, codes_name(level)
        name = version_name(version, name) if version else name
        content = self.store.read(name)
        shape = (self.manifest.request.items, self.manifest.resolved.plans[level].total)
        if content is None:
            return LevelCodes.blank(*shape)
        codes = unpack_codes(content, f"{self.store.root}/{name}")
        if codes.codes.shape != shape:
            raise SongError(
                f"{self.store.root}/{name} has the shape of another song, {codes.codes.shape}; put back a copy of it."
            )
        return codes
