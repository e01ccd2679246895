"""Trains a prior or an upsampler on the codes of the corpus."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jukebox_kit.model import CodesConditioner, Labels, PlainLinear, PositionTable, Prior, label_rows
from jukebox_kit.training.corpus import Report
from jukebox_kit.training.objective import prior_loss
from jukebox_kit.training.recipe import PriorRecipe
from jukebox_kit.training.schedule import LearningRate, Optimiser


class CodeCorpus:
    """Codes of songs at a level, codes of the level above, and labels, from which batches are drawn.

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

    def random_batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return a batch from random positions of songs of equal length."""
        rate = 1 if self.upper_codes is None else self.prior.rate
        room = (len(self.codes[0]) - self.prior.config.n_ctx) // rate + 1
        rows = torch.randint(len(self.codes), (size,), generator=generator).tolist()
        starts = [s * rate for s in torch.randint(room, (size,), generator=generator).tolist()]
        return self.batch(rows, starts)


def train_prior(
    prior: Prior, recipe: PriorRecipe, corpus: CodeCorpus, held_out: CodeCorpus, seed: int, report: Report
) -> list[dict[str, float]]:
    """Train a prior; return the measurements every 50 steps, losses in bits per token."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    initialise(prior)
    rate = LearningRate.falling(recipe.learning_rate, recipe.warm_up, recipe.steps)
    optimiser = Optimiser(prior.parameters(), rate, recipe.weight_decay)
    log: list[dict[str, float]] = []
    for step in range(recipe.steps):
        loss = prior_loss(prior, *corpus.random_batch(recipe.batch, generator), recipe.lyric_loss)
        optimiser.step(loss.total * math.log(2))
        if step % 50 == 0 or step == recipe.steps - 1:
            measured = {
                "step": float(step),
                "bits": float(loss.music.detach()),
                "held_out_bits": measure(prior, held_out),
            }
            log.append(measured)
            report(
                f"level {prior.config.level} step {step}: {measured['bits']:.3f} bits per token, "
                f"{measured['held_out_bits']:.3f} on held-out songs"
            )
    return log


@torch.no_grad()
def measure(prior: Prior, corpus: CodeCorpus) -> float:
    """Return the mean bits per token over the first n_ctx tokens of each window of a corpus."""
    count = len(corpus.codes)
    rows = range(count)
    bits = [prior.losses(*corpus.batch([r], [0]))[0] for r in rows]
    return float(torch.stack(bits).mean())


def initialise(prior: Prior) -> None:
    """Draw every parameter from torch's generator; linear layers into the residual stream start small."""
    for name, module in prior.named_modules():
        if isinstance(module, PlainLinear):
            small = (2 * prior.config.prior_depth) ** -0.5 if name.endswith("c_proj") else 1.0
            nn.init.normal_(module.w, std=small * module.w.shape[0] ** -0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, PositionTable):
            nn.init.normal_(module.pos_emb, std=0.01)
        elif isinstance(module, CodesConditioner):
            nn.init.zeros_(module.ln.bias)
    if prior.config.has_encoder:
        nn.init.normal_(prior.prime_prior.start_token, std=0.01)
        nn.init.normal_(prior.prime_x_out.weight, std=0.02)
