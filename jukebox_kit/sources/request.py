"""What is asked of a source: the same fields for all, checked before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from jukebox_kit._files import user_path
from jukebox_kit._values import checked
from jukebox_kit.errors import RequestError

LONGEST = 600.0  # seconds of a recording

SHORTEST = 0.5  # seconds, which is longer than the delays between codebooks

MAX_ITEMS = 100  # recordings of a text

MAX_GUIDANCE = 100.0


@dataclass(frozen=True)
class SourceRequest:
    """Recordings to generate.

    text: what to play, one description or several; none leaves it to the model.
    seconds: length of each recording, `audio` included.
    audio: a recording that the results begin with and continue; None for none.
    audio_seconds: how much of it to use, from its start; None for all.
    items: recordings of each text.
    seed: of each text's item 0; item i has seed + i, so that it does not depend on the number of items.
    greedy: always take the most likely token instead of sampling.
    temperature: of sampling; lower is safer, higher is wilder.
    top_k: sample from this many most likely tokens; None for the source's default, or for all if top_p is set.
    top_p: sample from the most likely tokens whose probabilities add up to this; None for no such limit.
    guidance: how strongly to follow the text, 1 for no guidance; None for the source's default.
    model: a model of the source, by its name on the hub or its folder; None for the source's default.

    RequestError for a field of another type, for values that make no sense, and for fields that exclude each other.
    """

    text: str | tuple[str, ...] = ()
    seconds: float = 12.0
    audio: str | Path | None = None
    audio_seconds: float | None = None
    items: int = 1
    seed: int = 0
    greedy: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    model: str | Path | None = None

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            object.__setattr__(self, name, checked(name, _path_as_text(value), _without_path(hints[name])))
        if isinstance(self.text, str):
            object.__setattr__(self, "text", (self.text,))
        if self.audio is not None:
            object.__setattr__(self, "audio", user_path(self.audio))
        self._check_lengths()
        self._check_sampling()
        self._check_guidance()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts; one empty text if there is none."""
        return self.text if self.text and isinstance(self.text, tuple) else ("",)

    @property
    def count(self) -> int:
        """How many recordings these are: the items of all texts."""
        return len(self.texts) * self.items

    def _check_lengths(self) -> None:
        if any(not text.strip() for text in self.text):
            raise RequestError("text must not be empty; describe the music, or leave it out.", field="text")
        if not SHORTEST <= self.seconds <= LONGEST:
            raise RequestError(
                f"seconds must be from {SHORTEST:g} to {LONGEST:g}, not {self.seconds:g}; 12 is usual.", field="seconds"
            )
        if not 1 <= self.items <= MAX_ITEMS:
            raise RequestError(f"items must be from 1 to {MAX_ITEMS}, not {self.items}.", field="items")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}.", field="seed")
        if self.audio is None and self.audio_seconds is not None:
            raise RequestError("audio-seconds needs audio; pass a recording as well.", field="audio_seconds")
        if self.audio_seconds is not None and not 0 < self.audio_seconds < self.seconds:
            raise RequestError(
                f"audio-seconds must be above 0 and below seconds, which is {self.seconds:g}, not "
                f"{self.audio_seconds:g}.",
                field="audio_seconds",
            )

    def _check_sampling(self) -> None:
        if not 0 < self.temperature <= 10:
            raise RequestError(
                f"temperature must be above 0 and at most 10, not {self.temperature:g}; 1 is usual.",
                field="temperature",
            )
        if self.top_k is not None and self.top_p is not None:
            raise RequestError("top-k cannot be combined with top-p; set only one of them.", field="top_k")
        if self.top_k is not None and self.top_k < 1:
            raise RequestError(f"top-k must be at least 1, not {self.top_k}.", field="top_k")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise RequestError(f"top-p must be above 0 and at most 1, not {self.top_p:g}.", field="top_p")
        if not self.greedy:
            return
        sampled = {"temperature": self.temperature != 1, "top_k": self.top_k, "top_p": self.top_p}
        for name in (name for name, value in sampled.items() if value):
            option = name.replace("_", "-")
            raise RequestError(f"{option} cannot be combined with greedy, which does not sample.", field=name)
        if self.items > 1:
            raise RequestError("items must be 1 with greedy, which plays the same each time.", field="items")

    def _check_guidance(self) -> None:
        if self.guidance is None:
            return
        if not 1 <= self.guidance <= MAX_GUIDANCE:
            raise RequestError(
                f"guidance must be from 1 (none) to {MAX_GUIDANCE:g}, not {self.guidance:g}; 3 is usual.",
                field="guidance",
            )
        if self.guidance > 1 and not self.text:
            raise RequestError("guidance needs a text to follow; pass one, or leave guidance out.", field="guidance")


def _path_as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _without_path(kind: Any) -> Any:
    """Return the type of a field that may be a path, for which text stands."""
    return str | None if kind == str | Path | None else kind
