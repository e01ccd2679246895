"""Sampling the tokens of a level: choosing each by its logits and the noise, window after window.

Shapes: N songs (items), L tokens. A token not made yet is -1, so that any state of a level can be gone on from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.codes import UNMADE
from jukebox_kit.errors import RequestError
from jukebox_kit.labels import Labels, label_rows
from jukebox_kit.model.decoding import CachedDecoder, Decoder, PlainDecoder
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.noise import gumbel
from jukebox_kit.windows import LevelPlan

NOISE_VALUES = 2**21  # made at a time: 16 MB in float64, and few enough to make that nobody waits for them
READ_OUT = 16  # tokens of each song that a GPU makes before they are read


@dataclass(frozen=True)
class Choice:
    """How a token is chosen from its logits: temperature, then top-k or top-p."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RequestError(f"temperature must be above 0, not {self.temperature:g}; 0.98 is usual.")
        if self.top_k is not None and self.top_p is not None:
            raise RequestError("top-k and top-p exclude each other; give one of them.")
        if self.top_k is not None and self.top_k < 1:
            raise RequestError(f"top-k must be at least 1, not {self.top_k}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise RequestError(f"top-p must be above 0 and at most 1, not {self.top_p:g}.")

    def filtered(self, logits: Tensor) -> Tensor:
        """Return logits / temperature with what may not be chosen at -inf, (N, bins)."""
        logits = logits / self.temperature
        if self.top_k is not None:
            kth = logits.topk(min(self.top_k, logits.shape[-1]))[0][:, -1:]
            return logits.masked_fill(logits < kth, float("-inf"))
        if self.top_p is not None:
            ordered, order = logits.sort(dim=-1, descending=True, stable=True)
            probabilities = ordered.softmax(-1)
            before = probabilities.cumsum(-1) - probabilities
            return logits.masked_fill(
                torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= self.top_p),
                float("-inf"),
            )
        return logits

    def choose(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Return the chosen codes by Gumbel-max, the lowest on ties: (N, bins), (N, bins) → (N,) int64."""
        return (self.filtered(logits) + noise).argmax(-1)


class Noise:
    """The Gumbel noise of some items of a level, made for many positions at once, given out one after another.

    Which position is next is kept on the device, so that giving out noise can be part of a captured step.
    """

    def __init__(self, seed: int, level: int, items: Tensor, bins: int) -> None:
        self.seed, self.level, self.items, self.bins = seed, level, items, bins
        self.made = max(1, NOISE_VALUES // (len(items) * bins))  # positions at once
        self.values = torch.zeros(len(items), self.made, bins, device=items.device)
        self.index = torch.zeros(1, dtype=torch.long, device=items.device)

    def begin(self, position: int) -> int:
        """Make noise from a position, counted from the start of the level; returns for how many positions."""
        positions = torch.arange(position, position + self.made, device=self.items.device)
        self.values.copy_(gumbel(self.seed, self.level, self.items, positions, self.bins))
        self.index.zero_()
        return self.made

    def next(self) -> Tensor:
        """Return the next position's noise, (N, bins)."""
        values = self.values.index_select(1, self.index)[:, 0]
        self.index += 1
        return values


@dataclass(frozen=True)
class LevelJob:
    """Everything the tokens of some items of a level depend on, beside the prior and what stands already.

    items: the rows in the song; labels: one for each; above: upper codes (N, L / rate) int64, None at the top.
    """

    plan: LevelPlan
    items: tuple[int, ...]
    labels: tuple[Labels, ...]
    above: Tensor | None
    seed: int
    choice: Choice
    engine: str = "fast"
    given: int = 0


def _unwatched(_position: int) -> None:
    """Serve where nobody wants to know how far sampling is."""


def sample_level(prior: Prior, job: LevelJob, codes: Tensor, made: Callable[[int], None] = _unwatched) -> list[int]:
    """Fill `codes` (N, total) int64 in place wherever it holds UNMADE.

    `made(position)` is called as tokens are read out, with the last one's position. A window that was left in the
    middle is run again as it was run: the same prefill, then the tokens that stand through the same steps, each of
    which must come out as it stands; the positions where one did not are returned.
    """
    device, strangers = codes.device, list[int]()
    noise = Noise(job.seed, job.plan.level, torch.tensor(job.items, device=device), prior.bins)
    loop = TokenLoop(make_decoder(prior, len(job.items), job.engine), job.choice, noise, job.plan.n_ctx)
    for start, begin, end in job.plan.windows(job.given):
        if not bool((codes[:, begin:end] == UNMADE).any()):
            continue
        y = label_rows(list(job.labels), prior.config, prior.hop, start, device)
        above = None if job.above is None else job.plan.above(job.above, start)
        with torch.no_grad():
            given = prior.condition(y, above, loop.decoder.conditioning)
        strangers += loop.window(given, codes, start, range(begin, end), made)
    return strangers


def make_decoder(prior: Prior, songs: int, engine: str) -> Decoder:
    """Return the decoder of an engine for so many songs at once."""
    return PlainDecoder(prior) if engine == "plain" else CachedDecoder(prior, songs)


class TokenLoop:
    """Samples the tokens of window after window; on the device alone, with tokens read out some at a time."""

    def __init__(self, decoder: Decoder, choice: Choice, noise: Noise, n_ctx: int) -> None:
        songs, device = len(noise.items), noise.items.device
        self.decoder, self.choice, self.noise = decoder, choice, noise
        self.codes = torch.full((songs, n_ctx), UNMADE, device=device)
        self.chosen = torch.full((songs, n_ctx), UNMADE, device=device)  # also where another token stands
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.read_out = 1 if device.type == "cpu" else READ_OUT

    @torch.no_grad()
    def step(self) -> None:
        """Choose the current position's token of every song and feed it, or what stands there already."""
        chosen = self.choice.choose(self.decoder.next_logits(), self.noise.next())
        saved = self.codes.index_select(1, self.position)[:, 0]
        fed = torch.where(saved == UNMADE, chosen, saved)
        self.chosen.index_copy_(1, self.position, chosen[:, None])
        self.codes.index_copy_(1, self.position, fed[:, None])
        self.position += 1
        self.decoder.feed(fed)

    def window(
        self, given: Conditioning, codes: Tensor, start: int, positions: range, made: Callable[[int], None] = _unwatched
    ) -> list[int]:
        """Fill `positions` of `codes` (N, total) in place, in the window at `start`; returns where tokens are strange.

        What stands from `start` to the first of them is the window's beginning; what stands among them is fed, and
        strange where another token would have been chosen.
        """
        self.decoder.prefill(given, codes[:, start : positions.start])
        self.position.fill_(positions.start - start)
        window = codes[:, start : positions.stop]
        self.codes[:, : window.shape[1]] = window
        # Whether a position stands already is read once a window: asking the device at every token would stall it.
        standing = (codes[:, positions.start : positions.stop] != UNMADE).any(0).tolist()
        strangers, position, noisy = list[int](), positions.start, positions.start
        while position < positions.stop:
            if position == noisy:
                noisy += self.noise.begin(position)
            end = min(position + self.read_out, positions.stop, noisy)
            for _ in range(position, end):
                self.step()
            if any(standing[position - positions.start : end - positions.start]):
                strangers += self._strangers(codes, start, range(position, end))
            codes[:, position:end] = self.codes[:, position - start : end - start]
            made(end - 1)
            position = end
        return strangers

    def _strangers(self, codes: Tensor, start: int, positions: range) -> list[int]:
        saved = codes[:, positions.start : positions.stop]
        chosen = self.chosen[:, positions.start - start : positions.stop - start]
        found = ((saved != UNMADE) & (saved != chosen)).any(0).tolist()
        return [position for position, strange in zip(positions, found, strict=True) if strange]
