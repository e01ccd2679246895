"""The random weights that training from scratch starts from, drawn as the release draws them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from jukebox_kit.model import VQVAE, PlainLinear, PositionTable, Prior, PriorConfig, VQVAEConfig

TOKENS = 0.02  # standard deviation of linear layers and of tables of tokens

PLACES = 0.01  # of tables of labels, times and positions


def draw_vqvae(config: VQVAEConfig, seed: int) -> VQVAE:
    """Return a VQ-VAE whose convolutions have torch's initial values; its codebooks are 0."""
    with _seeded(seed):
        return VQVAE(config)


def draw_prior(config: PriorConfig, vqvae: VQVAEConfig, scale: float, seed: int) -> Prior:
    """Return a prior with normally distributed weights; scale: of their standard deviations, 0.7 in the release.

    Biases are 0, and the convolutions of an upsampler's conditioner have torch's initial values.
    """
    with _seeded(seed):
        prior = Prior(config, vqvae)
        for name, module in prior.named_modules():
            if isinstance(module, PlainLinear):
                nn.init.normal_(module.w, std=TOKENS * scale)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=(PLACES if name.startswith("y_emb.") else TOKENS) * scale)
            elif isinstance(module, PositionTable):
                nn.init.normal_(module.pos_emb, std=PLACES * scale)
        if config.merged_decoder:
            nn.init.normal_(prior.prior.x_out.weight, std=TOKENS * scale)
        if config.has_encoder:
            nn.init.normal_(prior.prime_prior.start_token, std=PLACES * scale)
            nn.init.normal_(prior.prime_x_out.weight, std=TOKENS * scale)
    return prior


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from torch's generator on the CPU with a seed; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
