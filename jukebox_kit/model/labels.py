"""Labels: the artist, genre, lyrics and timing that a prior is conditioned on, as rows of integers.

The two label sets, v2 and v3, differ in the form of their names, in their tables and in one character of the lyric
vocabulary. A row is [total_length, offset, sample_length, artist, genre slots…, lyric tokens…], int64, with lengths in
samples.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from unidecode import unidecode

from jukebox_kit.errors import CheckpointError, LabelError
from jukebox_kit.model.configuration import PriorConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

V2_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?-+'\"()[] \t\n"

INVISIBLE = ("Cc", "Cf")  # Unicode categories of control and format characters

VOCABULARIES = {
    "v2": {c: i for i, c in enumerate(V2_CHARACTERS, 1)},
    "v3": {c: i for i, c in enumerate(V2_CHARACTERS.replace("+", ""), 1)},
}


def clean_lyrics(text: str, label_set: str) -> str:
    """Return a text as a model reads it: in ASCII, backslashes as newlines, without characters that it cannot read."""
    vocabulary = VOCABULARIES[label_set]
    return "".join(c for c in unidecode(text).replace("\\", "\n") if c in vocabulary)


def dropped_characters(text: str, label_set: str) -> list[str]:
    """Return the characters of a text that a model cannot read, in order, with accents as part of their letters.

    Invisible ones, such as a byte order mark, are left out: nothing of the lyrics is lost with them.
    """
    visible = (c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in INVISIBLE)
    return [c for c in visible if not clean_lyrics(c, label_set)]


def lyric_tokens(text: str, label_set: str) -> list[int]:
    """Return one token for each character of the cleaned text, see `clean_lyrics`."""
    return [VOCABULARIES[label_set][c] for c in clean_lyrics(text, label_set)]


def lyric_text(tokens: Sequence[int], label_set: str) -> str:
    """Return the cleaned text that `lyric_tokens` made tokens of."""
    characters = {token: character for character, token in VOCABULARIES[label_set].items()}
    return "".join(characters[token] for token in tokens)


def lyric_window(tokens: list[int], n_tokens: int, total: int, offset: int, length: int) -> tuple[list[int], int]:
    """Return the `n_tokens` tokens that a window reads, and the index in `tokens` of the first of them.

    total: the song's length; offset, length: the window's, all in samples. If there are fewer than `n_tokens`, they are
    padded with 0 on the left, and the index is minus the number of pads.
    """
    return _window_around(tokens, n_tokens, int(len(tokens) * ((offset + length / 2.0) / total)))


def _window_around(tokens: list[int], n_tokens: int, middle: int) -> tuple[list[int], int]:
    """Return the `n_tokens` tokens around the one at `middle`, and the index of the first; padding as above."""
    if len(tokens) < n_tokens:
        pad = n_tokens - len(tokens)
        return [0] * pad + tokens, -pad
    start = min(max(middle - n_tokens // 2, 0), len(tokens) - n_tokens)
    return tokens[start : start + n_tokens], start


def normalise(name: str, label_set: str) -> str:
    """Return a name in the form of the label set's tables: v3 in lower case, v2 as letters and digits joined by `_`.

    Accents are composed first, since file names and the clipboard of a Mac have them as characters of their own.
    """
    composed = unicodedata.normalize("NFC", name).lower()
    if label_set == "v3":
        return composed
    return re.sub("_+", "_", re.sub("[^a-z0-9]", "_", composed)).strip("_")


def appearance(name: str) -> str:
    """Return the same text for names that look the same: without invisible characters and surplus spaces."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", "".join(c for c in name if unicodedata.category(c) != "Cf"))
    return " ".join(name.lower().split())


@dataclass(frozen=True)
class Found:
    """The result of looking up a name.

    ids: for the row, without empty slots; used: the names that they belong to; notes: sentences for the user.
    """

    ids: tuple[int, ...]
    used: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tables:
    """The artists and genres of one label set: name → id."""

    label_set: str
    artists: dict[str, int]
    genres: dict[str, int]

    @classmethod
    def read(cls, label_set: str, artists: Path, genres: Path) -> Tables:
        """Read two files of lines `name;id`."""
        return cls(label_set, read_ids(artists), read_ids(genres))

    def artist(self, name: str, tidy: bool = True) -> Found:
        """Look up an artist; an unknown one gets id 0 and a note with the nearest names.

        tidy: also accept a name that differs only in spaces and invisible characters, which the release does not.
        """
        return self._look_up("artist", name, tidy)

    def genre(self, name: str, slots: int, tidy: bool = True) -> Found:
        """Look up a genre as `artist` does; v2 genres are bags of at most `slots` words."""
        words = normalise(appearance(name) if tidy else name, "v2").split("_")
        if self.label_set == "v3" or words == [""]:
            return self._look_up("genre", name, tidy)
        matches = [self._look_up("genre", word, tidy) for word in words[:slots]]
        notes = [note for match in matches for note in match.notes]
        if len(words) > slots:
            notes.append(f"genre {name!r} has {len(words)} words; the first {slots} are used.")
        return Found(tuple(m.ids[0] for m in matches), tuple(m.used[0] for m in matches), tuple(notes))

    def matching(self, kind: str, text: str) -> list[str]:
        """Return the names that contain `text`, in alphabetical order; kind is `artist` or `genre`."""
        plain = normalise(text, self.label_set)
        if text.strip() and not plain:
            return []
        return sorted(name for name in self._offered(kind) if plain in name)

    def nearest(self, kind: str, name: str, count: int = 3) -> list[str]:
        """Return the names that are most like `name`; kind is `artist` or `genre`."""
        query = kind, name, count
        if query not in self._near:
            self._near[query] = self._nearest(kind, name, count)
        return list(self._near[query])

    @cached_property
    def _by_appearance(self) -> dict[str, dict[str, str]]:
        """The names of each table by what they look like: a few in them have invisible characters."""
        index: dict[str, dict[str, str]] = {"artist": {}, "genre": {}}
        for names, table in zip(index.values(), (self.artists, self.genres), strict=True):
            for name in table:
                look = appearance(name)
                if look and (look == name or look not in names):
                    names[look] = name
        return index

    @cached_property
    def _near(self) -> dict[tuple[str, str, int], list[str]]:
        """The results of `nearest`, which takes a tenth of a second: an album may repeat a name in every song."""
        return {}

    def _nearest(self, kind: str, name: str, count: int) -> list[str]:
        offered = self._offered(kind)
        plain = normalise(name, self.label_set).strip()
        containing = sorted((n for n in offered if plain and plain in n), key=len)
        close = difflib.get_close_matches(plain, offered, count, 0.5)
        return list(dict.fromkeys([*close, *containing]))[:count]

    def _look_up(self, kind: str, name: str, tidy: bool) -> Found:
        table = self.artists if kind == "artist" else self.genres
        plain = normalise(name, self.label_set)
        if plain and plain in table:  # the v2 artists have an empty name, with the id of unknown ones
            return Found((table[plain],), (plain,), ())
        look = normalise(appearance(name), self.label_set)
        same = self._by_appearance[kind].get(look) if tidy and look else None
        if same is not None:
            return Found((table[same],), (same,), (f"{kind} {name!r} was read as {same!r}.",))
        near = self.nearest(kind, name)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        note = f"{kind} {name!r} is unknown to the {self.label_set} labels and counts as unknown{hint}."
        return Found((0,), ("unknown",), (note,))

    def _offered(self, kind: str) -> list[str]:
        """Return the names that a user can write, only one of those that look the same.

        This excludes v2 names that end in `_`, which normalising strips.
        """
        return [n for n in self._by_appearance[kind].values() if normalise(n, self.label_set) == n]


def read_ids(path: Path) -> dict[str, int]:
    """Return name → id of a UTF-8 file of lines `name;id`; names keep their spaces, and of doubled names the last wins.

    Raises CheckpointError about a line of another form.
    """
    table: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        name, separator, index = line.rpartition(";")
        if not separator or not index.strip().isdigit():
            raise CheckpointError(f"line {number} of {path} is not of the form name;id.")
        table[name] = int(index)
    return table


@dataclass(frozen=True)
class Labels:
    """One item's labels as a prior reads them.

    artist: its id; genres: ids, at most as many as the prior has slots; tokens: of the lyrics. total: the length of the
    whole song; offset: where in it the item starts; both in samples.
    due: of lyrics with times, the stretches of tokens whose time is known: (index of its first token, sample at which
    that one is due, sample at which the stretch is over), in order and from token 0 on. The tokens of a stretch follow
    each other evenly. Empty for lyrics without times, which are spread evenly over the song.
    """

    artist: int
    genres: tuple[int, ...]
    tokens: tuple[int, ...]
    total: int
    offset: int = 0
    due: tuple[tuple[int, int, int], ...] = ()

    def row(self, config: PriorConfig, hop: int, start: int) -> list[int]:
        """Return the label row of the window that starts at music token `start`."""
        length, offset = config.n_ctx * hop, self.offset + start * hop
        slots = [*self.genres, *[-1] * (config.max_bow_genre_size - len(self.genres))]
        window = self.lyric_window(config, hop, start)[0] if config.n_tokens else []
        return [self.total, offset, length, self.artist, *slots, *window]

    def lyric_window(self, config: PriorConfig, hop: int, start: int) -> tuple[list[int], int]:
        """Return the tokens of the lyrics that the window at music token `start` reads, as the function does.

        Of lyrics with times it reads the tokens that are due in it, and as many before as after them.
        """
        if not self.due:
            length, offset = config.n_ctx * hop, self.offset + start * hop
            return lyric_window(list(self.tokens), config.n_tokens, self.total, offset, length)
        first, last = self.due_in(config, hop, start)
        return _window_around(list(self.tokens), config.n_tokens, (first + last) // 2)

    def due_in(self, config: PriorConfig, hop: int, start: int) -> tuple[int, int]:
        """Return the first token that is due in the window at music token `start`, and the one after the last.

        For lyrics with times only; in a pause, both are the next token that is due.
        """
        offset = self.offset + start * hop
        return self._due_before(offset), self._due_before(offset + config.n_ctx * hop)

    def _due_before(self, sample: int) -> int:
        """Return how many tokens are due before a sample."""
        place = bisect_left(self.due, sample, key=lambda stretch: stretch[1]) - 1
        if place < 0:
            return 0
        first, begin, end = self.due[place]
        count = (self.due[place + 1][0] if place + 1 < len(self.due) else len(self.tokens)) - first
        # Token k of a stretch is due at begin + k * (end - begin) / count.
        return first + (min(count, -(-(sample - begin) * count // (end - begin))) if end > begin else count)


def label_rows(
    labels: Sequence[Labels], config: PriorConfig, hop: int, start: int | Sequence[int], device: torch.device
) -> Tensor:
    """Return the rows of several items for one window, (items, columns) int64.

    start: the window's first music token, one for all items or one for each.
    """
    import torch  # slow to import, and looking up names does not need it

    starts = [start] * len(labels) if isinstance(start, int) else start
    rows = [item.row(config, hop, at) for item, at in zip(labels, starts, strict=True)]
    return torch.tensor(rows, dtype=torch.long, device=device)


def check_total(total_seconds: float, config: PriorConfig, field: str = "total_seconds") -> None:
    """Raise LabelError about `field` if a song's total length is outside the range that a top prior was trained on."""
    low, high = config.min_duration, config.max_duration
    if low is not None and high is not None and not low <= total_seconds < high:
        raise LabelError(
            f"a total length of {total_seconds:g} seconds is outside this model's range: choose at least {low:g} and "
            f"under {high:g} seconds.",
            field=field,
        )
