"""A request for a song, checked before anything is written, and how a model reads it."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, get_type_hints

from jukebox_kit._files import kept_path
from jukebox_kit._values import checked
from jukebox_kit.engine import LevelPlan, SamplingParams, plan_level
from jukebox_kit.errors import LabelError, RequestError
from jukebox_kit.model import Found, Labels, Tables, VQVAEConfig, check_total, dropped_characters
from jukebox_kit.model.weights import ModelDefinition, load_definition, model_source
from jukebox_kit.song.chunks import chunks_note
from jukebox_kit.song.lyrics.lrc import end_of_lyrics, has_times, lyric_labels, without_times

if TYPE_CHECKING:
    from jukebox_kit.engine import Model

MAX_ITEMS, MAX_CHUNKS = 1024, 64

MAX_LORA_SCALE = 2.0


@dataclass(frozen=True)
class Request:
    """The fields of a request, within their ranges; `normalise_request` makes one of what callers write.

    model: the name of one that ships, or the absolute path of a definition.
    artist, genre: looked up in the model's tables.
    lyrics: as written, also with times as in .lrc files; the model reads those characters that are in its alphabet.
    seconds: the length to sample. total_seconds: the length of the whole song, as the model is conditioned on it.
    items: songs sampled from this request, each with noise of its own.
    temperature, hop_fraction: for levels 0, 1, 2. top_k, top_p: at most one of them.
    chunks: how many chunks of an item are sampled at once, for levels 0 and 1.
    prompt: the absolute path of a recording that the song starts with. prompt_seconds: how much of it, all by default.
    strict: whether an artist or genre that the model does not know is an error.
    lora_scale: how strongly a fine-tuned model differs from its base, from 0 (not at all) to 1, or up to 2.

    None stands for the model's default. Raises RequestError about a field that is outside of its range.
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
    lora_scale: float = 1.0

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
            raise RequestError("prompt-seconds needs a prompt; pass a recording as well.", field="prompt_seconds")
        if not all(0 < fraction <= 1 for fraction in self.hop_fraction or ()):
            raise RequestError(
                "hop-fraction must be above 0 and at most 1 at each level; 0.5,0.5,0.125 is usual.",
                field="hop_fraction",
            )
        if len(self.chunks) != 2 or not all(1 <= count <= MAX_CHUNKS for count in self.chunks):
            raise RequestError(
                f"chunks must be from 1 to {MAX_CHUNKS}, one number or two for levels 0 and 1.", field="chunks"
            )
        if not 0 <= self.lora_scale <= MAX_LORA_SCALE:
            raise RequestError(
                f"lora-scale must be from 0 to {MAX_LORA_SCALE:g}, not {self.lora_scale:g}; 1 is the fine-tuned model.",
                field="lora_scale",
            )
        for temperature in self.temperature or (1.0,):
            SamplingParams(temperature, self.top_k, self.top_p)

    def sampling_params(self, level: int, definition: ModelDefinition) -> SamplingParams:
        """Return how a level's tokens are chosen."""
        return SamplingParams((self.temperature or definition.sampling.temperature)[level], self.top_k, self.top_p)


FIELD_TYPES: Mapping[str, Any] = {
    **get_type_hints(Request),
    "temperature": float | tuple[float, float, float] | None,  # one number is the top level's
    "chunks": int | tuple[int, int],  # one number is both levels'
}

"""The type of each field of `Request` as callers may write it."""


class ChangeFields(TypedDict, total=False):
    """The fields of `Request` that an edit may change for what is sampled from then on, as callers may write them.

    temperature: a list for levels 0, 1, 2, or one number for level 2. chunks: a list for levels 0, 1, or one number for
    both. Fields that are left out do not change.
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
    """The fields of a fork, which keeps the model and the number of items, or of `generate`, which samples one item."""

    seconds: float
    prompt: str | Path | None
    prompt_seconds: float | None
    lora_scale: float


class RequestFields(ForkFields, total=False):
    """All fields of `Request`."""

    model: str | Path
    items: int


@dataclass(frozen=True)
class Resolved:
    """A request as a model reads it.

    samples: the song's length, a whole number of tokens of the top level. labels, plans: for levels 0, 1, 2.
    notes: what the user should know, one sentence each.
    """

    samples: int
    labels: tuple[Labels, ...]
    plans: tuple[LevelPlan, ...]
    notes: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """Return the fields for song.json, and for hashes of them.

        Those of labels that came later are left out while they are empty, so that the hashes of older songs hold.
        """
        values = asdict(self)
        for labels in values["labels"]:
            if not labels["due"]:
                del labels["due"]
        return values


def typed_fields(fields: Mapping[str, Any], known: Collection[str] = tuple(FIELD_TYPES)) -> dict[str, Any]:
    """Return fields of a request, each as its type (see `arguments`); a path may also be a `Path`.

    Raises RequestError about a field of another type, or about one that is not among `known`.
    """
    typed: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise RequestError(f"{name} cannot be set here; {hint}", field=name)
        is_path = name in ("model", "prompt") and isinstance(value, os.PathLike)
        typed[name] = checked(name, os.fspath(value) if is_path else value, FIELD_TYPES[name])
    return typed


def normalise_request(fields: Mapping[str, Any], definition: ModelDefinition | None = None) -> Request:
    """Return the request, each field as its type and complete: temperatures and chunks of all levels, absolute paths.

    definition: the model's, which spares reading it. Raises RequestError as `typed_fields` and `Request` do.
    """
    typed = typed_fields(fields)
    temperature, chunks = typed.get("temperature"), typed.get("chunks")
    if isinstance(temperature, float):
        definition = definition or load_definition(typed.get("model", Request.model))
        typed["temperature"] = (*definition.sampling.temperature[:2], temperature)
    if isinstance(chunks, int):
        typed["chunks"] = (chunks, chunks)
    if "model" in typed:
        typed["model"] = model_source(typed["model"])
    if typed.get("prompt") is not None:
        typed["prompt"] = str(kept_path(typed["prompt"]))
    return Request(**typed)


def load_model(request: Request) -> Model:
    """Return the model of a request on the default device; its files are read on first use."""
    from jukebox_kit.engine import Model  # slow to import, and songs are read without it

    return Model.load(request.model, lora_scale=request.lora_scale)


def resolve(request: Request, definition: ModelDefinition, tables: dict[str, Tables]) -> Resolved:
    """Look up names, tokenise lyrics, plan windows; LabelError or RequestError if the model cannot sample the song."""
    if request.lora_scale != 1.0 and not definition.adapters:
        raise RequestError(
            f"lora-scale is for fine-tuned models, and {definition.name} is not one; omit it.", field="lora_scale"
        )
    vqvae = definition.vqvae
    hop = vqvae.hops[-1]
    samples = int(request.seconds * vqvae.sr) // hop * hop
    if not samples:
        raise RequestError(
            f"{request.seconds:g} seconds are less than one token; ask for at least {hop / vqvae.sr:.3f}.",
            field="seconds",
        )
    total_seconds = _total_seconds(request, definition)
    notes: list[str] = []
    labels: list[Labels] = []
    for prior in definition.priors:
        table = tables[prior.label_set]
        artist, genre = table.artist(request.artist), table.genre(request.genre, prior.max_bow_genre_size)
        notes += [note for note in (*artist.notes, *genre.notes) if note not in notes]
        if request.strict:
            _refuse_unknown(artist, genre)
        tokens, due = lyric_labels(request.lyrics, prior.label_set, vqvae.sr) if prior.use_tokens else ((), ())
        labels.append(Labels(artist.ids[0], genre.ids, tokens, int(total_seconds * vqvae.sr), due=due))
    notes += _lyric_notes(request.lyrics, definition, total_seconds)
    fractions = request.hop_fraction or definition.sampling.hop_fraction
    plans = tuple(plan_level(p, vqvae, samples, fractions[p.level]) for p in definition.priors)
    notes += _chunk_notes(request, plans, vqvae)
    return Resolved(samples, tuple(labels), plans, tuple(notes))


def _total_seconds(request: Request, definition: ModelDefinition) -> float:
    """Return the length of the whole song; LabelError if the model or the seconds to sample do not allow it."""
    total, top = request.total_seconds, definition.top
    if total is None and top.use_tokens and has_times(request.lyrics):
        end = end_of_lyrics(request.lyrics)
        if top.max_duration is not None and not end < top.max_duration:
            raise LabelError(
                f"the lyrics last until {end:.1f} seconds, and songs of this model last less than "
                f"{top.max_duration:g}; remove what is sung later, or set a total length.",
                field="lyrics",
            )
        total = max(request.seconds, end, top.min_duration or 0.0)
    elif total is None:
        total = max(request.seconds, definition.sampling.total_seconds)
    check_total(total, top, "seconds" if request.total_seconds is None else "total_seconds")
    if total < request.seconds:
        raise LabelError(
            f"the total length, {total:g} seconds, is less than the {request.seconds:g} seconds to sample; "
            f"pass at least as much, or omit it.",
            field="total_seconds",
        )
    return total


def _chunk_notes(request: Request, plans: tuple[LevelPlan, ...], vqvae: VQVAEConfig) -> list[str]:
    lower = zip(plans, request.chunks, vqvae.hops, strict=False)
    return [note for plan, chunks, hop in lower if (note := chunks_note(plan, chunks, hop / vqvae.sr))]


def _refuse_unknown(artist: Found, genre: Found) -> None:
    for field, match in (("artist", artist), ("genre", genre)):
        if "unknown" in match.used and match.notes:
            raise LabelError(match.notes[0], field=field)


def _lyric_notes(lyrics: str, definition: ModelDefinition, total_seconds: float) -> list[str]:
    if not lyrics:
        return []
    if not definition.top.use_tokens:
        return [f"model {definition.name} does not read lyrics; they are only saved with the song."]
    notes: list[str] = []
    if has_times(lyrics):
        end = end_of_lyrics(lyrics)
        late = "; what is due later is not sung" if end > total_seconds else ""
        notes.append(f"the lyrics have times, until {end:.1f} s, in a song of {total_seconds:.1f} s{late}.")
    dropped = len(dropped_characters(without_times(lyrics), definition.top.label_set))
    if dropped:
        notes.append(f"{dropped} characters of the lyrics are not in the model's alphabet and were dropped.")
    return notes
