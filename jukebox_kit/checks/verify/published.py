"""Compares the released weights with numbers that other projects published, and reports what this machine measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jukebox_kit.analysis import ScoreSettings, score
from jukebox_kit.checks.doctor import examine
from jukebox_kit.checks.verify.entries import Entry, equal, same
from jukebox_kit.checks.verify.sheetsage import SheetSage, clip_audio, codes_entries, states_entries
from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError, RequestError
from jukebox_kit.model import LEVELS, TOP, VQVAE, Labels, label_rows
from jukebox_kit.model.weights import PARTS, load_definition
from jukebox_kit.model.weights.download import DownloadOptions, get, sha256_of
from jukebox_kit.steps import RunSettings

ABSOLUTE = 1e-4  # the numbers were published with four decimals

CLIP_MODEL = "5b"  # whose VQ-VAE and top prior have published figures on recordings


class Released:
    """A model whose files are on this machine, compared with published numbers. figures: what was measured."""

    def __init__(self, name: str, device: str, options: DownloadOptions | None = None) -> None:
        self.name, self.device = name, device
        self.options, self.facts = options or DownloadOptions(), SheetSage.read()
        self.figures: dict[str, float] = {}

    def vqvae_entries(self) -> Iterator[Entry]:
        """Yield the entries of the VQ-VAE, which is downloaded if it is not on this machine."""
        if load_definition(self.name).missing()[:1] == [PARTS[0]]:
            get(self.name, self.options, parts=PARTS[:1])
        model = Model.load(self.name, self.device, "float32")
        yield from noise_entries(model.vqvae, _known())
        yield from codes_entries(model.vqvae, model.definition.top, self.facts, self.options)

    def model_entries(self) -> Iterator[Entry]:
        """Yield the entries of the whole model.

        RequestError if no numbers were published for it, CheckpointError if its files are missing.
        """
        if self.name == "1b_lyrics":
            yield from verify_labels(self.name, self.device)
        elif self.name == CLIP_MODEL:
            load_definition(self.name).find(PARTS[-1])
            yield from self.vqvae_entries()
            yield from states_entries(self.name, self.device, self.facts, self.options, self.figures)
        else:
            raise RequestError(f"no numbers were published for {self.name}; choose 1b_lyrics or {CLIP_MODEL}.")

    def report(self, entries: list[Entry], whole: bool) -> dict[str, Any]:
        """Return what this machine measured, as JSON holds it: to be sent to whoever wants to compare.

        whole: whether the top prior was compared, too; then its bits on the published clip are measured.
        """
        definition = load_definition(self.name)
        files = {part: definition.find(part) for part in (PARTS[0], *PARTS[-1:] * whole)}
        path = self.facts.fetch("clip", self.options)
        values: dict[str, Any] = {
            "model": self.name,
            "files": {part: {"name": file.name, "sha256": sha256_of(file)[0]} for part, file in files.items()},
            "entries": [dataclasses.asdict(entry) for entry in entries],
            "figures": self.figures,
            "codebooks": codebook_usage(
                Model.load(self.name, self.device, "float32").vqvae, path, definition.top.n_ctx
            ),
            "machine": examine(Path()),
        }
        if whole:
            values["bits"] = _bits(self.name, path, self.device)
        return values


def verify_labels(name: str, device: str) -> Iterator[Entry]:
    """Yield the entries for 1b_lyrics: the VQ-VAE, and the top prior's labels. CheckpointError if files are missing."""
    known, model = _known(), Model.load(name, device, "float32")
    model.check_files()
    yield from noise_entries(model.vqvae, known)
    artist, genre = model.tables["v3"].artist(known["artist"][0]), model.tables["v3"].genre(known["genre"][0], 1)
    yield equal("ids", (*artist.ids, *genre.ids), (known["artist"][1], known["genre"][1]))
    prior, config = model.top, dataclasses.replace(model.top.config, min_duration=0.0)
    labels = Labels(artist.ids[0], genre.ids, (), known["total_length"])
    y = label_rows([labels], config, prior.hop, 0, model.device)
    high = float(config.max_duration or 0) * model.definition.vqvae.sr
    prior.y_emb.ranges = ((0.0, high), *prior.y_emb.ranges[1:])  # the published run used no minimum duration
    yield _near("top.y_cond", prior.y_emb.names(y)[0, 0], known["y_cond"])
    yield _near("top.time_cond", prior.y_emb.times(y)[0, 0], known["time_cond"])


def noise_entries(vqvae: VQVAE, known: dict[str, Any]) -> Iterator[Entry]:
    """Compare codes of the published noise at each level, and the audio that those of level 2 become."""
    torch.manual_seed(0)
    codes = vqvae.encode(torch.rand((1, 5120, 1)).to(vqvae.device))
    for level, want in known["codes"].items():
        yield same(f"vqvae.codes_{level}", codes[int(level)][0, : len(want)], torch.tensor(want))
    audio = vqvae.decode(codes[2], 2)[0, : len(known["decoded_2"]), 0]
    yield _near("vqvae.decoded_from_2", audio, known["decoded_2"])


def codebook_usage(vqvae: VQVAE, path: Path, tokens: int) -> dict[str, dict[str, float]]:
    """Return for each level of the published clip how many codes it uses, their perplexity, and the error decoded.

    The error is the sum of squared differences from the clip over the sum of its squares.
    """
    hops = vqvae.config.hops
    padded, length = clip_audio(path, tokens, hops[TOP])
    audio = torch.from_numpy(padded[: length // hops[TOP] * hops[TOP]]).to(vqvae.device)[None, :, None]
    found: dict[str, dict[str, float]] = {}
    for level in LEVELS:
        codes = vqvae.encode_long(audio, level)
        shares = np.unique(codes.cpu().numpy(), return_counts=True)[1] / codes.numel()
        error = (vqvae.decode(codes, level) - audio).square().sum() / audio.square().sum()
        perplexity = float(np.exp(-(shares * np.log(shares)).sum()))
        found[f"level_{level}"] = {"used": len(shares), "perplexity": perplexity, "relative_error": float(error)}
    return found


def _bits(name: str, path: Path, device: str) -> dict[str, Any] | str:
    """Return the top prior's bits on the published clip, or why they could not be measured."""
    try:
        return score(path, ScoreSettings(name, levels=TOP), RunSettings(device)).as_json()
    except JukeboxKitError as error:
        return str(error)


def _known() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    return known


def _near(name: str, got: torch.Tensor, want: list[float]) -> Entry:
    worst = float((got[: len(want)].detach().cpu() - torch.tensor(want)).abs().max())
    return Entry(name, f"difference {worst:.1e}", worst <= ABSOLUTE)
