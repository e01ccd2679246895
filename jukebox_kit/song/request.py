"""A request for a song, as a person states it, checked before anything is done; and what the model makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from jukebox_kit._files import kept_path
from jukebox_kit.engine import LevelPlan, SamplingParams, plan_level
from jukebox_kit.errors import LabelError, RequestError
from jukebox_kit.model import Found, Labels, Tables, VQVAEConfig, check_total, clean_lyrics, lyric_tokens
from jukebox_kit.model.weights import ModelDefinition, load_definition, model_source
from jukebox_kit.song.chunks import chunks_note

MAX_ITEMS, MAX_CHUNKS = 1024, 64


@dataclass(frozen=True)
class Request:
    """What a person asks for. Tuples of three are level 0, 1, 2; None leaves it to the model's defaults.

    seconds: how much to make; total_seconds: how long the model believes the whole song to be; chunks: how many are
    made at once of levels 0 and 1.
    """

    model: str = "demo"
    artist: str = "unknown"
    genre: str = "unknown"
    lyrics: str = ""
    seconds: float = 8.0
    total_seconds: float | None = None
    items: int = 1
    temperature: tuple[float, float, float] | None = None
    top_k: int | None = None
    top_p: float | None = None
    hop_fraction: tuple[float, float, float] | None = None
    chunks: tuple[int, int] = (1, 1)
    seed: int = 0
    prompt: str | None = None
    prompt_seconds: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise RequestError(f"seconds must be above 0, not {self.seconds:g}; 8 is a good start.", field="seconds")
        if not 1 <= self.items <= MAX_ITEMS:
            raise RequestError(f"items must be from 1 to {MAX_ITEMS}, not {self.items}.", field="items")
        if not 0 <= self.seed < 2**64:
            raise RequestError(f"seed must be a whole number from 0 to 2^64 - 1, not {self.seed}.", field="seed")
        if self.prompt_seconds is not None and not self.prompt_seconds > 0:
            raise RequestError(f"prompt-seconds must be above 0, not {self.prompt_seconds:g}.", field="prompt_seconds")
        if self.prompt is None and self.prompt_seconds is not None:
            raise RequestError("prompt-seconds needs a prompt; give a recording as well.", field="prompt_seconds")
        if not all(0 < fraction <= 1 for fraction in self.hop_fraction or ()):
            raise RequestError(
                "hop-fraction must be above 0 and at most 1 at each level; 0.5,0.5,0.125 is usual.",
                field="hop_fraction",
            )
        if len(self.chunks) != 2 or not all(1 <= count <= MAX_CHUNKS for count in self.chunks):
            raise RequestError(
                f"chunks must be from 1 to {MAX_CHUNKS}, one number or two for levels 0 and 1.", field="chunks"
            )
        for temperature in self.temperature or (1.0,):
            SamplingParams(temperature, self.top_k, self.top_p)

    def sampling_params(self, level: int, definition: ModelDefinition) -> SamplingParams:
        """Return how a level's tokens are chosen."""
        return SamplingParams((self.temperature or definition.sampling.temperature)[level], self.top_k, self.top_p)


class ChangeFields(TypedDict, total=False):
    """The fields of `Request` that an edit may change from some second on, in the forms in which callers write them.

    temperature: one number is the top level's. chunks: one number is both levels'. What is left out stays as it is.
    """

    artist: str
    genre: str
    lyrics: str
    total_seconds: float | None
    temperature: float | Sequence[float] | None
    top_k: int | None
    top_p: float | None
    hop_fraction: Sequence[float] | None
    chunks: int | Sequence[int]
    seed: int
    strict: bool


class ForkFields(ChangeFields, total=False):
    """The fields that another song with the same beginning, or a song of one item, may have otherwise."""

    seconds: float
    prompt: str | Path | None
    prompt_seconds: float | None


class RequestFields(ForkFields, total=False):
    """All fields of `Request`. model: the name of one that ships, or the path of a definition."""

    model: str | Path
    items: int


@dataclass(frozen=True)
class Resolved:
    """A request as a model reads it. Tuples over levels are level 0, 1, 2; samples is the song's length.

    notes: what a person should be told, one sentence each.
    """

    samples: int
    labels: tuple[Labels, ...]
    plans: tuple[LevelPlan, ...]
    notes: tuple[str, ...]


def normalise_request(fields: Mapping[str, Any], definition: ModelDefinition | None = None) -> Request:
    """Return the request with what may be written shorter made whole: the top's temperature alone, relative paths.

    So is one number of chunks for both levels that are made of such. definition: the model's, which spares reading it.
    """
    settled = dict(fields)
    temperature = settled.get("temperature")
    if isinstance(temperature, int | float):
        definition = definition or load_definition(settled.get("model", Request.model))
        settled["temperature"] = (*definition.sampling.temperature[:2], float(temperature))
    if isinstance(settled.get("chunks"), int):
        settled["chunks"] = (settled["chunks"],) * 2
    for name in ("temperature", "hop_fraction", "chunks"):
        if isinstance(settled.get(name), list | tuple):
            settled[name] = tuple(settled[name])
    if settled.get("model") is not None:
        settled["model"] = model_source(settled["model"])
    if settled.get("prompt") is not None:
        settled["prompt"] = str(kept_path(settled["prompt"]))
    return Request(**settled)


def resolve(request: Request, definition: ModelDefinition, tables: dict[str, Tables]) -> Resolved:
    """Look up names, tokenise lyrics, plan windows. Raises LabelError or RequestError where the model cannot do it."""
    vqvae, top = definition.vqvae, definition.top
    hop = vqvae.hops[-1]
    samples = int(request.seconds * vqvae.sr) // hop * hop
    if not samples:
        raise RequestError(
            f"{request.seconds:g} seconds are less than one token; ask for at least {hop / vqvae.sr:.3f}.",
            field="seconds",
        )
    default = max(request.seconds, definition.sampling.total_seconds)
    total_seconds = default if request.total_seconds is None else request.total_seconds
    check_total(total_seconds, top, "seconds" if request.total_seconds is None else "total_seconds")
    if total_seconds < request.seconds:
        raise LabelError(
            f"the total length, {total_seconds:g} seconds, is less than the {request.seconds:g} seconds to make; give "
            f"at least as much, or leave it out.",
            field="total_seconds",
        )
    notes: list[str] = []
    labels: list[Labels] = []
    for prior in definition.priors:
        table = tables[prior.label_set]
        artist, genre = table.artist(request.artist), table.genre(request.genre, prior.max_bow_genre_size)
        notes += [note for note in (*artist.notes, *genre.notes) if note not in notes]
        if request.strict:
            _refuse_unknown(artist, genre)
        tokens = tuple(lyric_tokens(request.lyrics, prior.label_set)) if prior.use_tokens else ()
        labels.append(Labels(artist.ids[0], genre.ids, tokens, int(total_seconds * vqvae.sr)))
    notes += _lyric_notes(request.lyrics, definition)
    fractions = request.hop_fraction or definition.sampling.hop_fraction
    plans = tuple(plan_level(p, vqvae, samples, fractions[p.level]) for p in definition.priors)
    notes += _piece_notes(request, plans, vqvae)
    return Resolved(samples, tuple(labels), plans, tuple(notes))


def _piece_notes(request: Request, plans: tuple[LevelPlan, ...], vqvae: VQVAEConfig) -> list[str]:
    lower = zip(plans, request.chunks, vqvae.hops, strict=False)
    return [note for plan, chunks, hop in lower if (note := chunks_note(plan, chunks, hop / vqvae.sr))]


def _refuse_unknown(artist: Found, genre: Found) -> None:
    for field, found in (("artist", artist), ("genre", genre)):
        if "unknown" in found.used and found.notes:
            raise LabelError(found.notes[0], field=field)


def _lyric_notes(lyrics: str, definition: ModelDefinition) -> list[str]:
    if not lyrics:
        return []
    if not definition.top.use_tokens:
        return [f"model {definition.name} does not read lyrics; they are kept with the song only."]
    dropped = sum(1 for character in lyrics if not clean_lyrics(character, definition.top.label_set))
    return [f"{dropped} characters of the lyrics are not in the model's alphabet and were dropped."] if dropped else []


def read_lyrics(path: Path) -> str:
    """Return the text of a lyrics file; RequestError where it is missing or not UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"there is no lyrics file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read as text ({error}); save the lyrics as UTF-8.") from None
