"""Replays recorded training steps: losses, gradients, codebooks, learning rates, and the pieces of songs.

The release's optimiser is neither Adam nor AdamW. The trainer uses torch's AdamW, so everything that depends on an
optimiser step is left out. As the learning rate of step 0 is 0, the losses of the first two steps do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jukebox_kit.checks.verify.entries import Entry, close, close_each, same
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.checks.verify.training_data import check_pieces
from jukebox_kit.errors import RequestError
from jukebox_kit.model import VQVAE, Prior
from jukebox_kit.training import (
    Bandwidth,
    CodebookAverages,
    LearningRate,
    LevelPass,
    PriorLoss,
    ReconstructionWeights,
    ema_decay,
    level_pass,
    measure_bandwidth,
    mono,
    prior_loss,
    repeated,
    separated,
)

LEFT_OUT = "left out: depends on the release's own optimiser; ours is torch's AdamW"

# Ten times what recomputing everything in float64 changes, relative to the largest value.
LOSS, GRADIENT, GRADIENT_NORM = 3e-6, 1.4e-5, 4e-6
VQVAE_LOSS, VQVAE_GRADIENT, VQVAE_GRADIENT_NORM, CODEBOOK = 1e-5, 1.1e-2, 4e-3, 7e-5

SAMPLE_WEIGHTS = {"l1": (1.0, 0.0, 0.0), "l2": (0.0, 1.0, 0.0), "linf": (0.0, 0.0, 1.0)}  # of l1, l2, linf


def training_entries(golden: Golden, ids: Path | None) -> Iterator[Entry]:
    """Yield every entry; ids: the release's tables of artists and genres, without which label ids are not compared."""
    if not golden.exact or golden.placement.engine == "jukebox":
        raise RequestError(
            "training steps can be compared in float32 on the CPU only; omit --device, --dtype, --engine."
        )
    for name in golden.prior_names():
        yield from check_prior_step(golden, name)
    yield from check_upsampler_audio(golden, "upsampler_level_1")
    yield from check_rates(golden)
    yield Entry("adam", LEFT_OUT, ok=True)
    for case in golden.scalars["vqvae"]["cases"]:
        yield from check_vqvae_steps(golden, case)
    found = golden.scalars["bandwidth"]
    measured = measure_bandwidth(golden.tensors["bandwidth.chunks"], int(golden.scalars["sr"] * found["duration"]))
    want = [found["result"][key] for key in ("l2", "l1", "spec")]
    yield _close("bandwidth", [measured.l2, measured.l1, measured.spectral], want, VQVAE_LOSS)
    yield from check_pieces(golden, ids)
    yield close("mix.half", mono(golden.tensors["mix.stereo"]), golden.tensors["mix.half"])
    blend = mono(golden.tensors["mix.stereo"], golden.tensors["mix.share_of_left"])
    yield close("mix.blend", blend, golden.tensors["mix.blend"])


def check_prior_step(golden: Golden, name: str) -> Iterator[Entry]:
    """Compare the losses of two batches, and the gradients of the first."""
    prior, facts = golden.prior(name), golden.scalars[name]
    steps = facts["runs"]["release"]["steps"]
    for number in (0, 1):
        loss = _batch_loss(golden, prior, name, number)
        found = [float(value.detach()) for value in (loss.total, loss.music, loss.lyrics)]
        want = [steps[number][key] for key in ("loss", "gen_loss", "prime_loss")]
        yield _close(f"{name}.batch_{number}.losses", found, want, LOSS)
    _trainable(prior)
    loss = _batch_loss(golden, prior, name, 0)
    yield from _check_gradients(golden, prior, loss.total, name, facts, (LOSS, GRADIENT_NORM, GRADIENT))
    for run in facts["runs"]:
        yield Entry(f"{name}.{run}.change", LEFT_OUT, ok=True)


def check_upsampler_audio(golden: Golden, name: str) -> Iterator[Entry]:
    """Compare an upsampler's codes and loss from audio."""
    prior, codes = golden.prior(name), golden.vqvae().encode(golden.tensors[f"{name}.audio.x"])
    level = prior.config.level
    for key, found in (("z", codes[level]), ("z_above", codes[level + 1])):
        yield same(f"{name}.audio.{key}", found, golden.tensors[f"{name}.audio.{key}"])
    labels = golden.tensors[f"{name}.audio.y"].long()
    with torch.no_grad():
        loss = prior_loss(prior, codes[level], labels, codes[level + 1], 0.0).total
    yield close(f"{name}.audio.loss", loss[None], golden.tensors[f"{name}.audio.loss"], LOSS)


def check_rates(golden: Golden) -> Iterator[Entry]:
    """Compare learning rates over the steps of a run, and decays of moving averages of weights."""
    for number, row in enumerate(golden.scalars["lr"]):
        rate = _learning_rate(row["settings"])
        scale = row["settings"].get("lr_scale", 1.0)
        yield _close(f"lr.{number}", [scale * rate.at(step) for step in range(len(row["lr"]))], row["lr"], 1e-12)
    for row in golden.scalars["mu"]:
        decay = ema_decay(row["bs"], row["ngpus"])
        yield _close(f"mu.{row['bs']}.{row['ngpus']}", [decay], [row["mu"]], 1e-12)


def check_vqvae_steps(golden: Golden, case: str) -> Iterator[Entry]:
    """Compare a case's losses, gradients, codes and codebooks, step by step."""
    facts, vqvae = golden.scalars["vqvae"]["cases"][case], golden.vqvae()
    units = golden.scalars["vqvae"]["bandwidth"]
    bandwidth, weights = Bandwidth(units["l2"], units["l1"], units["spec"]), _weights(facts)
    averages: list[CodebookAverages] = []
    _trainable(vqvae)
    for step, want in enumerate(facts["steps"][:2] if facts["optimizer"] else facts["steps"]):
        name = f"vqvae.{case}.step_{step}"
        audio = golden.tensors["vqvae.x_short" if case == "short" else f"vqvae.x_{step}"][..., 0]
        latents = [vqvae.latents(audio[..., None], level) for level in range(vqvae.config.levels)]
        averages = averages or _begin(golden, vqvae, facts, name, latents, audio.shape[1])
        passes = [level_pass(vqvae, k, audio, weights, bandwidth, vectors) for k, vectors in enumerate(latents)]
        total = torch.stack(
            [one.reconstruction.total(weights) + facts["commit"] * one.commitment for one in passes]
        ).sum()
        yield from _check_terms(name, passes, total, want)
        if f"{name}.grad_norms" in golden.tensors:
            tolerances = (VQVAE_GRADIENT, VQVAE_GRADIENT_NORM, VQVAE_GRADIENT)
            yield from _check_gradients(golden, vqvae, total, name, want | {"watched": facts["watched"]}, tolerances)
        yield from _check_codebooks(golden, name, passes, averages, want)
    if facts["optimizer"]:
        yield Entry(f"vqvae.{case}.change", LEFT_OUT, ok=True)


def _batch_loss(golden: Golden, prior: Prior, name: str, number: int) -> PriorLoss:
    batch = f"{name}.batch_{number}"
    upper = golden.tensors[f"{batch}.z_above"].long() if f"{batch}.z_above" in golden.tensors else None
    codes, labels = golden.tensors[f"{batch}.z"].long(), golden.tensors[f"{batch}.y"].long()
    return prior_loss(prior, codes, labels, upper, golden.scalars[name]["prime_loss_fraction"])


def _learning_rate(settings: dict[str, Any]) -> LearningRate:
    """Return the release's learning rate for some of its settings."""
    warm_up = int(settings.get("lr_warmup", 100))
    if settings.get("lr_use_linear_decay"):
        return LearningRate(3e-4, warm_up, "linear", settings["lr_start_linear_decay"], int(settings["lr_decay"]))
    if "lr_gamma" in settings:
        return LearningRate(3e-4, warm_up, "steps", 0, int(settings["lr_decay"]), settings["lr_gamma"])
    return LearningRate(3e-4, warm_up)


def _weights(facts: dict[str, Any]) -> ReconstructionWeights:
    mixed = (facts["lmix_l1"], facts["lmix_l2"], facts["lmix_linf"])
    l1, l2, linf = SAMPLE_WEIGHTS.get(facts["loss_fn"], mixed)
    relative = not facts["use_nonrelative_specloss"]
    return ReconstructionWeights(l1, l2, linf, facts["linf_k"], facts["spectral"], facts["multispectral"], relative)


def _begin(
    golden: Golden, vqvae: VQVAE, facts: dict[str, Any], name: str, latents: list[Tensor], samples: int
) -> list[CodebookAverages]:
    """Return the averages before the first step; from scratch the codebooks are set to vectors of the batch first."""
    averages = list[CodebookAverages]()
    for level, vectors in enumerate(latents):
        book, count = vqvae.codebook(level), 1.0
        if facts["mode"] == "restored":
            count = samples // vqvae.config.hops[level] / vqvae.config.l_bins
        else:
            book.k.copy_(_drawn(golden, f"{name}.level_{level}", "init", vectors.detach().flatten(0, 1), len(book.k)))
        averages.append(CodebookAverages(book, count, facts["l_mu"], facts["revival_threshold"]))
    return averages


def _drawn(golden: Golden, name: str, purpose: str, vectors: Tensor, bins: int) -> Tensor:
    """Return the vectors that the recorded run drew."""
    pool, noise = repeated(vectors, bins), golden.tensors.get(f"{name}.noise_{purpose}")
    if noise is not None:
        pool = separated(pool, noise)
    return pool[golden.tensors[f"{name}.rows_{purpose}"].long()]


def _check_terms(name: str, passes: list[LevelPass], total: Tensor, want: dict[str, Any]) -> Iterator[Entry]:
    """Compare the loss and its terms; the record's names count levels from 1."""
    terms = {"loss": total, "commit_loss": torch.stack([one.commitment for one in passes]).sum()}
    for kind, key in (("samples", "recons"), ("spectral", "spectral"), ("multispectral", "multispectral")):
        values = [getattr(one.reconstruction, kind) for one in passes]
        terms |= {f"{key}_loss_l{level}": value for level, value in enumerate(values, 1)}
        terms[f"{key}_loss"] = torch.stack(values).sum()
    for key, value in terms.items():
        yield _close(f"{name}.{key}", [float(value.detach())], [want[key]], VQVAE_LOSS)


def _check_codebooks(
    golden: Golden, name: str, passes: list[LevelPass], averages: list[CodebookAverages], want: dict[str, Any]
) -> Iterator[Entry]:
    """Compare codes, then update the codebooks and compare them and the means of their statistics over levels."""
    statistics = dict.fromkeys(("fit", "pn", "entropy", "used_curr", "usage", "dk"), 0.0)
    for level, (one, average) in enumerate(zip(passes, averages, strict=True)):
        place = f"{name}.level_{level}"
        yield same(f"{place}.codes", one.codes, golden.tensors[f"{place}.codes"].flatten())
        use = average.update(one.latents, one.codes, _drawn(golden, place, "update", one.latents, len(average.counts)))
        for key, value in (("k", average.book.k), ("k_sum", average.sums), ("k_elem", average.counts)):
            yield close(f"{place}.{key}", value, golden.tensors[f"{place}.{key}"], CODEBOOK)
        fit = float(one.commitment.detach()) * one.latents.shape[1]
        spread = float((one.latents - one.latents.mean()).norm()) / math.sqrt(one.latents.numel())
        found = (fit, spread, use.entropy, use.chosen, use.live, use.moved)
        statistics = {k: v + x / len(passes) for (k, v), x in zip(statistics.items(), found, strict=True)}
    for key, mean in statistics.items():
        yield _close(f"{name}.{key}", [mean], [want[key]], VQVAE_LOSS)


def _check_gradients(
    golden: Golden,
    part: nn.Module,
    loss: Tensor,
    name: str,
    want: dict[str, Any],
    tolerances: tuple[float, float, float],
) -> Iterator[Entry]:
    """Compare gradients: their total norm, the norm of each, and the elements of the watched ones."""
    part.zero_grad()
    torch.autograd.backward(loss)
    named = {key: parameter.grad for key, parameter in part.named_parameters()}
    gradients = {key: value for key, value in named.items() if value is not None}
    norms = torch.stack([gradients[key].norm() for key in sorted(gradients)])
    yield _close(f"{name}.grad_norm", [float(norms.double().norm())], [want["grad_norm"]], tolerances[0])
    yield close_each(f"{name}.grad_norms", norms, golden.tensors[f"{name}.grad_norms"], tolerances[1])
    for key in want["watched"]:
        place, gradient = f"{name}.grad.{key}", gradients[key]
        if place in golden.tensors:
            yield close(place, gradient, golden.tensors[place], tolerances[2])
            continue
        yield close(f"{place}.first64", gradient.flatten()[:64], golden.tensors[f"{place}.first64"], tolerances[2])
        yield close(f"{place}.norm", gradient.norm()[None], golden.tensors[f"{place}.norm"].reshape(1), tolerances[1])


def _trainable(part: nn.Module) -> None:
    for parameter in part.parameters():
        parameter.requires_grad_()


def _close(name: str, found: list[float], want: list[float], tolerance: float) -> Entry:
    return close(name, torch.tensor(found, dtype=torch.float64), torch.tensor(want, dtype=torch.float64), tolerance)
