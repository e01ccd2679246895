"""Windows that the base samples of names that it knows, mixed into training so that it does not forget them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from jukebox_kit._files import read_file, write_atomically
from jukebox_kit.engine import LevelPlan
from jukebox_kit.errors import StoppedError
from jukebox_kit.model import Labels, Prior, Tables
from jukebox_kit.training.pieces import Pieces
from jukebox_kit.training.prior import CodeCorpus
from jukebox_kit.training.sampling import sample_codes
from jukebox_kit.training.trainer import SongWindows
from jukebox_kit.training.window_order import WindowOrder

FILE = "replay.safetensors"

AT_ONCE = 16  # windows sampled together


def replay_labels(
    prior: Prior, known: Tables, lyrics: Sequence[tuple[int, ...]], count: int, seed: int
) -> list[Labels]:
    """Return the labels of `count` windows: artists and genres in turn, random lyrics, lengths and positions.

    known: the names of the base. lyrics: tokens to choose from.
    """
    generator = torch.Generator().manual_seed(seed)
    artists, genres = (sorted(set(table.values()) - {0}) or [0] for table in (known.artists, known.genres))
    orders = [torch.randperm(len(ids), generator=generator).tolist() for ids in (artists, genres)]
    config, sr = prior.config, prior.vqvae.sr
    window = config.n_ctx * prior.hop
    low, high = (sr * (seconds or 0.0) for seconds in (config.min_duration, config.max_duration))
    labels: list[Labels] = []
    for number in range(count):
        artist = artists[orders[0][number % len(artists)]]
        genre = genres[orders[1][(number // len(artists) + number) % len(genres)]]
        share, place = torch.rand(2, generator=generator).tolist()
        total = max(int(low + share * (high - low)), 2 * window)
        if high:
            total = min(total, int(high) - 1)
        offset = int(place * (total - window)) // prior.vqvae.hops[-1] * prior.vqvae.hops[-1]
        tokens = lyrics[number % len(lyrics)] if lyrics else ()
        labels.append(Labels(artist, (genre,), tokens, total, offset))
    return labels


def replay_windows_of(
    prior: Prior,
    labels: list[Labels],
    upper: Sequence[Tensor] | None,
    seed: int,
    work: Path,
    stop: Callable[[], bool] = lambda: False,
) -> SongWindows:
    """Return windows that the prior samples of labels, or those that it sampled before, which `work` holds.

    upper: for each window the codes of the level above, (n_ctx / rate,), None at the top.
    stop: asked between groups of windows; once it returns True, StoppedError is raised, and what is sampled is saved.
    """
    codes = _saved(work)
    if codes is None or len(codes) > len(labels):
        codes = torch.empty(0, prior.config.n_ctx, dtype=torch.int16)
    while len(codes) < len(labels):
        codes = torch.cat([codes, _sampled(prior, labels, upper, seed, len(codes))])
        write_atomically(work, FILE, save({"codes": codes}))
        if len(codes) < len(labels) and stop():
            raise StoppedError("sampling of the windows to mix in was stopped. Everything is saved.")
    length = prior.config.n_ctx * prior.hop
    corpus = CodeCorpus(prior, list(codes), upper, labels)
    return SongWindows(corpus, WindowOrder(Pieces((length,) * len(labels), length), seed, prior.vqvae.hops[-1]))


def _saved(work: Path) -> Tensor | None:
    content = read_file(work / FILE)
    try:
        return None if content is None else load(content)["codes"]
    except (SafetensorError, KeyError):
        return None


def _sampled(prior: Prior, labels: list[Labels], upper: Sequence[Tensor] | None, seed: int, first: int) -> Tensor:
    """Return a window of each label from the first on, up to AT_ONCE, (windows, n_ctx) int16, at temperature 1."""
    n_ctx, rate = prior.config.n_ctx, 1 if prior.top else prior.rate
    plan, some = LevelPlan(prior.config.level, n_ctx, n_ctx, (0,), rate), slice(first, first + AT_ONCE)
    above = None if upper is None else torch.stack(list(upper[some]))
    return sample_codes(prior, plan, labels[some], above, seed, 1.0, first).to("cpu", torch.int16)
