"""Trains the VQ-VAE: encoders and decoders by gradient, codebooks by moving averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jukebox_kit.model import VQVAE
from jukebox_kit.training.checkpoints import RunState, copied
from jukebox_kit.training.codebook import CodebookAverages, draw_vectors
from jukebox_kit.training.dataset import Dataset, DatasetSong, load_audio
from jukebox_kit.training.pieces import Pieces
from jukebox_kit.training.schedule import LearningRate, Optimiser
from jukebox_kit.training.settings import VQVAERecipe
from jukebox_kit.training.vqvae_loss import (
    Bandwidth,
    ReconstructionLoss,
    ReconstructionWeights,
    measure_bandwidth,
    reconstruction_loss,
)
from jukebox_kit.training.window_order import Window, WindowOrder

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


@dataclass(frozen=True)
class AudioPieces:
    """Pieces of the audio of songs of a dataset, in the order in which they are trained on."""

    dataset: Dataset
    songs: tuple[DatasetSong, ...]
    order: WindowOrder

    @classmethod
    def of(cls, dataset: Dataset, held_out: bool, length: int, seed: int) -> AudioPieces:
        """Return pieces of `length` samples of the songs that are trained on, or of the others."""
        songs = dataset.split(held_out)
        pieces = Pieces(tuple(song.samples for song in songs), length)
        return cls(dataset, songs, WindowOrder(pieces, seed, 1))

    def load(self, windows: Sequence[Window]) -> Tensor:
        """Return the audio of some pieces, (N, T) float32."""
        length = self.order.pieces.length
        return torch.stack([load_audio(self.dataset, self.songs[song], start, length) for song, start in windows])

    def bandwidth(self) -> Bandwidth:
        """Return the units of the losses."""
        numbers = range(0, len(self.order.pieces), BANDWIDTH_STRIDE)
        places = (self.order.pieces.locate(number, 0) for number in numbers)
        return measure_bandwidth((self.load([place])[0][:, None] for place in places), BANDWIDTH_SAMPLES)


class VQVAETrainer:
    """Trains all levels of a VQ-VAE together; everything random is a function of the seed and the step, see Trains."""

    def __init__(self, vqvae: VQVAE, training: AudioPieces, recipe: VQVAERecipe, seed: int) -> None:
        """Start with codebooks of random vectors of the first batch, each with its fair share of the batch."""
        self.vqvae, self.training, self.recipe, self.seed, self.step_number = vqvae, training, recipe, seed, 0
        self.values = dict(vqvae.named_parameters())
        rate = LearningRate.falling(recipe.learning_rate, recipe.warm_up, recipe.steps)
        self.optimiser, self.bandwidth = Optimiser(self.values.values(), rate), training.bandwidth()
        self.passes: list[LevelPass] = []
        self.averages = list[CodebookAverages]()
        audio, generator = self._batch(0), self._generator(0)
        for level in range(vqvae.config.levels):
            with torch.no_grad():
                vectors = vqvae.latents(audio.unsqueeze(-1), level).flatten(0, 1)
            book, fair = vqvae.codebook(level), len(vectors) / vqvae.config.l_bins
            book.k.copy_(draw_vectors(vectors, len(book.k), generator))
            self.averages.append(CodebookAverages(book, fair, recipe.codebook_average, recipe.revive_below * fair))

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)

    def _batch(self, step: int) -> Tensor:
        """Return a batch, (N, T), with random gains, as recordings may be quieter."""
        recipe = self.recipe
        audio = self.training.load(self.training.order.windows(step * recipe.batch, recipe.batch))
        gains = torch.rand(recipe.batch, 1, generator=self._generator(step)) * 0.8 + 0.3
        gains[::2] = 1.0  # half of them unchanged, as most codes are for the music that the priors will sample
        return (audio * gains).to(self.vqvae.device)

    def step(self) -> float:
        """Compute the gradients of a step, which `finish_step` makes; return the mean relative error of the levels."""
        audio, weights = self._batch(self.step_number), self.recipe.reconstruction
        total = torch.zeros((), device=audio.device)
        self.passes = []
        for level in range(self.vqvae.config.levels):
            latents = self.vqvae.latents(audio.unsqueeze(-1), level)
            one = level_pass(self.vqvae, level, audio, weights, self.bandwidth, latents)
            total = total + one.reconstruction.total(weights) + self.recipe.commit * one.commitment
            self.passes.append(one)
        self.optimiser.add_gradient(total)
        return sum(one.relative_error for one in self.passes) / len(self.passes)

    def finish_step(self) -> None:
        """Change the weights and the codebooks."""
        generator = self._generator(self.step_number)
        for one, average in zip(self.passes, self.averages, strict=True):
            average.update(one.latents, one.codes, draw_vectors(one.latents, len(average.counts), generator))
        self.optimiser.update()
        self.step_number += 1

    def drop_gradients(self) -> None:
        """See Trainer."""
        self.optimiser.adam.zero_grad()

    def result(self) -> dict[str, Tensor]:
        """Return copies of the weights and codebooks."""
        return copied(self.vqvae.state_dict())

    @torch.no_grad()
    def swap(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put other values in place, and return those that were there."""
        before = self.result()
        self.vqvae.load_state_dict(values)
        return before

    def state(self) -> RunState:
        """See Trainer."""
        tensors = {f"value.{name}": value for name, value in self.vqvae.state_dict().items()}
        for level, average in enumerate(self.averages):
            tensors |= {f"counts.{level}": average.counts, f"sums.{level}": average.sums}
        return RunState({**tensors, **self.optimiser.state(self.values)}, {"step": self.step_number})

    def restore(self, state: RunState) -> None:
        """See Trainer."""
        self.step_number, tensors = int(state.facts["step"]), state.tensors
        self.vqvae.load_state_dict({name: tensors[f"value.{name}"] for name in self.vqvae.state_dict()})
        for level, average in enumerate(self.averages):
            average.counts = tensors[f"counts.{level}"].to(average.counts.device)
            average.sums = tensors[f"sums.{level}"].to(average.sums.device)
        self.optimiser.restore(self.values, tensors, self.step_number)


@torch.no_grad()
def relative_errors(vqvae: VQVAE, audio: Tensor) -> list[float]:
    """Return each level's squared error of reconstruction over the signal's; audio: (K, T)."""
    errors: list[float] = []
    for level in range(vqvae.config.levels):
        pieces = torch.split(audio.unsqueeze(-1), 8)
        out = torch.cat([vqvae.decode(vqvae.encode(piece)[level], level) for piece in pieces])
        errors.append(float((out[..., 0] - audio).square().mean() / audio.square().mean()))
    return errors
