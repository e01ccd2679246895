"""Replays each component alone: the VQ-VAE, the noise, and the priors' conditioning, logits, alignment and windows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from jukebox_kit.checks.verify.entries import Entry, close, same
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.engine import UNSAMPLED, Decoder, Rows, SamplingParams, make_decoder, make_loop, uniforms
from jukebox_kit.model import Conditioning, Prior, VQVAEConfig

CHOICES = {
    "greedy": SamplingParams(1.0, top_k=1),
    "temp": SamplingParams(0.9),
    "top_k": SamplingParams(1.1, top_k=7),
    "top_p": SamplingParams(1.0, top_p=0.8),
}

# Level, item and position of the recorded uniforms.
NOISE_LEVELS, NOISE_ITEMS, NOISE_POSITIONS, NOISE_CODES = (0, 1, 2), (0, 1), (0, 1, 8191, 330749), 64

BIG_PLACES = [(1, 3, 0), (1, 3, 65537)]


def check_noise(golden: Golden) -> Iterator[Entry]:
    """Compare the seed's uniforms at some levels, items and positions."""
    some = list(itertools.product(NOISE_LEVELS, NOISE_ITEMS, NOISE_POSITIONS))
    for name, seed, places in (("noise.uniforms", "seed", some), ("noise.uniforms_big_seed", "big_seed", BIG_PLACES)):
        if name in golden.tensors:
            found = torch.stack([_uniforms(golden, int(golden.scalars[seed]), *place) for place in places])
            yield same(name, found, golden.tensors[name])


def _uniforms(golden: Golden, seed: int, level: int, item: int, position: int) -> Tensor:
    items, positions = (torch.tensor([value], device=golden.device) for value in (item, position))
    return uniforms(seed, level, items, positions, NOISE_CODES)[0, 0]


def check_vqvae(golden: Golden, from_file: bool) -> Iterator[Entry]:
    """Compare codes and decoded audio, in one call and in stretches."""
    vqvae, prefix = golden.vqvae(from_file), "file.vqvae" if from_file else "vqvae"
    config: VQVAEConfig = vqvae.config
    codes = vqvae.encode(golden.tensor("vqvae.x"))
    for level in range(config.levels):
        want = golden.tensors[f"vqvae.codes_{level}"]
        yield same(f"{prefix}.codes_{level}", codes[level], want)
        audio = golden.tensors[f"vqvae.decoded_from_{level}"]
        given = golden.tensor(f"vqvae.codes_{level}")
        yield close(f"{prefix}.decoded_from_{level}", vqvae.decode(given, level), audio)
        piece = max(1, given.shape[1] // 5)
        yield close(f"{prefix}.decoded_from_{level}.in_pieces", vqvae.decode(given, level, piece), audio)


def check_prior(golden: Golden, name: str, from_file: bool) -> Iterator[Entry]:
    """Compare a prior's conditioning, logits, loss and alignment, and windows sampled in four ways."""
    prior, prefix = golden.prior(name, from_file), f"file.{name}" if from_file else name
    y, z = golden.tensor(f"{name}.y"), golden.tensor(f"{name}.z")
    upper_codes = golden.tensor(f"{name}.z_above") if f"{name}.z_above" in golden.tensors else None
    with torch.no_grad():
        given = prior.condition(y, upper_codes)
        logits = prior.logits(z, y, upper_codes)
        yield close(f"{prefix}.logits", logits, golden.tensors[f"{name}.logits"], golden.tolerance)
        stepped = teacher_forced(make_decoder(prior, len(z), golden.placement), given, z)
        want = golden.tensors[f"{name}.logits"][:, prior.prefix_length :, prior.shift :]
        yield close(f"{prefix}.logits.step_by_step", stepped, want, golden.tolerance)
        if not golden.exact:
            return
        yield close(f"{prefix}.x_cond", given.positions[:, prior.prefix_length :], golden.tensors[f"{name}.x_cond"])
        yield close(f"{prefix}.y_cond", given.start, golden.tensors[f"{name}.y_cond"])
        yield close(
            f"{prefix}.gen_loss_bits",
            prior.losses(z, y, upper_codes)[0].view(1),
            golden.tensors[f"{name}.gen_loss_bits"],
        )
        if f"{name}.alignment" in golden.tensors:
            yield close(f"{prefix}.alignment", prior.alignment(z, given), golden.tensors[f"{name}.alignment"])
    n_prime = int(golden.scalars["priors"][name]["n_prime"])
    for kind, choice in CHOICES.items():
        for start, primed in (("scratch", 0), ("primed", n_prime)):
            sampled = _sampled(golden, prior, given, choice, z[:, :primed])
            yield same(f"{prefix}.sampled.{kind}.{start}", sampled, golden.tensors[f"{name}.sampled.{kind}.{start}"])


def teacher_forced(decoder: Decoder, given: Conditioning, codes: Tensor) -> Tensor:
    """Return the music logits of every position, from a decoder's steps over known codes, (N, L, bins)."""
    decoder.prefill(given, codes[:, :0])
    found: list[Tensor] = []
    for position in range(codes.shape[1]):
        found.append(decoder.next_logits())
        decoder.feed(codes[:, position])
    return torch.stack(found, 1)


def _sampled(golden: Golden, prior: Prior, given: Conditioning, choice: SamplingParams, primer: Tensor) -> Tensor:
    songs, n_ctx = len(given.start), prior.config.n_ctx
    codes = torch.full((songs, n_ctx), UNSAMPLED, device=golden.device)
    codes[:, : primer.shape[1]] = primer
    loop = make_loop(prior, Rows.of(torch.arange(songs, device=golden.device)), golden.seed, choice, golden.placement)
    loop.window(given, codes, 0, range(primer.shape[1], n_ctx))
    return codes
