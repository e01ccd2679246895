"""Choosing a token from its logits: temperature, then top-k or top-p, then Gumbel-max with the given noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jukebox_kit.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SamplingParams:
    """The temperature, and top-k or top-p, with which tokens are chosen from logits."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RequestError(
                f"temperature must be above 0, not {self.temperature:g}; 0.98 is usual.", field="temperature"
            )
        if self.top_k is not None and self.top_p is not None:
            raise RequestError("top-k cannot be combined with top-p; set only one of them.", field="top_k")
        if self.top_k is not None and self.top_k < 1:
            raise RequestError(f"top-k must be at least 1, not {self.top_k}.", field="top_k")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise RequestError(f"top-p must be above 0 and at most 1, not {self.top_p:g}.", field="top_p")

    @property
    def only_temperature(self) -> bool:
        """Whether every code may be chosen."""
        return self.top_k is None and self.top_p is None

    def filtered(self, logits: Tensor) -> Tensor:
        """Return logits / temperature, with -inf for codes that may not be chosen, (N, bins)."""
        logits = logits / self.temperature
        if self.top_k is not None:
            kth = logits.topk(min(self.top_k, logits.shape[-1]))[0][:, -1:]
            return logits.masked_fill(logits < kth, float("-inf"))
        if self.top_p is not None:
            ordered, order = logits.sort(dim=-1, descending=True, stable=True)
            probabilities = ordered.softmax(-1)
            before = probabilities.cumsum(-1) - probabilities
            excluded = before >= self.top_p  # sorted by likelihood; scatter restores the order of the codes
            return logits.masked_fill(excluded.scatter(-1, order, excluded), float("-inf"))
        return logits

    def choose(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Return the chosen codes by Gumbel-max, the lowest on ties: (N, bins), (N, bins) → (N,) int64."""
        return (self.filtered(logits) + noise).argmax(-1)
