"""Compares the released model 5b with figures that the project Sheet Sage published, on recordings that it published.

The recordings are downloaded when they are first needed, and recognised by their sha256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from jukebox_kit.analysis import (
    CONVENTIONS,
    Clip,
    ClipLabels,
    Convention,
    Extractor,
    FeatureSettings,
    clip_of,
    layer_states,
    window_batch,
)
from jukebox_kit.checks.verify.entries import Entry, equal
from jukebox_kit.model import TOP, VQVAE, PriorConfig
from jukebox_kit.model.weights import models_folder
from jukebox_kit.model.weights.download import DownloadOptions, fetch_file

FIGURES = Path(__file__).with_name("sheetsage.json")

CLIPS = "clips"  # in the folder of the release's files

MEAN_TOLERANCE = 5e-5  # of the mean: it was published with four decimals

SUM_TOLERANCE = 1e-5  # of the sum, relative: what other kernels round differently

AGREE_TOLERANCE = 5e-5

NO_RESAMPY = "left out: needs the resampling of 2022 (pip install 'resampy<0.4')"  # later ones have other filters

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class SheetSage:
    """The published figures and recordings.

    places: base URLs. files: by name, the path below a place, and the sha256. codes, states, legacy: the figures.
    """

    about: str
    places: tuple[str, ...]
    files: Mapping[str, tuple[str, str]]
    codes: Mapping[str, Any]
    states: Mapping[str, Any]
    legacy: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path = FIGURES) -> SheetSage:
        """Read the file of figures that ships."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def fetch(self, name: str, options: DownloadOptions) -> Path:
        """Return a published file, downloaded if needed; CheckpointError if no place has it."""
        path, sha256 = self.files[name]
        urls = [f"{place}{path}" for place in self.places]
        return fetch_file(urls, models_folder() / CLIPS / Path(path).name, sha256, options)


def clip_audio(path: Path, tokens: int, hop: int) -> tuple[Audio, int]:
    """Return the published clip padded with zeros to `tokens`, and how many samples it has without them."""
    audio, _ = soundfile.read(path, dtype="float32")
    return np.pad(audio, (0, tokens * hop - len(audio))), len(audio)


def codes_entries(vqvae: VQVAE, config: PriorConfig, facts: SheetSage, options: DownloadOptions) -> Iterator[Entry]:
    """Compare the top level's codes of the published clip; needs the VQ-VAE only."""
    hop, known = vqvae.config.hops[TOP], facts.codes
    audio, length = clip_audio(facts.fetch("clip", options), known["count"], hop)
    codes = _clip(vqvae, config, audio).codes.tolist()
    whole = length // hop
    yield equal("vqvae.clip.distinct", len(set(codes)), known["distinct"])
    digest = hashlib.sha256(str(codes).encode()).hexdigest()
    yield equal("vqvae.clip.sha256", digest, known["sha256"])
    yield equal("vqvae.clip.padding", sorted(set(codes[whole:])), known["padding"])
    sound = torch.from_numpy(audio[: whole * hop]).to(vqvae.device)[None, :, None]
    alone = vqvae.encode_long(sound, TOP)[0].tolist()
    share = float(np.mean([one == other for one, other in zip(alone, codes, strict=False)]))
    agrees = abs(share - known["agree_unpadded"]) <= AGREE_TOLERANCE
    yield Entry("vqvae.clip.without_padding", f"{share:.4f} agree", agrees)


def states_entries(
    model: str | Path, device: str, facts: SheetSage, options: DownloadOptions, figures: dict[str, float]
) -> Iterator[Entry]:
    """Compare the states of a layer for the two published recordings; figures: gets what was measured.

    RequestError or CheckpointError if the model is not on this machine or does not fit in its memory.
    """
    layer = int(facts.states["layer"])
    settings = FeatureSettings(model, layer, convention="sheetsage", precision="float32", device=device)
    extractor = Extractor(settings)
    vqvae, config = extractor.model.vqvae, extractor.definition.top
    audio, _ = clip_audio(facts.fetch("clip", options), config.n_ctx, vqvae.config.hops[TOP])
    found = _states(extractor, _clip(vqvae, config, audio), extractor.convention.adds_conditioning)
    states = np.abs(found).astype(np.float64)
    mean, total = float(states.mean()), float(states.sum())
    figures |= {"clip.mean": mean, "clip.sum": total}
    want = facts.states
    yield Entry("top.clip.mean", f"{mean:.4f} for {want['mean']}", abs(mean - want["mean"]) <= MEAN_TOLERANCE)
    ok = abs(total / want["sum"] - 1) <= SUM_TOLERANCE
    yield Entry("top.clip.sum", f"{total:.1f} for {want['sum']}", ok)
    if importlib.util.find_spec("resampy") is None:
        yield Entry("top.legacy.mean", NO_RESAMPY, ok=True)
        return
    difference = _legacy_difference(extractor, facts, options)
    figures["legacy.difference"] = difference
    yield Entry("top.legacy.mean", f"sum of differences {difference:.4f}", difference < facts.legacy["difference"])


def _legacy_difference(extractor: Extractor, facts: SheetSage, options: DownloadOptions) -> float:
    """Return the sum of absolute differences of the mean over time of the second recording from the published one."""
    import librosa

    sr, legacy = extractor.sr, facts.legacy
    read, rate = soundfile.read(facts.fetch("legacy", options), dtype="float32", always_2d=True)
    mono = read.mean(1)
    if rate != sr:
        mono = cast(Any, librosa).resample(mono, orig_sr=rate, target_sr=sr, res_type="kaiser_best")
    audio = np.asarray(mono / np.abs(mono).max(), np.float32)[: int(legacy["seconds"] * sr)]
    way = replace(CONVENTIONS["jukemirlib"], peak=False, total_seconds=legacy["total_seconds"])
    clip = _clip(extractor.model.vqvae, extractor.definition.top, audio, way)
    found = _states(extractor, clip, way.adds_conditioning).mean(0)
    want = np.load(facts.fetch("legacy_mean", options))
    return float(np.abs(found - want).sum())


def _clip(vqvae: VQVAE, config: PriorConfig, audio: Audio, convention: Convention = CONVENTIONS["sheetsage"]) -> Clip:
    return clip_of(vqvae, config, audio, convention, ClipLabels())


def _states(extractor: Extractor, clip: Clip, adds: bool) -> Audio:
    """Return the states of a clip's first window, (tokens, W). adds: as `Convention.adds_conditioning`."""
    batch = window_batch([(clip, 0)], extractor.model.device)
    ((_, states),) = layer_states(extractor.model.top, *batch, extractor.layers, adds)
    found: Audio = states[0].cpu().numpy()
    return found
