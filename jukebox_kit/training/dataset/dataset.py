"""A prepared dataset: dataset.json lists its songs, and each song has a file of codes.

DATA/dataset.json; DATA/codes/HASH.safetensors with `level_0`, `level_1`, `level_2`, (tokens,) int16.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from jukebox_kit._files import kept_path, read_file, shown_path, write_atomically
from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.model import TOP
from jukebox_kit.model.weights import load_definition

LIST, CODES = "dataset.json", "codes"

FORMAT = 1


@dataclass(frozen=True)
class DatasetSong:
    """A song of a dataset.

    file: the recording. codes: the name of its codes' file. seconds: of the recording. samples: of it that have codes.
    held_out: it is not trained on, but measures progress.
    total, offset: of a song that is a window of a longer one, in samples: that one's length, and where the window
        starts in it; total is 0 if it is no window.
    """

    file: str
    artist: str
    genre: str
    lyrics: str
    seconds: float
    samples: int
    codes: str
    held_out: bool = False
    total: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Refused:
    """A recording that is not in the dataset, and why, in a sentence."""

    file: str
    why: str


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    model: whose VQ-VAE encoded it, as requests name models. vqvae: the fingerprint of that file, "" before there are
        codes. sr: of the audio.
    music: of a dataset that a model is trained on from scratch, what it is made of.
    """

    root: Path
    model: str
    vqvae: str
    sr: int
    songs: tuple[DatasetSong, ...]
    refused: tuple[Refused, ...] = ()
    music: str = ""

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Open a dataset; RequestError if a folder is not one, ConfigurationError if its dataset.json is damaged."""
        root = kept_path(folder)
        content = read_file(root / LIST) if root.is_dir() else None
        if content is None:
            raise RequestError(
                f"{shown_path(root)} is not a dataset; make one with: jukebox-kit dataset prepare FOLDER "
                f"{shown_path(root)}"
            )
        return read_list(root, content)

    def save(self) -> None:
        """Write dataset.json."""
        values = {"format": FORMAT, "model": self.model, "vqvae": self.vqvae, "sr": self.sr, "music": self.music}
        rows = {"songs": [asdict(s) for s in self.songs], "refused": [asdict(r) for r in self.refused]}
        text = json.dumps({**values, **rows}, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.root, LIST, text.encode("utf-8", "backslashreplace"))

    def split(self, held_out: bool) -> tuple[DatasetSong, ...]:
        """Return the songs that are held out, or those that are trained on."""
        return tuple(song for song in self.songs if song.held_out == held_out)

    def names(self, kind: str) -> list[tuple[str, int]]:
        """Return the artists or genres (`kind`: the field), each with its number of songs, the most frequent first."""
        return Counter(str(getattr(song, kind)) for song in self.songs).most_common()

    def load_codes(self, songs: Sequence[DatasetSong], level: int) -> list[Tensor]:
        """Return the codes of songs at a level, each (tokens,) int16; RequestError if a file of codes is gone."""
        found: list[Tensor] = []
        for song in songs:
            content = read_file(self.root / song.codes)
            if content is None:
                raise RequestError(
                    f"{shown_path(self.root / song.codes)} is gone; run dataset prepare again to encode {song.file}."
                )
            found.append(load(content)[f"level_{level}"])
        return found

    def facts(self, level: int = TOP) -> list[tuple[str, str]]:
        """Return what the dataset contains, as names and values, in windows of a level; without what was refused."""
        window_seconds = load_definition(self.model).window_seconds(level)
        facts: list[tuple[str, str]] = []
        for name, held_out in (("training", False), ("held out", True)):
            songs = self.split(held_out)
            seconds = sum(song.seconds for song in songs)
            windows = int(seconds / window_seconds)
            lyrics = sum(bool(song.lyrics) for song in songs)
            counts = f"{len(songs)} songs, {seconds / 3600:.2f} hours, {windows} windows of {window_seconds:.1f} s"
            facts.append((name, f"{counts}, {lyrics} songs with lyrics"))
        for kind in ("artist", "genre"):
            facts.append((f"{kind}s", ", ".join(f"{name} ({count})" for name, count in self.names(kind)[:20])))
        return facts

    def summary(self, say: Callable[[str], None], level: int = TOP) -> None:
        """Report what the dataset contains and what was refused, a line at a time, in windows of a level."""
        for name, value in self.facts(level):
            say(f"{name}: {value}")
        for refused in self.refused:
            say(f"refused: {refused.file}: {refused.why}")


def read_list(root: Path, content: bytes) -> Dataset:
    """Return the dataset that a dataset.json describes; ConfigurationError if it is damaged or of a newer version."""
    try:
        values: dict[str, Any] = json.loads(content)
        if values.pop("format") != FORMAT:
            raise ConfigurationError(f"{shown_path(root)} was made by another version; upgrade this package.")
        songs = tuple(DatasetSong(**song) for song in values.pop("songs"))
        refused = tuple(Refused(**one) for one in values.pop("refused"))
        return Dataset(root, songs=songs, refused=refused, **values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{shown_path(root / LIST)} is damaged ({error}); delete it and run dataset prepare again."
        ) from None


def codes_name(digest: str, part: int) -> str:
    """Return the name of a song's file of codes; digest: of the recording; part: of a long recording, from 0."""
    return f"{CODES}/{digest[:24]}-{part}.safetensors"


def codes_bytes(codes: Sequence[Tensor]) -> bytes:
    """Return the content of a file of codes: of each level, level 0 first, (tokens,) int16."""
    return save({f"level_{level}": one.contiguous() for level, one in enumerate(codes)})
