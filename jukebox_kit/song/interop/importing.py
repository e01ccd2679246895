"""Imports songs of other programs: missing facts are asked for, those in the files are checked, codes are kept."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_kit._files import kept_path, shown_path, user_path
from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError, RequestError, SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.model.weights import ModelDefinition, load_definition, shipped_models
from jukebox_kit.song.codes import Codes, LevelCodes
from jukebox_kit.song.interop.archives import Place, unpacked
from jukebox_kit.song.interop.finding import OldSource, find_sources
from jukebox_kit.song.interop.pickles import WEB_UI, WeightsError
from jukebox_kit.song.interop.sampler2020 import Found, OldSong, read_run
from jukebox_kit.song.interop.webui import read_project
from jukebox_kit.song.request import typed_fields
from jukebox_kit.song.song import Song, is_song

log = logging.getLogger(__name__)

OPTIONS = {"model": "--model", "artist": "--artist", "genre": "--genre", "lyrics": "--lyrics or --lyrics-file"}

# Called with a missing field (a name of OPTIONS) and the file that lacks it; returns the answer.
Ask = Callable[[str, Path], str]


@dataclass(frozen=True)
class ImportOverrides:
    """The user's values for fields of old songs; None for those that are left to the files.

    model, seconds, total_seconds and seed hold for every song. artist, genre and lyrics stand in where the files do
    not say them; where one song alone is imported they hold instead of what its files say.
    """

    model: str | None = None
    artist: str | None = None
    genre: str | None = None
    lyrics: str | None = None
    seconds: float | None = None
    total_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in typed_fields(given).items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ImportResult:
    """The result for an old song: a song, or a sentence that says why it failed, and notes for the user."""

    source: Path
    song: Song | None = None
    failed: str = ""
    notes: tuple[str, ...] = ()


def import_songs(
    place: Path, target: Path, answers: ImportOverrides | None = None, ask: Ask | None = None
) -> Iterator[ImportResult]:
    """Import the songs of a place and yield the result of each; one that fails does not stop the others.

    place: a file, a run's folder, a folder of several, or a zip file of these. One file or one run becomes the song
    `target` (songs in it, if its items differ in artist or lyrics); anything else becomes songs in `target`.
    ask: called for a field that neither the files nor `answers` have; without it such a song is refused.
    Raises SongError if nothing can be imported from there.
    """
    place, target = user_path(place), kept_path(target)
    with unpacked(place) as read:
        try:
            sources, alone = find_sources(read.path)
        except SongError as error:
            raise SongError(read.named(str(error))) from None
        models: dict[str, Model] = {}
        for source in sources:
            found = _read(source, read, alone)
            path = Path(read.named(str(source.paths[0])))
            yield from (ImportResult(path, failed=sentence) for sentence in found.failed)
            single = alone and len(found.songs) == 1
            for old in found.songs:
                folder = target if single else target / old.name
                try:
                    yield _imported(old, folder, answers or ImportOverrides(), ask, models, single)
                except (JukeboxKitError, OSError) as error:
                    yield ImportResult(old.path, failed=_about(old.path, error))


def _read(source: OldSource, place: Place, alone: bool) -> Found:
    """Return the songs of a source with the paths that users know; none for weights beside songs."""
    try:
        found = read_project(source) if source.kind == WEB_UI else read_run(source)
    except WeightsError as error:
        log.info("skipped: %s", error)
        return Found((), (place.named(str(error)),) if alone else ())
    except (JukeboxKitError, OSError) as error:
        return Found((), (place.named(str(error)),))
    songs = [
        replace(old, path=Path(place.named(str(old.path))), notes=tuple(place.named(note) for note in old.notes))
        for old in found.songs
    ]
    return Found(tuple(songs), tuple(place.named(sentence) for sentence in found.failed))


def _about(path: Path, error: Exception) -> str:
    """Return an error's sentence with the file that it is about."""
    return str(error) if str(path) in str(error) else f"{path} cannot be imported: {error}"


def _imported(
    old: OldSong, folder: Path, answers: ImportOverrides, ask: Ask | None, models: dict[str, Model], single: bool
) -> ImportResult:
    parent = folder.parent / old.parent if old.parent else None
    came_from: dict[str, Any] = {
        "kind": old.kind,
        "path": str(old.path),
        "items": list(old.items),
        "parent": os.path.relpath(parent, folder) if parent and is_song(parent) else None,
    }
    if is_song(folder):
        return _again(old, folder, came_from)
    known = _known(old, answers, ask, single)
    name = known["model"]
    model = models[name] = models.get(name) or Model.load(name, "cpu")
    codes, fitted, notes = _fitted(old, model.definition, answers.seconds)
    if answers.total_seconds is not None:
        fitted["total_seconds"] = answers.total_seconds
    given = {level: LevelCodes.whole(rows) for level, rows in codes.items()}
    song = Song.adopt(folder, given, came_from, model, seed=answers.seed, **known, **fitted)
    return ImportResult(old.path, song, notes=(*old.notes, *notes, *song.resolved.notes, *_other_labels(old, song)))


def _again(old: OldSong, folder: Path, came_from: dict[str, Any]) -> ImportResult:
    """Leave a song that was imported before as it is; SongError where another one is in its place."""
    song = Song.open(folder)
    before = song.manifest.came_from
    same_path = kept_path(before.get("path", "")) == kept_path(came_from["path"])
    if not same_path or any(before.get(name) != came_from[name] for name in ("kind", "items")):
        raise SongError(f"{shown_path(folder)} already contains another song; choose another folder for {old.path}.")
    return ImportResult(old.path, song, notes=(f"{shown_path(folder)} was imported before and is unchanged.",))


def _known(old: OldSong, answers: ImportOverrides, ask: Ask | None, single: bool) -> dict[str, Any]:
    """Return model, artist, genre and lyrics, by the user's values, those of the files, and answers to `ask`."""
    labels, words = old.labels, {name: getattr(answers, name) for name in ("artist", "genre", "lyrics")}
    known: dict[str, str | None] = {"model": answers.model or labels.model or _model_of(labels.label_width)}
    for name, answer in words.items():
        labelled = getattr(labels, name)
        known[name] = answer if answer is not None and (single or labelled is None) else labelled
    missing = [name for name in OPTIONS if known[name] is None and _needed(name, known["model"])]
    if missing and ask is None:
        options = _listed([OPTIONS[name] for name in missing])
        raise RequestError(f"{old.path} does not say which {_listed(missing)} it was made with; pass {options}.")
    for name in missing:
        if ask is not None and _needed(name, known["model"]):
            known[name] = ask(name, old.path)
    return {name: value for name, value in known.items() if value is not None} | (
        {"temperature": labels.temperature} if labels.temperature is not None else {}
    )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _needed(name: str, model: str | None) -> bool:
    return name != "lyrics" or model is None or load_definition(model).top.use_tokens


def _model_of(label_width: int | None) -> str | None:
    """Return the model whose label rows are so wide: 521 columns are 5b_lyrics, 389 1b_lyrics, 9 5b."""
    known = {load_definition(name).top.label_width: name for name in shipped_models()}
    return None if label_width is None else known.get(label_width)


def _fitted(
    old: OldSong, definition: ModelDefinition, seconds: float | None
) -> tuple[dict[int, Codes], dict[str, Any], tuple[str, ...]]:
    """Return the codes as a song of the model keeps them, its lengths, and notes; RequestError where they misfit."""
    vqvae = definition.vqvae
    held = old.codes[2].shape[1] * vqvae.hops[-1]
    length = _exact_seconds(held, vqvae.sr) if seconds is None else seconds
    if int(length * vqvae.sr) < held:
        least = math.ceil(held / vqvae.sr * 1000) / 1000
        raise RequestError(f"{old.path} is {least:g} seconds long; pass at least as many seconds, or omit them.")
    samples = int(length * vqvae.sr) // vqvae.hops[-1] * vqvae.hops[-1]
    codes: dict[int, Codes] = {}
    notes: list[str] = []
    for level in LEVELS:
        found, most = old.codes[level], samples // vqvae.hops[level]
        if found.size and not 0 <= found.min() <= found.max() < vqvae.l_bins:
            wrong = found.min() if found.min() < 0 else found.max()
            raise RequestError(
                f"level {level} of {old.path} contains code {wrong}, but {definition.name} has 0 to "
                f"{vqvae.l_bins - 1}; the file is damaged or belongs to another model: pass that one with --model."
            )
        if found.shape[1] > most:
            notes.append(
                f"level {level} of {old.path} is longer than level 2; its last {found.shape[1] - most} "
                f"tokens were dropped."
            )
        codes[level] = found[:, :most].astype(np.int16)
    lengths: dict[str, Any] = {"seconds": length, "items": len(old.codes[2])}
    if old.labels.total_samples is not None:
        lengths["total_seconds"] = _exact_seconds(old.labels.total_samples, vqvae.sr)
    return codes, lengths, tuple(notes)


def _exact_seconds(samples: int, sr: int) -> float:
    """Return the seconds that are so many samples again when multiplied with the rate and rounded down."""
    seconds = samples / sr
    while int(seconds * sr) < samples:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


def _other_labels(old: OldSong, song: Song) -> Iterator[str]:
    """Yield sentences on the settings that differ from those its codes were sampled with."""
    top, labels = song.definition.top, old.labels
    if labels.offset:
        yield (
            f"{old.path} started {labels.offset / song.sr:.1f} seconds into a longer song; here it is the start of one."
        )
    if labels.label_width is None:
        return
    if labels.label_width != top.label_width:
        made = _model_of(labels.label_width) or "another model"
        yield f"{old.path} was made with {made}; it continues with {song.definition.name}, as requested."
    elif labels.artist_id not in (None, song.resolved.labels[-1].artist):
        yield (
            f"{old.path} uses artist id {labels.artist_id}, but here {song.request.artist!r} has id "
            f"{song.resolved.labels[-1].artist}; the latter is used from here on."
        )
