"""Replays recorded features of three projects: from audio to codes, label rows, states of layers, frames and means."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from jukebox_kit.analysis import (
    CONVENTIONS,
    Clip,
    ClipLabels,
    Convention,
    Reducer,
    Reduction,
    clip_of,
    layer_states,
    prepare,
    window_batch,
)
from jukebox_kit.checks.verify.entries import Entry, close, same
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.errors import RequestError
from jukebox_kit.model import VQVAE, Prior, lyric_tokens
from jukebox_kit.model.weights import load_definition
from jukebox_kit.song import read_recording

LEFT_OUT = "left out: averages over clips, which is a fault"

States = dict[int, Tensor]  # by layer, (clips, tokens, W)


def feature_entries(golden: Golden) -> Iterator[Entry]:
    """Yield every entry of a folder of recorded features; RequestError unless it is replayed in float32 on the CPU."""
    if not golden.exact or golden.placement.engine == "jukebox":
        raise RequestError("features can be compared in float32 on the CPU only; omit --device, --dtype, --engine.")
    yield check_loading(golden)
    vqvae, name, prior = golden.vqvae(), "", None
    for case in golden.scalars["cases"]:
        if prior is None or case["part"] != name:
            name = case["part"]
            prior = golden.prior(name)
        yield from check_case(golden, case, vqvae, prior)


def check_loading(golden: Golden) -> Entry:
    """Compare how a stereo recording is read."""
    stereo, sr = golden.tensors["load.stereo"].numpy(), golden.vqvae_config.sr
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stereo.wav"
        soundfile.write(path, stereo.T, sr, "FLOAT")
        audio = read_recording(path, sr, limit=False)
    mono = prepare(np.asarray(audio), CONVENTIONS["jukemirlib"])
    return close("load.mono", torch.from_numpy(mono), golden.tensors["load.mono"])


def check_case(golden: Golden, case: dict[str, Any], vqvae: VQVAE, prior: Prior) -> Iterator[Entry]:
    """Compare one case, from its audio."""
    key = case["key"]
    convention = _scaled(CONVENTIONS[case["convention"]], case["part"], prior)
    labels = _labels(golden, case, prior)
    audio = [golden.tensors[name].numpy() for name in case["audio"]]
    clips = [clip_of(vqvae, prior.config, prepare(one, convention), convention, labels) for one in audio]
    yield same(f"{key}.codes", torch.stack([clip.codes for clip in clips]), golden.tensors[f"{key}.codes"])
    rows = torch.tensor([row for clip in clips for row in clip.rows])
    yield same(f"{key}.y", rows, golden.tensors[f"{key}.y"])
    layers = case.get("layers") or [case["depth"]]
    states = _states(prior, clips, layers, convention)
    for layer in layers:
        single = f"{key}.layer_{layer}" if "layers" in case else f"{key}.full"
        found = states[layer] if convention.first_window else states[layer][0]
        yield close(single, found, golden.tensors[single])
    yield from _check_reduced(golden, case, states, convention)


def _check_reduced(golden: Golden, case: dict[str, Any], states: States, convention: Convention) -> Iterator[Entry]:
    """Compare means over time, and frames of lower rates."""
    key, rate = case["key"], golden.vqvae_config.sr / golden.vqvae_config.hops[-1]
    if "mean" in case.get("outputs", ()):
        found = _reduced(states[case["depth"]], Reduction(rate, pool="mean"))[:, 0]
        yield close(f"{key}.mean", found, golden.tensors[f"{key}.mean"])
    if "downsampled" in case:
        layer = case["downsampled"]["layer"]
        name = f"{key}.layer_{layer}"
        mean = _reduced(states[layer], Reduction(rate, pool="mean"))[:, 0]
        yield close(f"{name}.mean", mean, golden.tensors[f"{name}.mean"])
        for lower in case["downsampled"]["rates"]:
            frames = Reduction(rate, lower, fft=convention.fft)
            for suffix, how in (("", frames), (".mean", replace(frames, pool="mean"))):
                want = golden.tensors[f"{name}.rate_{lower}{suffix}"]
                found = _reduced(states[layer], how)
                yield close(f"{name}.rate_{lower}{suffix}", found[:, 0] if suffix else found, want)
    if "meanpool_of_library" in case:
        name = f"{key}.layer_{case['downsampled']['layer']}.meanpool_of_library"
        yield Entry(name, LEFT_OUT, ok=True)


def _states(prior: Prior, clips: Sequence[Clip], layers: Sequence[int], convention: Convention) -> States:
    """Return the states of the clips, which are all equally long, window after window."""
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for number in range(len(clips[0].windows)):
        window = clips[0].windows[number]
        batch = window_batch([(clip, number) for clip in clips], torch.device("cpu"))
        for layer, state in layer_states(prior, *batch, layers, convention.adds_conditioning):
            found[layer].append(state[:, window.kept : window.end - window.start].clone())
    return {layer: torch.cat(parts, 1) for layer, parts in found.items()}


def _reduced(states: Tensor, reduction: Reduction) -> Tensor:
    """Return the frames of each clip, (clips, frames, W)."""
    found: list[Tensor] = []
    for rows in states.numpy():
        reducer = Reducer(reduction)
        found.append(torch.from_numpy(np.concatenate([reducer.add(rows), reducer.end().reshape(-1, rows.shape[1])])))
    return torch.stack(found)


def _scaled(convention: Convention, part: str, prior: Prior) -> Convention:
    """Return a convention with its fixed length as short as the recorded model's window, where that has short songs."""
    if not part.endswith("_scaled") or convention.total_seconds is None:
        return convention
    released = load_definition(part.removeprefix("prior_").removesuffix("_scaled")).top.n_ctx
    return replace(convention, total_seconds=convention.total_seconds * prior.config.n_ctx / released)


def _labels(golden: Golden, case: dict[str, Any], prior: Prior) -> ClipLabels:
    """Return a case's labels; ids are those of the recorded rows, since the tables of names are not recorded."""
    row = golden.tensors[f"{case['key']}.y"][0].tolist()
    given, sr = case.get("metadata", {}), golden.vqvae_config.sr
    lyrics = given.get("lyrics", case.get("lyrics")) or ""
    tokens = lyric_tokens(lyrics, prior.config.label_set) if prior.config.use_tokens else []
    total = given.get("metadata_total_length_seconds")
    if "total_length_samples" in given:
        total = given["total_length_samples"] / sr
    offset = given.get("metadata_offset_seconds", given.get("offset_samples", 0) / sr)
    genres = tuple(genre for genre in row[4 : 4 + prior.config.max_bow_genre_size] if genre >= 0)
    return ClipLabels(row[3], genres, tuple(tokens), total, offset)
