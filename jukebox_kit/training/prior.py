"""Codes of songs, from which batches for a prior are taken."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jukebox_kit.model import Labels, Prior, label_rows


class CodeCorpus:
    """Codes of songs at a level, codes of the level above, and labels, from which batches are taken.

    codes, upper_codes: (songs, L), or for each song (L,), of any length.
    """

    def __init__(
        self,
        prior: Prior,
        codes: Tensor | Sequence[Tensor],
        upper_codes: Tensor | Sequence[Tensor] | None,
        labels: list[Labels],
    ) -> None:
        self.prior, self.codes, self.upper_codes, self.labels = prior, codes, upper_codes, labels

    def batch(self, rows: list[int], starts: list[int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return codes (N, n_ctx), label rows (N, Y) and the codes of the level above.

        rows: songs of the corpus.
        starts: the first token of each; below the top, a multiple of the length of an upper token.
        """
        config, hop = self.prior.config, self.prior.hop
        pairs = list(zip(rows, starts, strict=True))
        codes = torch.stack([self.codes[r][s : s + config.n_ctx] for r, s in pairs]).long()
        y = torch.cat([label_rows([self.labels[r]], config, hop, s, codes.device) for r, s in pairs])
        if self.upper_codes is None:
            return codes, y, None
        rate = self.prior.rate
        upper = torch.stack([self.upper_codes[r][s // rate : (s + config.n_ctx) // rate] for r, s in pairs])
        return codes, y, upper.long()
