"""What features are taken of recordings, and how they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from jukebox_kit._values import checked
from jukebox_kit.analysis.conventions import Convention, convention_named
from jukebox_kit.analysis.reducing import Reduction
from jukebox_kit.engine import WEIGHTS, usable_device
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song import level_number
from jukebox_kit.steps import AUTO

DTYPES = ("float32", "float16")

MOST_OVERLAP = 0.95  # of a window by the next one

FORMATS = ("npy", "safetensors")


class FeatureFields(TypedDict, total=False):
    """The fields of `FeatureSettings`, as callers may write them. layers: one, or several."""

    model: str | Path
    layers: int | Sequence[int] | None
    rate: float | None
    pool: str
    convention: str
    dtype: str
    seconds: float | None
    pad: bool
    artist: str
    genre: str
    lyrics: str
    total_seconds: float | None
    offset_seconds: float
    precision: str
    device: str | None
    batch_size: int


@dataclass(frozen=True)
class FeatureSettings:
    """The settings of features.

    model: a model's name, or the path of its YAML file.
    layers: one or several, from 1; None for the one in the middle, such as 36 of 72.
    rate: frames a second; None for one frame a token.
    pool: over time: none, mean or max.
    convention: one of CONVENTIONS.
    dtype: of the features, float32 or float16.
    seconds: of each recording that are used; None for all. pad: shorter ones are padded with silence to that length, or
        to one window.
    artist, genre, lyrics: for the labels. total_seconds: of the song that each recording is a part of; None for its
        own. offset_seconds: where in the song it starts. The last two need a convention without a fixed length.
    precision: of the weights, float32, float16 or int8, or auto for the first that fits in memory.
    device: None for the GPU if there is one. batch_size: windows at a time.

    RequestError about the field that cannot be used.
    """

    model: str | Path = "5b"
    layers: int | Sequence[int] | None = None
    rate: float | None = None
    pool: str = "none"
    convention: str = "plain"
    dtype: str = "float32"
    seconds: float | None = None
    pad: bool = False
    artist: str = "unknown"
    genre: str = "unknown"
    lyrics: str = ""
    total_seconds: float | None = None
    offset_seconds: float = 0.0
    precision: str = AUTO
    device: str | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        kinds = {"layers": int | tuple[int, ...] | None, "rate": float | None, "seconds": float | None, "pad": bool}
        kinds |= {"total_seconds": float | None, "offset_seconds": float, "batch_size": int}
        kinds |= dict.fromkeys(("pool", "convention", "dtype", "artist", "genre", "lyrics", "precision"), str)
        for name, kind in kinds.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))
        self._check_choices()
        for name in ("seconds", "total_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RequestError(f"{name} must be above 0, not {value:g}.", field=name)
        if self.offset_seconds < 0:
            raise RequestError(
                f"offset_seconds must be 0 or more, not {self.offset_seconds:g}.", field="offset_seconds"
            )
        if self.batch_size < 1:
            raise RequestError(f"batch_size must be at least 1, not {self.batch_size}.", field="batch_size")
        if self.device is not None:
            usable_device(self.device)

    def _check_choices(self) -> None:
        for name, known in (("dtype", DTYPES), ("precision", (AUTO, *WEIGHTS))):
            if getattr(self, name) not in known:
                raise RequestError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)}.", field=name)
        fixed = convention_named(self.convention).total_seconds
        if fixed is not None and (self.total_seconds is not None or self.offset_seconds):
            field = "offset_seconds" if self.total_seconds is None else "total_seconds"
            raise RequestError(
                f"{field} cannot be chosen with {self.convention}, which labels every recording as the start of a song "
                f"of {fixed:g} seconds; choose plain or sheetsage.",
                field=field,
            )

    def way(self) -> Convention:
        """Return the convention."""
        return convention_named(self.convention)

    def chosen_layers(self, definition: ModelDefinition) -> tuple[int, ...]:
        """Return the layers in ascending order, each once; RequestError about one that the model does not have."""
        depth = definition.top.prior_depth
        asked = max(1, depth // 2) if self.layers is None else self.layers
        layers = (asked,) if isinstance(asked, int) else tuple(sorted(set(asked)))
        wrong = [layer for layer in layers if not 1 <= layer <= depth]
        if wrong or not layers:
            raise RequestError(
                f"layers must be from 1 to {depth} in {definition.name}, not {wrong[0] if wrong else 'none'}.",
                field="layers",
            )
        return layers

    def reduction(self, definition: ModelDefinition) -> Reduction:
        """Return what becomes of the states; RequestError about a rate or a pool that cannot be used."""
        vqvae = definition.vqvae
        return Reduction(vqvae.sr / vqvae.hops[-1], self.rate, self.pool, self.way().fft)


@dataclass(frozen=True)
class ScoreSettings:
    """What a recording or a song is scored as.

    model: a model's name, or the path of its YAML file; None for a song's own, for a recording the demo.
    artist, genre, lyrics: None for a song's own, for a recording unknown names and no lyrics.
    levels: None for all. overlap: the share of a window that the one before covers; 0.5 scores each token but the first
        with at least half a window before it, 0 scores windows as training measures them.
    seconds: of a recording that are scored; None for all. total_seconds: of the whole song; None for a song's own, for
        a recording its length, within the model's range.
    item: of a song.

    RequestError about the field that cannot be used.
    """

    model: str | Path | None = None
    artist: str | None = None
    genre: str | None = None
    lyrics: str | None = None
    levels: int | Sequence[int] | None = None
    overlap: float = 0.5
    seconds: float | None = None
    total_seconds: float | None = None
    item: int = 0

    def __post_init__(self) -> None:
        kinds = {"levels": int | tuple[int, ...] | None, "overlap": float, "item": int}
        kinds |= dict.fromkeys(("artist", "genre", "lyrics"), str | None)
        kinds |= dict.fromkeys(("seconds", "total_seconds"), float | None)
        for name, kind in kinds.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))
        for level in self.chosen_levels():
            level_number(level, "levels")
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise RequestError(f"overlap must be from 0 to {MOST_OVERLAP}, not {self.overlap:g}.", field="overlap")
        for name in ("seconds", "total_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RequestError(f"{name} must be above 0, not {value:g}.", field=name)

    def chosen_levels(self) -> tuple[int, ...]:
        """Return the levels to score."""
        levels = DOWNWARD if self.levels is None else self.levels
        return (levels,) if isinstance(levels, int) else tuple(levels)
