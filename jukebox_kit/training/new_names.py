"""The names of a dataset in a model's tables: new artists and genres get rows of their own after the model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jukebox_kit.errors import ConfigurationError, LabelError
from jukebox_kit.model import Labels, Tables, normalise
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song.lyrics import lyric_labels
from jukebox_kit.training.dataset import DatasetSong

TABLES = {"artist": "y_emb.artist_emb.emb", "genre": "y_emb.bow_genre_emb.emb"}  # by kind, the names of their weights

MEAN = "mean"  # a new row that starts as the mean of the known ones


@dataclass(frozen=True)
class Extension:
    """The names that are added to one label set, by kind, `artist` or `genre`, in the order of their rows.

    tables: of the label set, with the new names.
    """

    label_set: str
    tables: Tables
    new: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(
        cls, definition: ModelDefinition, tables: Tables, artists: Iterable[str], genres: Iterable[str]
    ) -> Extension:
        """Return the extension of a label set by those names that it does not know.

        ConfigurationError if the priors that share the set have tables of different sizes.
        """
        label_set = tables.label_set
        sizes = {prior.y_bins for prior in definition.priors if prior.label_set == label_set}
        if len(sizes) != 1:
            raise ConfigurationError(f"{definition.name}: priors with {label_set} labels have y_bins of their own.")
        genre_bins, artist_bins = sizes.pop()
        words = [word for genre in dict.fromkeys(genres) for word in _genre_names(genre, label_set)]
        added = {
            "artist": _unknown(artists, label_set, lambda name: tables.artist(name).used),
            "genre": _unknown(words, label_set, lambda name: tables.genre(name, 1).used),
        }
        grown = Tables(
            label_set,
            tables.artists | {name: artist_bins + row for row, name in enumerate(added["artist"])},
            tables.genres | {name: genre_bins + row for row, name in enumerate(added["genre"])},
        )
        return cls(label_set, grown, added)

    def extended(self, definition: ModelDefinition) -> ModelDefinition:
        """Return a definition whose priors with this label set have the new rows."""
        genres, artists = len(self.new["genre"]), len(self.new["artist"])
        priors = tuple(
            replace(prior, y_bins=(prior.y_bins[0] + genres, prior.y_bins[1] + artists))
            if prior.label_set == self.label_set
            else prior
            for prior in definition.priors
        )
        return replace(definition, priors=priors)

    def first_rows(self, kind: str, weight: Tensor, like: Mapping[str, str]) -> Tensor:
        """Return the rows that new names start with, (new, W) float32.

        weight: the table, (rows, W). like: for a new name the known name whose row it starts with, or MEAN; names that
        are left out start with the mean of all rows but that of unknown names. LabelError for a name that is not known.
        """
        rows: list[Tensor] = []
        known = self.tables.artists if kind == "artist" else self.tables.genres
        wished = {normalise(name, self.label_set): other for name, other in like.items()}
        for name in self.new[kind]:
            other = wished.get(name, MEAN)
            index = known.get(normalise(other, self.label_set))
            if other == MEAN:
                rows.append(weight[1:].float().mean(0))
            elif index is None or index >= len(weight):
                raise LabelError(f"{name} cannot start as {kind} {other}, which the model does not know.")
            else:
                rows.append(weight[index].float())
        return torch.stack(rows) if rows else weight[:0].float()


def song_labels(song: DatasetSong, tables: Tables, definition: ModelDefinition, level: int) -> Labels:
    """Return a song's labels as a level's prior reads them."""
    config = definition.priors[level]
    artist = tables.artist(song.artist)
    genre = tables.genre(song.genre, config.max_bow_genre_size)
    sr = definition.vqvae.sr
    tokens, due = lyric_labels(song.lyrics, config.label_set, sr) if config.use_tokens else ((), ())
    return Labels(artist.ids[0], genre.ids, tokens, song.total or song.samples, song.offset, due=due)


def _genre_names(genre: str, label_set: str) -> list[str]:
    """Return the names under which a table has a genre: v2 genres are bags of words."""
    name = normalise(genre, label_set)
    return name.split("_") if label_set == "v2" else [name]


def _unknown(names: Iterable[str], label_set: str, look_up: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names that a table does not have, in its form, without the one that stands for unknown ones."""
    new = (normalise(name, label_set) for name in dict.fromkeys(names) if look_up(name) == ("unknown",))
    return tuple(dict.fromkeys(name for name in new if name not in ("", "unknown")))
