"""What a source of recordings is: the protocol that a model of another library follows to be one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jukebox_kit._values import checked
from jukebox_kit.errors import RequestError
from jukebox_kit.sources.request import SourceRequest

PRECISIONS = ("auto", "float32", "float16")


@dataclass(frozen=True)
class SourceRun:
    """How and where recordings are generated; none of it is part of the request.

    device: "cpu" or "cuda", None for the GPU if there is one.
    precision: of the model's weights, one of PRECISIONS; auto is float16 on a GPU and float32 on a CPU.
    batch_size: items generated together at most, fewer if memory is short. With 1 a seed's audio is the same bit for
        bit whatever else is generated; more is faster, and rounding may change a token.
    progress: called with the tokens done and their total, both of all recordings together.
    stop: called at every token; once it returns True, what there is is saved and StoppedError is raised.
    note: called with sentences for the user, such as the licence before a download.
    saved: called with the path of each recording once it is saved.
    """

    device: str | None = None
    precision: str = "auto"
    batch_size: int = 1
    progress: Callable[[int, int], object] | None = None
    stop: Callable[[], bool] | None = None
    note: Callable[[str], object] | None = None
    saved: Callable[[Path], object] | None = None

    def __post_init__(self) -> None:
        for name, kind in {"device": str | None, "precision": str, "batch_size": int}.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))
        if self.precision not in PRECISIONS:
            raise RequestError(
                f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision}.", field="precision"
            )
        if self.batch_size < 1:
            raise RequestError(f"batch-size must be at least 1, not {self.batch_size}.", field="batch_size")
        for name in ("progress", "stop", "note", "saved"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise RequestError(f"{name} must be a function or None, not {getattr(self, name)!r}.", field=name)

    def say(self, sentence: str) -> None:
        """Pass a sentence to the user, if someone listens."""
        if self.note is not None:
            self.note(sentence)


@dataclass(frozen=True)
class Recording:
    """A generated recording.

    number: which of the request's recordings, counted from 0: text 0's items, then text 1's.
    audio: (samples,), or (samples, channels), float32 in [-1, 1].
    complete: False if it was stopped before its length.
    facts: what it was made of, as it is written to the JSON file.
    """

    number: int
    audio: Any
    complete: bool
    facts: Mapping[str, Any]


class Source(Protocol):
    """A model that is loaded for one request."""

    @property
    def sr(self) -> int:
        """Samples a second of its recordings."""

    def recordings(self) -> Iterator[Recording]:
        """Generate and yield the request's recordings, each when it is complete.

        If the user stops, by `SourceRun.stop` or Ctrl-C, those in progress are yielded as they are, and then
        StoppedError or KeyboardInterrupt is raised. Errors are those of `errors.py`.
        """


OpenSource = Callable[[SourceRequest, SourceRun], Source]
"""Loads a source's model for a request."""
