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
from jukebox_kit.model.decoding import ENGINES, Decoder
from jukebox_kit.model.prior import Prior
from jukebox_kit.noise import gumbel
from jukebox_kit.windows import LevelPlan

NOISE_VALUES = 2**21  # made at a time: 16 MB in float64, and few enough to make that nobody waits for them


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
    """The Gumbel noise of some items of a level, made some positions at a time."""

    def __init__(self, seed: int, level: int, items: Tensor, bins: int) -> None:
        self.seed, self.level, self.items, self.bins = seed, level, items, bins
        self.first, self.values = 0, torch.empty(0)

    def at(self, position: int) -> Tensor:
        """Return the noise of one position from the start of the level, (N, bins)."""
        index = position - self.first
        if not (self.values.numel() and 0 <= index < self.values.shape[1]):
            count = max(1, NOISE_VALUES // (len(self.items) * self.bins))
            positions = torch.arange(position, position + count, device=self.items.device)
            self.first, index = position, 0
            self.values = gumbel(self.seed, self.level, self.items, positions, self.bins)
        return self.values[:, index]


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
    engine: str = "cached"
    given: int = 0


def _unwatched(_position: int) -> None:
    """Serve where nobody wants to know how far sampling is."""


def sample_level(prior: Prior, job: LevelJob, codes: Tensor, made: Callable[[int], None] = _unwatched) -> list[int]:
    """Fill `codes` (N, total) int64 in place wherever it holds UNMADE.

    `made(position)` is called after each token. A window that was left in the middle is run again as it was run: the
    same prefill, then the tokens that stand through the same steps, each of which must come out as it stands; the
    positions where one did not are returned.
    """
    device = codes.device
    noise = Noise(job.seed, job.plan.level, torch.tensor(job.items, device=device), prior.bins)
    strangers: list[int] = []
    for start, begin, end in job.plan.windows(job.given):
        if not bool((codes[:, begin:end] == UNMADE).any()):
            continue
        y = label_rows(list(job.labels), prior.config, prior.hop, start, device)
        above = None if job.above is None else job.plan.above(job.above, start)
        with torch.no_grad():
            decoder: Decoder = ENGINES[job.engine](prior, prior.condition(y, above))
        decoder.prefill(codes[:, start:begin])
        strangers += sample_positions(decoder, job.choice, noise, codes, range(begin, end), made)
    return strangers


def sample_positions(
    decoder: Decoder,
    choice: Choice,
    noise: Noise,
    codes: Tensor,
    positions: range,
    made: Callable[[int], None] = _unwatched,
) -> list[int]:
    """Fill `positions` of `codes` (N, total) in place; what stands is fed, and returned where it is strange."""
    strangers: list[int] = []
    # Whether a position stands already is read once a window: asking the device at every token would stall it.
    standing = (codes[:, positions.start : positions.stop] != UNMADE).any(0).tolist()
    for position in positions:
        chosen = choice.choose(decoder.next_logits(), noise.at(position))
        if standing[position - positions.start]:
            saved = codes[:, position]
            if bool(((saved != UNMADE) & (saved != chosen)).any()):
                strangers.append(position)
            chosen = torch.where(saved == UNMADE, chosen, saved)
        codes[:, position] = chosen
        decoder.feed(chosen)
        made(position)
    return strangers
