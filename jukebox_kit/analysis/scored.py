"""What is scored: the codes and labels of a recording, or of a song's item, and the model that scores them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from jukebox_kit._files import kept_path, shown_path
from jukebox_kit.analysis.settings import ScoreSettings
from jukebox_kit.engine import UNSAMPLED, Model
from jukebox_kit.errors import AudioError, RequestError
from jukebox_kit.model import DOWNWARD, TOP, Labels, lyric_tokens
from jukebox_kit.model.weights import PARTS, load_definition
from jukebox_kit.song import Song, chosen_items, is_song, read_recording, resolve
from jukebox_kit.steps import RunSettings, load_for, load_planned

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Scored:
    """Something to score.

    name: as messages show it. codes: of each level that there is, (tokens,) int64. labels: for each level.
    artist, genre: names, and lyrics: text, as they were asked for. notes: sentences for the user.
    """

    name: str
    model: Model
    codes: Mapping[int, Tensor]
    labels: Mapping[int, Labels]
    artist: str
    genre: str
    lyrics: str
    notes: tuple[str, ...]


def what_to_score(source: str | Path | ArrayLike, how: ScoreSettings, run: RunSettings) -> Scored:
    """Return what a source is; see `scoring.score`."""
    if isinstance(source, str | Path) and is_song(kept_path(source)):
        return _song(Song.open(source), how, run)
    return _recording(source, how, run)


def _recording(source: str | Path | ArrayLike, how: ScoreSettings, run: RunSettings) -> Scored:
    notes: list[str] = []
    name = how.model or "demo"
    model = load_for(name, load_definition(name).seconds_range[0], 1, run)
    vqvae, hop = model.definition.vqvae, model.definition.vqvae.hops[-1]
    if isinstance(source, str | Path):
        shown = shown_path(kept_path(source))
        audio = np.asarray(read_recording(kept_path(source), vqvae.sr, how.seconds, notes.append))
    else:
        shown, audio = "audio", np.asarray(source, np.float32)
        if audio.ndim != 1:
            raise AudioError(f"audio must be mono, (samples,), not of the shape {audio.shape}.", field="audio")
        audio = audio if how.seconds is None else audio[: int(how.seconds * vqvae.sr)]
    whole = len(audio) // hop * hop
    if not whole:
        raise AudioError(f"{shown} has {len(audio)} samples, and a token of {model.definition.name} covers {hop}.")
    sound = torch.from_numpy(np.ascontiguousarray(audio[:whole])).to(model.device)[None, :, None]
    chosen = how.chosen_levels()
    needed = {level for one in chosen for level in (one, one + 1) if level <= TOP}  # upper codes condition a level
    codes = {level: model.vqvae.encode_long(sound, level)[0] for level in sorted(needed, reverse=True)}
    artist, genre, lyrics = how.artist or UNKNOWN, how.genre or UNKNOWN, how.lyrics or ""
    total = len(audio) if how.total_seconds is None else int(how.total_seconds * vqvae.sr)
    labels = {level: _labels(model, (artist, genre, lyrics), level, total, notes) for level in chosen}
    return Scored(shown, model, codes, labels, artist, genre, lyrics, tuple(notes))


def _labels(model: Model, names: tuple[str, str, str], level: int, total: int, notes: list[str]) -> Labels:
    """Return the labels of a recording at a level. names: artist, genre, lyrics. total: samples of the whole song."""
    definition = model.definition
    config, sr, (low, high) = definition.priors[level], definition.vqvae.sr, definition.seconds_range
    table = model.tables[config.label_set]
    artist, genre = table.artist(names[0]), table.genre(names[1], config.max_bow_genre_size)
    found = [note for name, one in zip(names, (artist, genre), strict=False) if name != UNKNOWN for note in one.notes]
    notes += [note for note in found if note not in notes]
    tokens = tuple(lyric_tokens(names[2], config.label_set)) if config.use_tokens else ()
    within = max(math.ceil(low * sr), min(total, int(high * sr)))
    return Labels(artist.ids[0], genre.ids, tokens, within)


def _song(song: Song, how: ScoreSettings, run: RunSettings) -> Scored:
    model = load_planned(song, run) if how.model is None else _other_model(song, how.model, run)
    item = chosen_items(song.shown_path, song.request.items, how.item)[0]
    asked = replace(
        song.request,
        model=model.source,
        artist=how.artist or song.request.artist,
        genre=how.genre or song.request.genre,
        lyrics=song.request.lyrics if how.lyrics is None else how.lyrics,
        total_seconds=how.total_seconds or song.request.total_seconds,
        lora_scale=model.lora_scale,
    )
    resolved = resolve(asked, model.definition, model.tables)
    codes: dict[int, Tensor] = {}
    for level in DOWNWARD:
        row = song.codes(level)[item].astype(np.int64)
        unsampled = np.flatnonzero(row == UNSAMPLED)
        row = row[: unsampled[0]] if len(unsampled) else row
        if how.seconds is not None:
            row = row[: int(how.seconds * song.sr) // song.definition.vqvae.hops[level]]
        if len(row):
            codes[level] = torch.from_numpy(row).to(model.device)
    labels = dict(enumerate(resolved.labels))
    return Scored(song.shown_path, model, codes, labels, asked.artist, asked.genre, asked.lyrics, resolved.notes)


def _other_model(song: Song, name: str | Path, run: RunSettings) -> Model:
    """Return a model to score a song of another one with; RequestError if it cannot read the song's codes."""
    model = load_for(name, song.request.seconds, 1, run)
    if model.fingerprints(PARTS[:1])[PARTS[0]] != song.manifest.checkpoints[PARTS[0]]:
        raise RequestError(
            f"the codes of {song.shown_path} are not of the VQ-VAE of {model.definition.name}; score one of the song's "
            f"WAV files instead.",
            field="model",
        )
    return model
