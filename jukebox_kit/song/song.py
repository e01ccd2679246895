"""A song is a folder that contains the request, codes and audio of every level, readable without this package.

song.json                  see `manifest`
level_2/codes.safetensors  tokens so far, (items, tokens), with a checksum; likewise level_1 and level_0
level_2/item_0.wav …       the audio of that level, and item_0.png its picture
level_2/alignment.safetensors  when the lyrics are sung, see `alignment`
index.html                 the song as a page, see `page`
spectrogram.png            the levels of the first item
versions/                  the song before each edit
segments/                  on disks like Google Drive, the history of the files above
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Unpack

from jukebox_kit._files import contents, explained, kept_path, shown_path
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import DOWNWARD, LEVELS
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.song.arguments import item_number, level_number
from jukebox_kit.song.audio import wav_bytes
from jukebox_kit.song.chunks import level_audio
from jukebox_kit.song.codes import Codes, LevelCodes, pack_codes
from jukebox_kit.song.creation import check_codes, check_free, check_same, read_prompt, write_given
from jukebox_kit.song.files import PROMPT, SEGMENTS, SONG, codes_name
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.renamed import check_not_renamed, find_renamed
from jukebox_kit.song.request import Request, RequestFields, Resolved, load_model, normalise_request, resolve
from jukebox_kit.song.sampled_audio import SampledAudio
from jukebox_kit.song.state import SongState
from jukebox_kit.song.store.base import Store
from jukebox_kit.song.store.detect import open_store
from jukebox_kit.song.store.drive import not_arrived

if TYPE_CHECKING:
    from jukebox_kit.engine import Model


@dataclass(frozen=True)
class LevelStatus:
    """How far a level is, in tokens of all items that it is sampled for."""

    level: int
    done: int
    total: int


class Song:
    """A song folder. `create` makes a new one, `open` opens an existing one."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest
        self.loaded: Model | None = None  # the model of the last step that was called without one
        self._state: SongState | None = None  # while the song is locked

    @classmethod
    def create(cls, folder: str | Path, loaded: Model | None = None, **request: Unpack[RequestFields]) -> Song:
        """Create a song folder for a request, whose fields are those of `Request`; nothing is sampled yet.

        A folder that already has the same request is opened. Before anything is written, a folder with another song or
        other files raises SongError, and a request that the model cannot fulfil RequestError or LabelError.
        loaded: the model if it is loaded already, so that it need not be loaded again.
        """
        asked = normalise_request(request)
        store = _store_for(folder)
        if store.read(SONG) is not None:
            return cls.open(store.root)._if_same(asked)
        model, resolved = _prepared(store, asked, loaded)
        notes = list(resolved.notes)
        prompt = None if asked.prompt is None else read_prompt(asked, resolved, model, notes.append)
        resolved = dataclasses.replace(resolved, notes=tuple(notes))
        store.begin()
        with store.lock():
            if store.read(SONG) is not None:  # another process was quicker
                return cls.open(store.root)._if_same(asked)
            if prompt is not None:
                import torch  # slow to import, and songs are read without it

                store.write(PROMPT, wav_bytes(prompt, model.definition.vqvae.sr))
                audio = torch.from_numpy(prompt)[None, :, None].to(model.device)
                for level, codes in enumerate(model.vqvae.encode(audio)):
                    rows = codes.cpu().numpy().astype(np.int16).repeat(asked.items, 0)
                    write_given(store, level, LevelCodes.whole(rows), resolved)
            return cls._save_new(store, Manifest.new(asked, resolved, model))

    @classmethod
    def adopt(
        cls,
        folder: str | Path,
        codes: Mapping[int, LevelCodes],
        came_from: dict[str, Any],
        loaded: Model | None = None,
        **request: Unpack[RequestFields],
    ) -> Song:
        """Create a song folder for codes from elsewhere: any number of tokens of each level.

        Like those of a prompt, they are given and never sampled again. came_from: their source, for song.json. Raises
        what `create` does, and SongError if the folder already contains a song, or if the codes are not the model's or
        do not fit the request.
        """
        asked = normalise_request(request)
        store = _store_for(folder)
        model, resolved = _prepared(store, asked, loaded)
        for level, given in codes.items():
            check_codes(given.codes, level, asked, resolved, model.definition)
        store.begin()
        with store.lock():
            check_free(store)
            for level, given in codes.items():
                write_given(store, level, given, resolved)
            return cls._save_new(store, Manifest.new(asked, resolved, model, came_from))

    @classmethod
    def open(cls, folder: str | Path) -> Song:
        """Open a song folder; SongError if it is not one, is damaged, or was written by a newer version."""
        store = open_store(kept_path(folder))
        with explained(store.root, "read"):
            content = store.read(SONG) if store.root.is_dir() else None
        if content is None:
            raise _no_song(store.root)
        return cls(store, Manifest.from_json(content, str(folder)))

    @property
    def root(self) -> Path:
        """The folder, an absolute path."""
        return self.store.root

    @property
    def shown_path(self) -> str:
        """The folder's path as messages show it."""
        return shown_path(self.root)

    @property
    def request(self) -> Request:
        """The request."""
        return self.manifest.request

    @property
    def resolved(self) -> Resolved:
        """The request as the model reads it."""
        return self.manifest.resolved

    @cached_property
    def definition(self) -> ModelDefinition:
        """The definition of its model, which never changes."""
        return load_definition(self.request.model)

    @property
    def sr(self) -> int:
        """Sample rate of the song's audio in samples per second."""
        return self.definition.vqvae.sr

    @property
    def state(self) -> SongState:
        """The state of the song: while it is locked the one that was read then, otherwise read anew."""
        return self._state or SongState(self, self.manifest)

    @contextmanager
    def locked(self) -> Iterator[SongState]:
        """Lock the song and yield its state on disk; SongBusyError names the process that works on it.

        Until the lock is released, everything that is read through the song comes from one reading of each file.
        """
        with self.store.lock():
            content = self.store.read(SONG)
            if content is None:
                check_not_renamed(self.root, SONG)
                raise SongError(f"{shown_path(self.root / SONG)} is gone; put back a copy of it.")
            self.manifest = Manifest.from_json(content, self.shown_path)
            try:
                self._state = SongState(self, self.manifest)
                yield self._state if self.manifest.settling is None else self.settle()
            finally:
                self._state = None

    def settle(self) -> SongState:
        """Copy the version that song.json names to the song's own files: the repeatable last step of an edit."""
        for level in LEVELS:
            self.write_level(level, self.level(level))
        return self.keep(dataclasses.replace(self.manifest, settling=None))

    def level(self, level: int | str) -> LevelCodes:
        """Return a level's codes and how many of them were given."""
        return self.state.level(level_number(level))

    def codes(self, level: int | str) -> Codes:
        """Return a level's codes, (items, tokens) int16, -1 where not yet sampled."""
        return self.level(level).codes

    def write_level(self, level: int, codes: LevelCodes) -> SongState:
        """Save a level's codes; returns the song's state after that."""
        self.store.write(codes_name(level), pack_codes(codes))
        return self._written(self.state.with_level(level, codes))

    def keep(self, manifest: Manifest) -> SongState:
        """Save song.json; returns the song's state after that."""
        self.store.write(SONG, manifest.to_json())
        self.manifest = manifest
        return self._written(self.state.with_manifest(manifest))

    def items(self, level: int) -> tuple[int, ...]:
        """Return the items that a level is sampled for: all at the top, below it those chosen for upsampling."""
        return self.state.items(level)

    def status(self) -> tuple[LevelStatus, ...]:
        """Return how far each level is, level 2 first."""
        state = self.state
        totals = {level: len(state.items(level)) * self.resolved.plans[level].total for level in DOWNWARD}
        return tuple(LevelStatus(level, total - state.missing(level), total) for level, total in totals.items())

    def audio(self, level: int | str = 0, item: int = 0, model: Model | None = None) -> SampledAudio:
        """Return an item's audio decoded from a level's codes so far, (samples,) float32 with `.sr`, not clipped."""
        level, item = level_number(level), item_number(self.shown_path, self.request.items, item)
        vqvae = (model or self.loaded or load_model(self.request)).vqvae
        return SampledAudio.of(level_audio(vqvae, level, self.level(level), item), self.sr)

    def check_model(self, model: Model) -> None:
        """Raise SongError if a component's file is not the one that the song was created with."""
        now = model.fingerprints()
        changed = [name for name, mark in self.manifest.checkpoints.items() if now[name] != mark]
        if changed:
            raise SongError(
                f"{self.shown_path} was created with other {', '.join(changed)} weights than those on this machine; "
                f"restore those, or create a new song."
            )

    def _written(self, state: SongState) -> SongState:
        if self._state is not None:
            self._state = state
        return state

    @classmethod
    def _save_new(cls, store: Store, manifest: Manifest) -> Song:
        """Write song.json last: without it the folder is not a song, and an interrupted creation starts again."""
        song = cls(store, manifest)
        song.keep(manifest)
        store.publish()
        return song

    def _if_same(self, asked: Request) -> Song:
        check_same(self.root, self.request, asked)
        return self


def find_songs(folders: list[Path]) -> list[Path]:
    """Return the song folders among folders and their children; SongError if a folder does not exist."""
    songs: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise SongError(f"there is no folder {shown_path(folder)}.")
        inside = [folder, *(child for child in contents(folder) if child.is_dir())]
        songs += [child for child in inside if is_song(child)]
    return songs


def is_song(folder: Path) -> bool:
    """Return whether a folder seems to be a song, also one whose song.json was renamed, which `Song.open` explains."""
    with explained(folder, "read"):
        if (folder / SONG).exists() or (folder / SEGMENTS).is_dir():
            return True
    return find_renamed(folder, SONG) is not None


def _no_song(root: Path) -> SongError:
    """Return the error for a folder that is not a song; SongError if it is one whose song.json was renamed."""
    check_not_renamed(root, SONG)
    place = shown_path(root)
    with explained(root, "read"):
        if (root / SEGMENTS).is_dir():
            return not_arrived(root)
        inside = find_songs([root]) if root.is_dir() else []
    if inside:
        return SongError(f"{place} is not a song folder, but {shown_path(inside[0])} is; pass that one.")
    return SongError(f"{place} is not a song folder; make one with: jukebox-kit sample {place}")


def _prepared(store: Store, asked: Request, loaded: Model | None) -> tuple[Model, Resolved]:
    """Return the model, and the request as it reads it; raises what `Song.create` does before anything is written."""
    check_free(store)
    model = loaded or load_model(asked)
    if model.lora_scale != asked.lora_scale:
        raise RequestError(
            f"the model was loaded with lora_scale {model.lora_scale:g}, and the request has {asked.lora_scale:g}; "
            f"use the same for both.",
            field="lora_scale",
        )
    resolved = resolve(asked, model.definition, model.tables)
    model.check_files()
    return model, resolved


def _store_for(folder: str | Path) -> Store:
    root = kept_path(folder)
    with explained(root, "read"):
        if root.exists() and not root.is_dir():
            raise SongError(f"{folder} is a file; choose a folder for the song.")
    return open_store(root)
