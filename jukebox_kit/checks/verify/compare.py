"""Compares two engines on the same input: ours with the jukebox package, or any two of ours, with real weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.checks.verify.entries import TOLERANCES, Entry, close, same
from jukebox_kit.engine import ENGINES, UNSAMPLED, Model, Rows, SamplingParams, make_loop
from jukebox_kit.errors import RequestError
from jukebox_kit.model import Labels, Prior, label_rows

TOKENS = 512  # tokens to sample, which takes the jukebox package a minute

AGREE = {"float32": 1.0, "float16": 0.99}  # share of the tokens that must agree

OLD_NAMES = {"native": "fast"}


@dataclass(frozen=True)
class EngineOutput:
    """An engine's results.

    logits: (1, L, bins).
    tokens: (1, L) int64.
    mismatches: positions at which it would have chosen another token than the given one.
    """

    logits: Tensor
    tokens: Tensor
    mismatches: tuple[int, ...]


def compare_engines(name: str, engines: str, device: str, weights: str) -> Iterator[Entry]:
    """Yield entries that compare the second of two engines with the first, component by component.

    Compared are the logits of a window of random codes, and the tokens that the first engine samples, replayed by the
    second. Raises RequestError for anything but two engines, or an engine that cannot run here.
    """
    both = [OLD_NAMES.get(engine, engine) for engine in engines.split(",")]
    if len(both) != 2 or not set(both) <= set(ENGINES):
        raise RequestError(
            f"compare takes two of the engines {', '.join(ENGINES)}, separated by a comma, not {engines!r}."
        )
    first, second = (Model.load(name, device, weights, engine) for engine in both)
    first.check_files()
    audio = torch.rand(1, first.definition.vqvae.hops[-1] * 8, 1, generator=torch.Generator().manual_seed(0)) - 0.5
    codes = first.vqvae.encode(audio.to(first.device))
    for level, found in enumerate(second.vqvae.encode(audio.to(second.device))):
        yield same(f"vqvae.codes_{level}", found, codes[level].cpu())
        sound = first.vqvae.decode(codes[level], level).cpu()
        yield close(f"vqvae.decoded_from_{level}", second.vqvae.decode(codes[level], level), sound, TOLERANCES[weights])
    for level in reversed(range(len(first.definition.priors))):
        wanted = _output(first, level, None)
        first.let_go()
        theirs = _output(second, level, wanted.tokens)
        second.let_go()
        yield close(f"level_{level}.logits", theirs.logits, wanted.logits, TOLERANCES[weights])
        count = wanted.tokens.shape[1]
        agree = 1 - len(theirs.mismatches) / count
        said = f"{count - len(theirs.mismatches)} of {count} agree"
        yield Entry(f"level_{level}.tokens", said, agree >= AGREE[weights])


def _output(model: Model, level: int, tokens: Tensor | None) -> EngineOutput:
    prior = model.prior(level)
    config, device = prior.config, model.device
    generator = torch.Generator().manual_seed(level)
    codes = torch.randint(prior.bins, (1, config.n_ctx), generator=generator).to(device)
    upper_codes = None if prior.top else torch.randint(prior.bins, (1, config.n_ctx // prior.rate), generator=generator)
    words = tuple(torch.randint(1, 27, (config.n_tokens,), generator=generator).tolist())
    total = int(model.definition.sampling.total_seconds * model.definition.vqvae.sr)
    y = label_rows((Labels(1, (1,), words, total),), config, prior.hop, [0], device)
    upper_codes = None if upper_codes is None else upper_codes.to(device)
    logits = prior.logits(codes, y, upper_codes)
    return EngineOutput(logits.cpu(), *_sampled(model, prior, y, upper_codes, tokens))


def _sampled(
    model: Model, prior: Prior, y: Tensor, upper_codes: Tensor | None, tokens: Tensor | None
) -> tuple[Tensor, tuple[int, ...]]:
    """Return a window's first tokens (`given` if there are any), and the positions where others would be chosen."""
    count = min(TOKENS, prior.config.n_ctx)
    made = torch.full((1, count), UNSAMPLED, device=model.device) if tokens is None else tokens.to(model.device)
    with torch.no_grad():
        given = prior.condition(y, upper_codes)
    rows = Rows.of(torch.zeros(1, dtype=torch.long, device=model.device))
    loop = make_loop(prior, rows, 7, SamplingParams(0.98), model.placement)
    mismatches = loop.window(given, made, 0, range(count))
    return made.cpu(), tuple(mismatches)
