"""Codebooks, which learn from moving averages of the vectors that chose each code instead of gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.model import Codebook


@dataclass(frozen=True)
class CodebookUse:
    """How a batch used a codebook.

    entropy: of the chosen codes, in nats.
    chosen: the number of codes chosen at least `revive_below` times in the batch.
    live: the number of codes whose average count is at least `revive_below`.
    moved: the root mean square of the codebook's change.
    """

    entropy: float
    chosen: int
    live: int
    moved: float


class CodebookAverages:
    """The moving averages of one codebook: `counts` (bins,) of its codes, `sums` (bins, width) of their vectors."""

    def __init__(self, book: Codebook, count: float, decay: float = 0.99, revive_below: float = 1.0) -> None:
        """Start from the codebook's vectors, each with an average count of `count`.

        decay: of the averages per batch.
        revive_below: a code with a lower average count is replaced.
        """
        self.book, self.decay, self.revive_below = book, decay, revive_below
        self.counts = torch.full((len(book.k),), count, device=book.k.device)
        self.sums = book.k * count

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, spare: Tensor) -> CodebookUse:
        """Move the codebook towards the vectors that chose its codes.

        latents: (K, width), the vectors of the batch.
        codes: (K,), the code of each.
        spare: (bins, width), the replacement of each code if it is rarely chosen.
        """
        bins, before = len(self.book.k), self.book.k.clone()
        chosen = torch.bincount(codes, minlength=bins).to(latents.dtype)
        total = torch.zeros_like(self.sums).index_add_(0, codes, latents)
        self.counts = self.decay * self.counts + (1 - self.decay) * chosen
        self.sums = self.decay * self.sums + (1 - self.decay) * total
        live = self.counts >= self.revive_below
        self.book.k.copy_(torch.where(live[:, None], self.sums / self.counts[:, None], spare))
        share = chosen / chosen.sum()
        return CodebookUse(
            float(-(share * (share + 1e-8).log()).sum()),
            int((chosen >= self.revive_below).sum()),
            int(live.sum()),
            float((self.book.k - before).norm() / math.sqrt(before.numel())),
        )


def draw_vectors(vectors: Tensor, bins: int, generator: torch.Generator) -> Tensor:
    """Return `bins` of the vectors (K, width) in random order; if K is smaller, repeated with a little noise."""
    pool = repeated(vectors, bins)
    if len(pool) > len(vectors):
        pool = separated(pool, torch.randn(pool.shape, generator=generator).to(vectors.device))
    return pool[torch.randperm(len(pool), generator=generator)[:bins].to(vectors.device)]


def repeated(vectors: Tensor, bins: int) -> Tensor:
    """Return the vectors (K, width), repeated as a whole until there are at least `bins`."""
    return vectors.repeat(-(-bins // len(vectors)), 1) if len(vectors) < bins else vectors


def separated(vectors: Tensor, noise: Tensor) -> Tensor:
    """Return repeated vectors (K, width), separated slightly by standard normal noise of the same shape."""
    return vectors + noise * (0.01 / math.sqrt(noise.shape[1]))
