"""What lower precision costs: the cross-entropy of music in bits per token, by precision and engine.

The music is synthesised like the demo model's training songs, but from seeds that training never used, and encoded by
the model's VQ-VAE. Tokens are fed one by one through the steps of sampling, in batches: int8 layers round their inputs
over the range of the whole batch, so a forward pass over whole windows would round more coarsely.
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

SEED = 2  # of songs that the demo model was not trained on

FORMS = ("fast", "cached")  # engines that multiply differently


@dataclass(frozen=True)
class BitsRow:
    """A level's mean cross-entropy over its first windows, in bits per token.

    more: the difference from the first precision and engine, positive if it is worse.
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
    """Return the bits per token of each level, precision and engine, on the first windows of `songs` songs.

    weights: precisions, by default all that the device supports. All are compared with the first one and the first
        engine.
    engines: some of FORMS.
    Raises RequestError if `songs` is below 1, or for other engines.
    """
    if songs < 1:
        raise RequestError(f"songs must be at least 1, not {songs}; 8 is a good start.")
    if not engines or not set(engines) <= set(FORMS):
        raise RequestError(f"the engines to compare are {' and '.join(FORMS)}, not {engines}.")
    first = Model.load(model, device)
    windows = synthesise_windows(first.definition, songs, SEED)
    if first.definition.name != "demo":  # other models have other names
        unknown = [replace(labels, artist=0, genres=(0,)) for labels in windows.labels]
        windows = replace(windows, labels=unknown)
    asked = [(kind, engine) for kind in weights or precisions(first.device) for engine in engines]
    corpora = {level: bits_corpus(first, windows, level) for level in levels}
    found: list[BitsRow] = []
    for level in levels:
        for kind, engine in asked:
            say(f"level {level}: {kind}, engine {engine}")
            bits, tokens = _bits(Model.load(model, device, kind, engine), level, corpora[level])
            base = found[-(len(found) % len(asked))].bits if len(found) % len(asked) else bits
            found.append(BitsRow(level, kind, engine, tokens, bits, bits - base))
    return found


def bits_as_json(rows: Iterable[BitsRow]) -> list[dict[str, Any]]:
    """Return the rows as plain values."""
    return [asdict(row) for row in rows]


def bits_as_text(rows: Iterable[BitsRow]) -> str:
    """Return the rows as a table."""
    heads = ("part", "weights", "engine", "tokens", "bits per token", "more")
    cells = [
        (f"level_{row.level}", row.weights, row.engine, f"{row.tokens:,}", f"{row.bits:.4f}", f"{row.more:+.4f}")
        for row in rows
    ]
    return "\n".join(table(heads, cells))


def bits_corpus(model: Model, windows: Windows, level: int) -> CodeCorpus:
    """Return the codes of the first windows at a level, and those of the level above."""
    heard = replace(windows, audio=windows.audio.to(model.device))
    codes = encode_windows(model.vqvae, heard, level)
    top = level == len(model.definition.priors) - 1
    upper_codes = None if top else encode_windows(model.vqvae, heard, level + 1)
    return CodeCorpus(blank_prior(model.definition, level), codes, upper_codes, heard.labels)


@torch.no_grad()
def _bits(model: Model, level: int, corpus: CodeCorpus) -> tuple[float, int]:
    """Return the mean bits per token of the first window of each song, and the number of tokens."""
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
