"""Not a test that runs by itself: `python tests/joins.py FOLDER` shows what it costs to make a song in chunks.

Makes songs of the demo model below the folder, levels 1 and 0 once as a whole and once for each number of chunks, from
the same level 2, and prints

- the bits a token that the model gives, with half a window of the song before them at least, to the tokens after each
  place where chunks meet, and to those of the whole song at the same places: each in windows that lie as those did in
  which they were made; with the standard error of the mean difference. Then the other way round, both in the other's
  windows: tokens of either song are less likely where the windows lie otherwise, so that this is no cost of chunks;
- how alike the two chunks' own decodings are where both are heard, as their correlation, which says how to fade;
- the speed of a step with as many rows as chunks, taken in turns with that of one row.

`joins-N.png` shows the spectrograms around one such place, the whole song above, the one in chunks below.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from matplotlib.figure import Figure

import jukebox_kit as jk
from jukebox_kit.engine.placement import threads_for
from jukebox_kit.engine.sampling import LevelJob, sample_level
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.model.labels import label_rows
from jukebox_kit.song.chunks import both_sides, lay_chunks
from jukebox_kit.song.codes import Join
from jukebox_kit.song.song import Song

STYLES = [("glass bells", "dance"), ("hollow reeds", "lullaby"), ("saw strings", "waltz"), ("glass bells", "march")]
AFTER = (16, 64, 256)  # tokens after a join
STEPS, ROUNDS = 256, 7
Numbers = dict[int, list[float]]


@dataclass
class Found:
    """Bits a token after the joins of one level, by how many tokens after; and how alike both sides of a join are.

    The song in chunks and the whole one, each in windows of its own and in those of the other.
    """

    pieced: Numbers = field(default_factory=lambda: {n: [] for n in AFTER})
    whole: Numbers = field(default_factory=lambda: {n: [] for n in AFTER})
    pieced_elsewhere: Numbers = field(default_factory=lambda: {n: [] for n in AFTER})
    whole_elsewhere: Numbers = field(default_factory=lambda: {n: [] for n in AFTER})
    alike: list[float] = field(default_factory=list)


@torch.no_grad()
def bits(song: Song, model: jk.Model, level: int, start: int) -> torch.Tensor:
    """Return the bits of each token of a level in the window at `start`, (items, n_ctx)."""
    plan, prior = song.resolved.plans[level], model.prior(level)
    codes, above = (torch.from_numpy(song.codes(k).astype(np.int64)) for k in (level, level + 1))
    window = codes[:, start : start + plan.n_ctx]
    y = label_rows([song.resolved.labels[level]] * len(codes), prior.config, prior.hop, start, codes.device)
    logits = prior.logits(window, y, plan.above(above, start))
    return F.cross_entropy(logits.transpose(1, 2), window, reduction="none") / math.log(2)


@torch.no_grad()
def bits_after(song: Song, model: jk.Model, level: int, cut: int, starts: list[int]) -> torch.Tensor:
    """Return the bits of the tokens after a place, (items, max(AFTER)), in the first windows that reach each."""
    n_ctx, last = song.resolved.plans[level].n_ctx, cut + max(AFTER)
    found, at = list[torch.Tensor](), cut
    for start in starts:
        end = min(start + n_ctx, last)
        if end > at:
            found.append(bits(song, model, level, start)[:, at - start : end - start])
            at = end
    return torch.cat(found, 1)


def song_of(folder: Path, base: Song | None, model: jk.Model, chunks: int) -> Song:
    """Return a song with levels 1 and 0 made in so many chunks above the level 2 of `base`."""
    if base is not None and not folder.exists():
        shutil.copytree(base.root, folder)
    song = Song.open(folder)
    return jk.upsample(song, model=model, chunks=chunks)


def correlation(song: Song, model: jk.Model, level: int, item: int, join: Join) -> float:
    ending, beginning = both_sides(model.vqvae, level, song.level(level), item, join)
    return float(np.corrcoef(ending, beginning)[0, 1])


def compare(whole: Song, pieced: Song, model: jk.Model, level: int, found: Found) -> None:
    """Add the measurements of one song."""
    plan = whole.resolved.plans[level]
    for join in pieced.level(level).joins:
        grids = [join.begin - plan.n_ctx // 2], list(plan.starts)  # the chunk's windows, continued to the left
        sides = (
            (pieced, grids[0], found.pieced),
            (whole, grids[1], found.whole),
            (pieced, grids[1], found.pieced_elsewhere),
            (whole, grids[0], found.whole_elsewhere),
        )
        for song, starts, into in sides:
            each = bits_after(song, model, level, join.cut, starts)
            for count in AFTER:
                into[count] += each[:, :count].mean(1).tolist()
        found.alike += [correlation(pieced, model, level, item, join) for item in range(pieced.request.items)]


def told(level: int, chunks: int, found: Found) -> None:
    name = f"level {level} in {chunks} chunks"
    for count in AFTER:
        ours, theirs = np.array(found.pieced[count]), np.array(found.whole[count])
        error = (ours - theirs).std(ddof=1) / math.sqrt(len(ours))
        typer.echo(
            f"{name}, {count:3} tokens after {len(ours)} joins: {ours.mean():.3f} bits a token, as a whole "
            f"{theirs.mean():.3f}; difference {(ours - theirs).mean():+.3f} ± {error:.3f}; in the other's windows "
            f"{np.mean(found.pieced_elsewhere[count]):.3f} and {np.mean(found.whole_elsewhere[count]):.3f}"
        )
    typer.echo(f"{name}, correlation of the two decodings: {np.mean(found.alike):.2f}")


def picture(whole: Song, pieced: Song, model: jk.Model, path: Path) -> None:
    """Write the spectrograms of the half second to each side of the first join of level 0."""
    join = pieced.level(0).joins[0]
    middle, half = join.cut * whole.definition.vqvae.hops[0], whole.sr // 2
    around = slice(max(0, middle - half), middle + half)
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for axis, song, title in zip(
        axes, (whole, pieced), ("as a whole", "in chunks that meet in the middle"), strict=True
    ):
        axis.specgram(
            song.audio(0, 0, model)[around] + 1e-9, NFFT=512, Fs=whole.sr, noverlap=448, cmap="magma", vmin=-120
        )
        axis.set_title(f"level 0 {title}")
        axis.set_ylabel("Hz")
    axes[1].set_xlabel(f"seconds from {around.start / whole.sr:.2f} on")
    figure.savefig(path, dpi=80)


def step_seconds(song: Song, model: jk.Model, chunks: int) -> float:
    """Return the seconds of a step of level 0 with so many chunks of one item."""
    plan, prior = song.resolved.plans[0], model.prior(0)
    layout = lay_chunks(plan, chunks)
    above = torch.from_numpy(song.codes(1)[:1].astype(np.int64)).expand(chunks, -1)
    labels, choice = (song.resolved.labels[0],) * chunks, song.request.sampling_params(0, song.definition)
    job = LevelJob(layout.plan(plan), (0,) * chunks, labels, above, 0, choice, begins=layout.starts)
    times: list[float] = []

    def made(_position: int) -> None:
        times.append(time.perf_counter())
        if len(times) > STEPS:
            raise StopIteration

    with suppress(StopIteration):
        sample_level(prior, job, torch.full((chunks, layout.length), UNSAMPLED), made)
    return (times[-1] - times[0]) / (len(times) - 1)


def speed(song: Song, model: jk.Model, counts: list[int]) -> None:
    """Print tokens a second of level 0 with so many chunks, measured in turns."""
    with threads_for(model.prior(0).config):
        rounds = [[step_seconds(song, model, count) for count in (1, *counts)] for _ in range(ROUNDS)]
    once, *others = np.median(np.array(rounds), 0)
    plan = song.resolved.plans[0]
    typer.echo(f"level 0 as a whole: {1 / once:.0f} tokens/s, {plan.total * once:.1f} s for {plan.total} tokens")
    for count, step in zip(counts, others, strict=True):
        length = lay_chunks(plan, count).length
        typer.echo(
            f"level 0 in {count} chunks: {count / step:.0f} tokens/s, {length * step:.1f} s for {plan.total} tokens of "
            f"the song, {plan.total * once / (length * step):.2f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--chunks", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()
    model = jk.Model.load("demo", "cpu")
    found = {(level, count): Found() for level in (1, 0) for count in given.chunks}
    for number, (artist, genre) in enumerate(STYLES):
        place = given.folder / f"{number}"
        fields = {"artist": artist, "genre": genre, "lyrics": "la mo di ne", "items": given.items, "seed": number}
        base = jk.level_2(Song.create(place / "base", model, seconds=given.seconds, **fields), model)
        whole = song_of(place / "whole", base, model, 1)
        for count in given.chunks:
            pieced = song_of(place / f"chunks-{count}", base, model, count)
            for level in (1, 0):
                compare(whole, pieced, model, level, found[level, count])
            if not number:
                picture(whole, pieced, model, given.folder / f"joins-{count}.png")
        typer.echo(f"{artist}, {genre}: made")
    for (level, count), numbers in found.items():
        told(level, count, numbers)
    speed(whole, model, given.chunks)


if __name__ == "__main__":
    main()
