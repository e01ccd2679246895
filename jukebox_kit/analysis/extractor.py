"""Computes features: a model loaded as deep as needed, recordings in batches of windows, results row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Unpack

from jukebox_kit._files import user_path
from jukebox_kit.analysis.conventions import ClipLabels
from jukebox_kit.analysis.encoding import Clip, Samples, clip_of, encode, prepare, window_batch
from jukebox_kit.analysis.plan import TOP_PART, plan_features
from jukebox_kit.analysis.reducing import Reducer
from jukebox_kit.analysis.settings import FeatureFields, FeatureSettings
from jukebox_kit.analysis.states import layer_states
from jukebox_kit.engine import Model, free_memory, threads_for, usable_device
from jukebox_kit.model import LEVELS, check_total, lyric_tokens
from jukebox_kit.model.weights import PARTS, load_definition
from jukebox_kit.song import read_recording
from jukebox_kit.steps import AUTO
from jukebox_kit.training import return_freed_memory

log = logging.getLogger(__name__)

Say = Callable[[str], object]

Values = NDArray[np.floating[Any]]

LARGE = 2**30  # bytes; below, returning freed memory at once would cost more time than memory it saves

PARTS_READ = (PARTS[0], TOP_PART)

HIGHEST = {"float16": float(np.finfo(np.float16).max), "float32": float("inf")}


class Sink(Protocol):
    """Where a recording's features go."""

    def write(self, layer: int, row: int, values: Values) -> None:
        """Take rows (n, W) of a layer, counted from 0 among the chosen ones; row: the number of the first."""
        ...


@dataclass(frozen=True)
class Features:
    """The features of a recording.

    values: by layer, (frames, W), or (W,) if pooled. rate: frames a second. seconds: of the audio that they describe.
    """

    values: dict[int, Values]
    rate: float
    seconds: float

    def layer(self, number: int) -> Values:
        """Return a layer's features."""
        return self.values[number]


class Extractor:
    """A model and settings for features; the model's files are read when they are first needed, and stay loaded."""

    def __init__(self, settings: FeatureSettings, say: Say = log.warning) -> None:
        """Check the settings and plan the memory. say: gets sentences for the user.

        RequestError, LabelError or CheckpointError if the features cannot be computed with these settings here.
        """
        self.settings, self.convention = settings, settings.way()
        self.definition = load_definition(settings.model)
        self.layers = settings.chosen_layers(self.definition)
        self.reduction = settings.reduction(self.definition)
        if self.convention.total_seconds is not None:
            check_total(self.convention.total_seconds, self.definition.top, "convention")
        for part in PARTS_READ:
            self.definition.find(part)
        device, chosen = usable_device(settings.device), settings.precision
        self.plan = plan_features(
            self.definition,
            self.layers[-1],
            settings.batch_size,
            device,
            free_memory(device),
            None if chosen == AUTO else chosen,
        )
        self.model = Model.load(settings.model, device, self.plan.weights, depth=self.layers[-1])
        self.labels = self._labels(say)
        if device.type == "cpu" and self.plan.peak > LARGE:
            return_freed_memory()

    @property
    def sr(self) -> int:
        """Sample rate of the audio in samples a second."""
        return self.definition.vqvae.sr

    @property
    def width(self) -> int:
        """Values of a frame."""
        return self.definition.top.prior_width

    @property
    def rate(self) -> float:
        """Frames a second, before pooling."""
        return self.reduction.rate or self.reduction.token_rate

    def shape(self, clip: Clip) -> tuple[int, ...]:
        """Return the shape of a layer's features of a recording: (frames, W), or (W,) if pooled."""
        frames = self.reduction.frames(clip.windows[-1].end)
        return (self.width,) if self.reduction.pool != "none" else (frames, self.width)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the values depend on, as JSON holds it."""
        settings = self.settings
        names = ("pool", "convention", "dtype", "seconds", "pad", "artist", "genre", "lyrics", "total_seconds")
        try:
            own = version("jukebox_kit")
        except PackageNotFoundError:
            own = "unknown"
        return {
            "model": self.definition.name,
            "weights": self.model.fingerprints(PARTS_READ),
            "layers": list(self.layers),
            "rate": self.rate,
            **{name: getattr(settings, name) for name in names},
            "offset_seconds": settings.offset_seconds,
            "precision": self.plan.weights,
            "made_with": {"jukebox_kit": own, "torch": torch.__version__, "device": str(self.model.device)},
        }

    def read(self, path: Path, note: Say) -> Samples:
        """Return a recording as the encoder reads it. note: gets sentences; AudioError if it cannot be used."""
        audio = read_recording(path, self.sr, self._seconds, note, limit=not self.convention.peak)
        return self.prepared(np.asarray(audio))

    def prepared(self, audio: Samples) -> Samples:
        """Return mono audio (samples,) at the model's rate as the encoder reads it; AudioError if it cannot be used."""
        wanted = self.settings.seconds
        window = self.definition.top.n_ctx * self.definition.vqvae.hops[-1]
        least = window if wanted is None else int(wanted * self.sr)
        cut = None if self._seconds is None else int(self._seconds * self.sr)
        return prepare(audio[:cut], self.convention, least if self.settings.pad else 0)

    @property
    def _seconds(self) -> float | None:
        """How much of a recording is read at most, None for all."""
        limits = (self.settings.seconds, self.convention.read_seconds)
        return min((seconds for seconds in limits if seconds is not None), default=None)

    def clip(self, audio: Samples) -> Clip:
        """Return prepared audio (samples,) encoded, with its windows; AudioError if it is too short."""
        return clip_of(self.model.vqvae, self.definition.top, audio, self.convention, self.labels)

    def codes(self, audio: Samples, clip: Clip) -> dict[int, NDArray[np.int16]]:
        """Return each level's codes of prepared audio, as the convention encodes it, by level: (tokens,) int16."""
        hops, config = self.definition.vqvae.hops, self.definition.top
        window = config.n_ctx * hops[-1]
        codes = {level: encode(self.model.vqvae, audio, level, self.convention, window) for level in LEVELS}
        count = {level: clip.samples // hops[level] for level in LEVELS}
        return {level: codes[level][: count[level]].cpu().numpy().astype(np.int16) for level in LEVELS}

    def run(self, clips: Iterable[tuple[Clip, Sink]], done: Callable[[Sink, int], object]) -> None:
        """Compute the features of recordings, `batch_size` windows at a time, of several recordings if they are short.

        done: called when a recording's last row was written, with its sink and the number of values that float16
        cannot hold.
        """
        pending: list[tuple[Clip, int, _Output]] = []
        for clip, sink in clips:
            output = _Output(self, sink)
            for number in range(len(clip.windows)):
                pending.append((clip, number, output))
                if len(pending) == self.settings.batch_size:
                    self._compute(pending, done)
                    pending.clear()
        if pending:
            self._compute(pending, done)

    def features(self, recordings: Sequence[str | Path | ArrayLike]) -> list[Features]:
        """Return the features of recordings: paths, or mono audio (samples,) at the model's rate, in [-1, 1].

        AudioError about the first recording that cannot be used.
        """
        sinks: list[_ArraySink] = []

        def clips() -> Iterable[tuple[Clip, Sink]]:
            for recording in recordings:
                if isinstance(recording, str | Path):
                    audio = self.read(user_path(recording), log.warning)
                else:
                    audio = self.prepared(np.asarray(recording, np.float32))
                clip = self.clip(audio)
                sinks.append(_ArraySink(self, clip))
                yield clip, sinks[-1]

        self.run(clips(), lambda _sink, _lost: None)
        return [sink.features() for sink in sinks]

    def _compute(self, jobs: Sequence[tuple[Clip, int, _Output]], done: Callable[[Sink, int], object]) -> None:
        """Compute some windows, and finish the recordings whose last window is among them."""
        prior = self.model.top
        codes, rows = window_batch([(clip, number) for clip, number, _ in jobs], self.model.device)
        with threads_for(prior.config):
            for layer, states in layer_states(prior, codes, rows, self.layers, self.convention.adds_conditioning):
                for (clip, number, output), state in zip(jobs, states, strict=True):
                    window = clip.windows[number]
                    kept = state[window.kept : window.end - window.start]
                    output.add(self.layers.index(layer), kept.cpu().numpy())
        for clip, number, output in jobs:
            if number == len(clip.windows) - 1:
                output.end()
                done(output.sink, output.lost)

    def _labels(self, say: Say) -> ClipLabels:
        settings, config, labels = self.settings, self.definition.top, ClipLabels()
        artist, genres = labels.artist, labels.genres
        if (settings.artist, settings.genre) != ("unknown", "unknown"):
            tables = self.model.tables[config.label_set]
            found, bag = tables.artist(settings.artist), tables.genre(settings.genre, config.max_bow_genre_size)
            for note in (*found.notes, *bag.notes):
                say(note)
            artist, genres = found.ids[0], bag.ids
        tokens = tuple(lyric_tokens(settings.lyrics, config.label_set)) if config.use_tokens else ()
        if settings.lyrics and not config.use_tokens:
            say(f"{self.definition.name} reads no lyrics, so they were left out.")
        return ClipLabels(artist, genres, tokens, settings.total_seconds, settings.offset_seconds)


class _Output:
    """Reduces a recording's states and writes them, layer by layer. lost: values that the dtype cannot hold."""

    def __init__(self, extractor: Extractor, sink: Sink) -> None:
        self.sink, self.lost = sink, 0
        self.highest = HIGHEST[extractor.settings.dtype]
        self.reducers = [Reducer(extractor.reduction) for _ in extractor.layers]
        self.written = [0] * len(self.reducers)

    def add(self, layer: int, rows: NDArray[np.float32]) -> None:
        """Take a layer's states, (n, W)."""
        self._write(layer, self.reducers[layer].add(rows))

    def end(self) -> None:
        """Write what is left."""
        for layer, reducer in enumerate(self.reducers):
            self._write(layer, reducer.end())

    def _write(self, layer: int, rows: NDArray[np.float32]) -> None:
        if len(rows):
            self.lost += int((np.abs(rows) > self.highest).sum())
            self.sink.write(layer, self.written[layer], rows)
            self.written[layer] += len(rows)


class _ArraySink:
    """Collects the features of a recording in memory."""

    def __init__(self, extractor: Extractor, clip: Clip) -> None:
        self.extractor, self.seconds = extractor, clip.samples / extractor.sr
        shape = extractor.shape(clip)
        self.arrays = [np.empty(shape, extractor.settings.dtype) for _ in extractor.layers]

    def write(self, layer: int, row: int, values: Values) -> None:
        """See Sink."""
        array = self.arrays[layer].reshape(-1, values.shape[1])
        with np.errstate(over="ignore"):
            array[row : row + len(values)] = values

    def features(self) -> Features:
        """Return what was written."""
        values: dict[int, Values] = dict(zip(self.extractor.layers, self.arrays, strict=True))
        return Features(values, self.extractor.rate, self.seconds)


def features(
    recordings: str | Path | Sequence[str | Path | ArrayLike], **settings: Unpack[FeatureFields]
) -> list[Features]:
    """Return the features of recordings: one path, or several paths or arrays, see `Extractor.features`.

    The settings are those of `FeatureSettings`. To compute more with the same loaded model, keep an `Extractor`.
    """
    several = [recordings] if isinstance(recordings, str | Path) else recordings
    return Extractor(FeatureSettings(**settings)).features(several)
