"""Trains the VQ-VAE: encoders and decoders by gradient, codebooks by moving averages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_kit.model import VQVAE
from jukebox_kit.training.codebook import CodebookAverages, draw_vectors
from jukebox_kit.training.corpus import Report, Windows
from jukebox_kit.training.recipe import VQVAERecipe
from jukebox_kit.training.schedule import LearningRate, Optimiser
from jukebox_kit.training.vqvae_loss import (
    Bandwidth,
    ReconstructionLoss,
    ReconstructionWeights,
    measure_bandwidth,
    reconstruction_loss,
)

BANDWIDTH_STRIDE, BANDWIDTH_SAMPLES = 16, 2**22  # pieces and samples that the units of the losses are measured on


@dataclass(frozen=True)
class LevelPass:
    """A level's forward pass in training.

    latents: (K, width), the encoder's vectors, without gradient.
    codes: (K,), their codes.
    reconstruction: the loss of the decoded audio, as by codes whose gradient passes straight through to the latents.
    commitment: the mean squared distance of the latents from their codes' vectors.
    relative_error: the squared error of the audio over its square.
    """

    latents: Tensor
    codes: Tensor
    reconstruction: ReconstructionLoss
    commitment: Tensor
    relative_error: float


def level_pass(
    vqvae: VQVAE, level: int, audio: Tensor, weights: ReconstructionWeights, bandwidth: Bandwidth, latents: Tensor
) -> LevelPass:
    """Encode and decode audio (N, T) at a level; latents: as `VQVAE.latents` returns them, with their gradient."""
    book = vqvae.codebook(level)
    codes = book.nearest(latents.detach())
    vectors = book.vectors(codes)
    out = vqvae.reconstruct(latents + (vectors - latents).detach(), level)[..., 0]
    error = float((audio - out).detach().square().mean() / audio.square().mean())
    return LevelPass(
        latents.detach().flatten(0, 1),
        codes.flatten(),
        reconstruction_loss(audio, out, weights, bandwidth),
        F.mse_loss(latents, vectors),
        error,
    )


def train_vqvae(
    vqvae: VQVAE, recipe: VQVAERecipe, windows: Windows, seed: int, report: Report
) -> list[dict[str, float]]:
    """Train all levels together on random pieces of the windows; returns the measurements every 50 steps."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    _initialise(vqvae)
    pieces = windows.audio[::BANDWIDTH_STRIDE, : recipe.samples, None]
    bandwidth = measure_bandwidth(pieces, BANDWIDTH_SAMPLES)
    optimiser = Optimiser(vqvae.parameters(), LearningRate.falling(recipe.learning_rate, recipe.warm_up, recipe.steps))
    levels = range(vqvae.config.levels)
    averages: list[CodebookAverages] = []
    log: list[dict[str, float]] = []
    for step in range(recipe.steps):
        audio = random_pieces(windows.audio, recipe, generator)
        latents = [vqvae.latents(audio.unsqueeze(-1), level) for level in levels]
        averages = averages or [_begin(vqvae, level, latents[level], recipe, generator) for level in levels]
        weights, measured, total = recipe.reconstruction, {"step": float(step)}, torch.zeros(())
        for level in levels:
            one = level_pass(vqvae, level, audio, weights, bandwidth, latents[level])
            total = total + one.reconstruction.total(weights) + recipe.commit * one.commitment
            spare = draw_vectors(one.latents, vqvae.config.l_bins, generator)
            use = averages[level].update(one.latents, one.codes, spare)
            replaced = float(vqvae.config.l_bins - use.live)
            measured |= {f"relative_error_{level}": one.relative_error, f"revived_{level}": replaced}
        optimiser.step(total)
        if step % 50 == 0 or step == recipe.steps - 1:
            log.append(measured)
            errors = " / ".join(f"{measured[f'relative_error_{level}']:.3f}" for level in levels)
            report(f"vqvae step {step}: relative squared error {errors}")
    return log


def _begin(
    vqvae: VQVAE, level: int, latents: Tensor, recipe: VQVAERecipe, generator: torch.Generator
) -> CodebookAverages:
    """Set a level's codebook to random vectors of the first batch, each with its fair share of the batch."""
    book, vectors = vqvae.codebook(level), latents.detach().flatten(0, 1)
    book.k.copy_(draw_vectors(vectors, len(book.k), generator))
    fair = len(vectors) / len(book.k)
    return CodebookAverages(book, fair, recipe.codebook_average, recipe.revive_below * fair)


def random_pieces(audio: Tensor, recipe: VQVAERecipe, generator: torch.Generator) -> Tensor:
    """Return (batch, samples) from random positions of (K, T), with random gains, as recordings may be quieter."""
    rows = torch.randint(len(audio), (recipe.batch,), generator=generator).tolist()
    starts = torch.randint(audio.shape[1] - recipe.samples + 1, (recipe.batch,), generator=generator).tolist()
    gains = torch.rand(recipe.batch, 1, generator=generator) * 0.8 + 0.3
    gains[::2] = 1.0  # half of them unchanged, as most codes are for the music that the priors will sample
    pieces = torch.stack([audio[r, s : s + recipe.samples] for r, s in zip(rows, starts, strict=True)])
    return pieces * gains


@torch.no_grad()
def relative_errors(vqvae: VQVAE, windows: Windows) -> list[float]:
    """Return each level's squared error of reconstruction over the signal's, on whole windows."""
    audio = windows.audio.unsqueeze(-1)
    errors: list[float] = []
    for level in range(vqvae.config.levels):
        out = torch.cat([vqvae.decode(vqvae.encode(piece)[level], level) for piece in torch.split(audio, 8)])
        errors.append(float((out - audio).square().mean() / audio.square().mean()))
    return errors


def _initialise(vqvae: VQVAE) -> None:
    for module in vqvae.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            module.reset_parameters()
