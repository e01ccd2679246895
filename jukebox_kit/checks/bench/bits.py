"""What keeping weights in fewer bits costs: bits a token of music, by the kind of weights and the way to compute.

The music is what the demo model's songs are made of, songs that its training never heard, encoded by the model's own
VQ-VAE. Tokens are fed one by one through the steps that sampling takes, several songs at once: Int8Map rounds what goes
in over the range of all of them together, so that a forward over whole windows would round more coarsely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from jukebox_kit.checks.bench.report import table
from jukebox_kit.engine import CachedDecoder, Model, threads_for
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD
from jukebox_kit.model.weights import blank_prior
from jukebox_kit.steps import precisions
from jukebox_kit.training import CodeCorpus, Windows, encode_windows, synthesise_windows

SEED = 2  # of songs: not those that the demo model was trained with

FORMS = ("fast", "cached")  # engines that differ in how maps are multiplied, the order kept


@dataclass(frozen=True)
class BitsRow:
    """A level's mean cross-entropy over its first windows, in bits a token over the music's codes.

    more: than with the first kind of weights and way to compute, positive where it costs.
    """

    level: int
    weights: str
    engine: str
    tokens: int
    bits: float
    more: float


def bits_by_weights(
    model: str | Path = "demo",
    songs: int = 8,
    device: str | torch.device | None = None,
    weights: tuple[str, ...] | None = None,
    engines: tuple[str, ...] = FORMS,
    levels: tuple[int, ...] = DOWNWARD,
    say: Callable[[str], None] = lambda _: None,
) -> list[BitsRow]:
    """Return the bits a token of each level, kind of weights and engine, on windows of so many songs.

    weights: by default all that the device computes with; what they are compared with is the first of them with the
    first engine. engines: of FORMS. Raises RequestError for no songs, or for other engines.
    """
    if songs < 1:
        raise RequestError(f"songs must be at least 1, not {songs}; 8 is a good start.")
    if not engines or not set(engines) <= set(FORMS):
        raise RequestError(f"engines that multiply in their own ways are {' and '.join(FORMS)}, not {engines}.")
    first = Model.load(model, device)
    windows = synthesise_windows(first.definition, songs, SEED)
    if first.definition.name != "demo":  # others know other names
        unknown = [replace(labels, artist=0, genres=(0,)) for labels in windows.labels]
        windows = replace(windows, labels=unknown)
    asked = [(kind, engine) for kind in weights or precisions(first.device) for engine in engines]
    corpora = {level: bits_corpus(first, windows, level) for level in levels}
    found: list[BitsRow] = []
    for level in levels:
        for kind, engine in asked:
            say(f"level {level}: {kind} weights, engine {engine}")
            bits, tokens = _bits(Model.load(model, device, kind, engine), level, corpora[level])
            base = found[-(len(found) % len(asked))].bits if len(found) % len(asked) else bits
            found.append(BitsRow(level, kind, engine, tokens, bits, bits - base))
    return found


def bits_as_json(rows: Iterable[BitsRow]) -> list[dict[str, Any]]:
    """Return the rows for programs."""
    return [asdict(row) for row in rows]


def bits_as_text(rows: Iterable[BitsRow]) -> str:
    """Return the rows as a table for a person."""
    heads = ("part", "weights", "engine", "tokens", "bits a token", "more")
    cells = [
        (f"level_{row.level}", row.weights, row.engine, f"{row.tokens:,}", f"{row.bits:.4f}", f"{row.more:+.4f}")
        for row in rows
    ]
    return "\n".join(table(heads, cells))


def bits_corpus(model: Model, windows: Windows, level: int) -> CodeCorpus:
    """Return the codes of windows at a level, and at the level above it."""
    heard = replace(windows, audio=windows.audio.to(model.device))
    codes = encode_windows(model.vqvae, heard, level)
    top = level == len(model.definition.priors) - 1
    upper_codes = None if top else encode_windows(model.vqvae, heard, level + 1)
    return CodeCorpus(blank_prior(model.definition, level), codes, upper_codes, heard.labels)


@torch.no_grad()
def _bits(model: Model, level: int, corpus: CodeCorpus) -> tuple[float, int]:
    """Return the mean bits a token of the first window of each song, and how many tokens they have."""
    prior, songs = model.prior(level), len(corpus.codes)
    codes, y, upper_codes = corpus.batch(list(range(songs)), [0] * songs)
    decoder = CachedDecoder(prior, songs)
    with threads_for(prior.config):
        decoder.prefill(prior.condition(y, upper_codes, decoder.conditioning), codes[:, :0])
        total = torch.zeros((), dtype=torch.float64, device=codes.device)
        for position in range(codes.shape[1]):
            total += F.cross_entropy(decoder.next_logits(), codes[:, position], reduction="sum")
            decoder.feed(codes[:, position])
    return float(total) / math.log(2) / codes.numel(), codes.numel()
