"""The windows of a level: the positions that the transformer's context covers, one after another, to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jukebox_kit.model import PriorConfig, VQVAEConfig

if TYPE_CHECKING:
    from torch import Tensor


def window_starts(total: int, n_ctx: int, hop: int) -> list[int]:
    """Return the first token of each window over `total` tokens: every `hop`, the last one flush with the end.

    A level shorter than n_ctx is one partial window.
    """
    last = max(0, total - n_ctx)
    return [*range(0, last, hop), last]


@dataclass(frozen=True)
class LevelPlan:
    """One level of a song: `total` tokens in windows of `n_ctx`; `rate` tokens per token of the level above."""

    level: int
    total: int
    n_ctx: int
    starts: tuple[int, ...]
    rate: int

    def windows(self, given: int) -> list[tuple[int, int, int]]:
        """Return (start, begin, end) of each window with something to sample, in tokens from the start of the level.

        Tokens from `start` to `begin` exist already: earlier windows sampled them, or they are among the `given` first.
        """
        found: list[tuple[int, int, int]] = []
        begin = given
        for start in self.starts:
            end = min(start + self.n_ctx, self.total)
            if end > begin:
                found.append((start, begin, end))
                begin = end
        return found

    def above(self, codes: Tensor, start: int | Sequence[int]) -> Tensor:
        """Return the upper codes of the window at `start` (one for all rows, or one per row): (N, L) → (N, n).

        n is n_ctx // rate. If the song is shorter than a window, the last upper code is repeated.
        """
        import torch  # slow to import, and window plans are used without it

        first = torch.as_tensor(start, device=codes.device).reshape(-1, 1) // self.rate
        places = first + torch.arange(self.n_ctx // self.rate, device=codes.device)
        return codes.gather(1, places.clamp(max=codes.shape[1] - 1).expand(len(codes), -1))


def plan_level(prior: PriorConfig, vqvae: VQVAEConfig, samples: int, hop_fraction: float) -> LevelPlan:
    """Return the plan of one level of a song of `samples`, a multiple of the top level's hop."""
    total = samples // vqvae.hops[prior.level]
    hop = max(1, int(hop_fraction * prior.n_ctx))
    top = prior.level == vqvae.levels - 1
    rate = 1 if top else vqvae.hops[prior.level + 1] // vqvae.hops[prior.level]
    return LevelPlan(prior.level, total, prior.n_ctx, tuple(window_starts(total, prior.n_ctx, hop)), rate)


UNSAMPLED = -1  # in codes, where no token was sampled yet
