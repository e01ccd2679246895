"""Training the VQ-VAE: reconstruction and spectral losses by gradient, codebooks by moving averages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_kit.model import VQVAE, Codebook
from jukebox_kit.training.corpus import Report, Windows
from jukebox_kit.training.recipe import VQVAERecipe
from jukebox_kit.training.schedule import Schedule

STFTS = (
    (2048, 240, 1200),
    (1024, 120, 600),
    (512, 50, 240),
)  # FFT, hop and window length, as the release has them


class CodebookAverages:
    """The moving averages behind one codebook: how often each code is chosen, and the sum of what chose it."""

    def __init__(self, book: Codebook, recipe: VQVAERecipe, generator: torch.Generator) -> None:
        self.book, self.recipe, self.generator = book, recipe, generator
        self.counts = torch.zeros(0)
        self.sums = torch.zeros(0)

    def update(self, latents: Tensor, codes: Tensor) -> int:
        """Move the codebook towards what chose it, (K, width) and (K,); return how many codes were revived."""
        bins = len(self.book.k)
        if not len(self.counts):
            self.counts = torch.full((bins,), len(latents) / bins)
            self.sums = self.book.k * self.counts[:, None]
        decay = self.recipe.codebook_average
        chosen = torch.bincount(codes, minlength=bins).float()
        total = torch.zeros_like(self.sums).index_add_(0, codes, latents)
        self.counts = decay * self.counts + (1 - decay) * chosen
        self.sums = decay * self.sums + (1 - decay) * total
        fair = len(latents) / bins
        dead = self.counts < self.recipe.revive_below * fair
        fresh = pick(latents, bins, self.generator)
        self.counts = torch.where(dead, fair, self.counts)
        self.sums = torch.where(dead[:, None], fresh * fair, self.sums)
        self.book.k.copy_(self.sums / self.counts[:, None])
        return int(dead.sum())


def pick(latents: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` random rows of (K, width), a little apart where K is too few to give each once."""
    rows = latents[torch.randint(len(latents), (count,), generator=generator)]
    noise = torch.randn(rows.shape, generator=generator) * latents.std() * 0.01
    return rows + noise


def magnitudes(audio: Tensor) -> list[Tensor]:
    """Return the STFT magnitudes of (N, T) at the three resolutions."""
    return [
        torch.stft(audio, n_fft, hop, length, torch.hann_window(length), return_complex=True).abs()
        for n_fft, hop, length in STFTS
    ]


def spectral_norm(windows: Windows, samples: int) -> float:
    """Return the mean norm of the data's STFT magnitudes for pieces of `samples`, the spectral loss's unit."""
    norms = [spectrum.flatten(1).norm(dim=1).mean() for spectrum in magnitudes(windows.audio[:64, :samples])]
    return float(torch.stack(norms).mean())


def reconstruction_losses(audio: Tensor, out: Tensor, recipe: VQVAERecipe, variance: float, unit: float) -> Tensor:
    """Return the loss of one level's reconstruction, both (N, T): squared, largest squares, and spectral error."""
    error = (audio - out).square()
    largest = error.flatten(1).topk(min(recipe.linf_samples, error.shape[1]))[0].mean()
    pairs = zip(magnitudes(audio), magnitudes(out), strict=True)
    spectral = torch.stack([(a - b).flatten(1).norm(dim=1).mean() for a, b in pairs]).mean()
    return (error.mean() + recipe.linf * largest) / variance + recipe.spectral * spectral / unit


def train_vqvae(
    vqvae: VQVAE, recipe: VQVAERecipe, windows: Windows, seed: int, report: Report
) -> list[dict[str, float]]:
    """Train all levels together on random pieces of the windows; return what was measured on the way."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    _initialise(vqvae)
    variance, unit = float(windows.audio[:64].var()), spectral_norm(windows, recipe.samples)
    levels = range(vqvae.config.levels)
    averages = [CodebookAverages(vqvae.codebook(level), recipe, generator) for level in levels]
    schedule = Schedule(vqvae.parameters(), recipe.learning_rate, recipe.warm_up, recipe.steps, 0.0)
    log: list[dict[str, float]] = []
    for step in range(recipe.steps):
        audio = random_pieces(windows.audio, recipe, generator)
        total, measured = torch.zeros(()), {"step": float(step)}
        for level in levels:
            loss, error, revived = _level(vqvae, level, averages[level], audio, recipe, variance, unit, step == 0)
            total = total + loss
            measured |= {f"relative_error_{level}": error, f"revived_{level}": float(revived)}
        schedule.step(total)
        if step % 50 == 0 or step == recipe.steps - 1:
            log.append(measured)
            errors = " / ".join(f"{measured[f'relative_error_{level}']:.3f}" for level in levels)
            report(f"vqvae step {step}: relative squared error {errors}")
    return log


def random_pieces(audio: Tensor, recipe: VQVAERecipe, generator: torch.Generator) -> Tensor:
    """Return (batch, samples) of (K, T) at random places and loudness: a recording may be quieter than the corpus."""
    rows = torch.randint(len(audio), (recipe.batch,), generator=generator).tolist()
    starts = torch.randint(audio.shape[1] - recipe.samples + 1, (recipe.batch,), generator=generator).tolist()
    gains = torch.rand(recipe.batch, 1, generator=generator) * 0.8 + 0.3
    gains[::2] = 1.0  # but half of them as they are: most of the codes are for what the priors will sample
    pieces = torch.stack([audio[r, s : s + recipe.samples] for r, s in zip(rows, starts, strict=True)])
    return pieces * gains


@torch.no_grad()
def relative_errors(vqvae: VQVAE, windows: Windows) -> list[float]:
    """Return each level's squared error of reconstruction over the signal's, on whole windows."""
    audio = windows.audio.unsqueeze(-1)
    found: list[float] = []
    for level in range(vqvae.config.levels):
        out = torch.cat([vqvae.decode(vqvae.encode(piece)[level], level) for piece in torch.split(audio, 8)])
        found.append(float((out - audio).square().mean() / audio.square().mean()))
    return found


def _level(
    vqvae: VQVAE,
    level: int,
    averages: CodebookAverages,
    audio: Tensor,
    recipe: VQVAERecipe,
    variance: float,
    unit: float,
    first: bool,
) -> tuple[Tensor, float, int]:
    latents = vqvae.latents(audio.unsqueeze(-1), level)
    flat = latents.detach().flatten(0, 1)
    book = vqvae.codebook(level)
    if first:
        book.k.copy_(pick(flat, len(book.k), averages.generator))
    codes = book.nearest(latents.detach())
    vectors = book.vectors(codes)
    commitment = F.mse_loss(latents, vectors)
    # The gradient of the chosen vector passes straight through to the latent that chose it.
    out = vqvae.reconstruct(latents + (vectors - latents).detach(), level)[..., 0]
    loss = reconstruction_losses(audio, out, recipe, variance, unit) + recipe.commit * commitment
    error = float((audio - out).detach().square().mean() / audio.square().mean())
    return loss, error, averages.update(flat, codes.flatten())


def _initialise(vqvae: VQVAE) -> None:
    for module in vqvae.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            module.reset_parameters()
