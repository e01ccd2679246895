"""A whole training run: the corpus, the VQ-VAE, then the priors; each component is saved when it is trained.

A component whose file exists is not trained again, so that an interrupted run resumes with the next one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jukebox_kit.errors import RequestError
from jukebox_kit.model import VQVAE, Prior
from jukebox_kit.model.weights import PARTS
from jukebox_kit.training.corpus import Windows, encode_windows, synthesise_windows
from jukebox_kit.training.prior import CodeCorpus, train_prior
from jukebox_kit.training.recipe import TrainingRun
from jukebox_kit.training.vqvae import relative_errors, train_vqvae

log = logging.getLogger(__name__)

HELD_OUT_SEED = 1  # added to the run's seed, for songs that are not trained on


def train(run: TrainingRun, parts: tuple[str, ...] = PARTS, report: Callable[[str], None] = log.info) -> None:
    """Train those of `parts` that are not in `run.out` yet, and save each with its measurements.

    Raises RequestError for a prior if the VQ-VAE is not trained yet.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    wanted = [part for part in PARTS if part in parts and not (run.out / f"{part}.safetensors").exists()]
    if not wanted:
        report(f"nothing to train: {run.out} already contains {', '.join(parts)}")
        return
    report(f"synthesising {run.corpus.songs} windows of music")
    corpus = synthesise_windows(run.model, run.corpus.songs, run.seed)
    held_out = synthesise_windows(run.model, run.corpus.held_out, run.seed + HELD_OUT_SEED)
    vqvae = VQVAE(run.model.vqvae)
    if "vqvae" in wanted:
        _timed(run, "vqvae", vqvae, lambda: _train_vqvae(run, vqvae, corpus, held_out, report))
    file = run.out / "vqvae.safetensors"
    if not file.exists():
        raise RequestError(f"the priors learn from the VQ-VAE's codes, but there is no {file}; train vqvae first.")
    vqvae.load_state_dict(load_file(file))
    for part in reversed(wanted):
        if part != "vqvae":
            _train_level(run, PARTS.index(part) - 1, vqvae, corpus, held_out, report)


def _train_vqvae(
    run: TrainingRun, vqvae: VQVAE, corpus: Windows, held_out: Windows, report: Callable[[str], None]
) -> dict[str, Any]:
    log_lines = train_vqvae(vqvae, run.vqvae, corpus, run.seed, report)
    return {"log": log_lines, "held_out_relative_error": relative_errors(vqvae, held_out)}


def _train_level(
    run: TrainingRun,
    level: int,
    vqvae: VQVAE,
    corpus: Windows,
    held_out: Windows,
    report: Callable[[str], None],
) -> None:
    part = PARTS[level + 1]
    prior = Prior(run.model.priors[level], run.model.vqvae)
    # A window of the corpus has more tokens at a lower level, so a quarter of the songs is enough.
    quarter = len(corpus.labels) // 4
    used = corpus if prior.top else Windows(corpus.audio[:quarter], corpus.labels[:quarter])
    report(f"encoding {len(used.labels)} windows for {part}")
    training, validation = (_codes(prior, vqvae, windows) for windows in (used, held_out))
    recipe, seed = run.priors[level], run.seed + level
    _timed(run, part, prior, lambda: {"log": train_prior(prior, recipe, training, validation, seed, report)})


def _codes(prior: Prior, vqvae: VQVAE, windows: Windows) -> CodeCorpus:
    level = prior.config.level
    upper_codes = None if prior.top else encode_windows(vqvae, windows, level + 1)
    return CodeCorpus(prior, encode_windows(vqvae, windows, level), upper_codes, windows.labels)


def _timed(run: TrainingRun, part: str, module: nn.Module, work: Callable[[], dict[str, Any]]) -> None:
    started = time.monotonic()
    results = work()
    results["seconds"] = round(time.monotonic() - started)
    results["threads"] = torch.get_num_threads()
    results["parameters"] = sum(p.numel() for p in module.parameters())
    # Priors are saved in half precision, as the release saves its largest; the VQ-VAE is small.
    dtype = torch.float32 if part == "vqvae" else torch.float16
    state = {name: _stored(value, dtype) for name, value in module.state_dict().items()}
    if "prior.x_out.weight" in state and not getattr(getattr(module, "config", None), "merged_decoder", False):
        del state["prior.x_out.weight"]  # the same tensor as x_emb
    save_file(state, run.out / f"{part}.safetensors", {"format": "pt", "part": part})
    _write_results(run.out / "results.json", part, results)


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().to(dtype).contiguous().clone()


def _write_results(path: Path, part: str, results: dict[str, Any]) -> None:
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    known[part] = results
    path.write_text(json.dumps(known, indent=1) + "\n")
