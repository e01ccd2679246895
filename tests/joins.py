"""Not a test that runs by itself: `python tests/joins.py FOLDER` shows what it costs to make a song in pieces.

Makes songs of the demo model below the folder, levels 1 and 0 once as a whole and once for each number of pieces, from
the same level 2, and prints

- the bits a token that the model gives, with its whole context as it has it in a song made as a whole, to the tokens
  after each place where pieces meet, in the song in pieces and at the same places of the whole one; with the standard
  error of the mean difference;
- how alike the two pieces' own decodings are where both are heard, as their correlation, which says how to fade;
- the speed of a step with as many rows as pieces, taken in turns with that of one row.

`joins-N.png` shows the spectrograms around one such place, the whole song above, the one in pieces below.
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

import jukebox_kit as jk
from jukebox_kit.audio import Audio
from jukebox_kit.codes import UNMADE, Join
from jukebox_kit.labels import label_rows
from jukebox_kit.pictures import spectrogram_png
from jukebox_kit.pieces import both_sides, lay_pieces
from jukebox_kit.sampling import LevelJob, sample_level
from jukebox_kit.song import Song
from jukebox_kit.threads import threads_for

STYLES = [("glass bells", "dance"), ("hollow reeds", "lullaby"), ("saw strings", "waltz"), ("glass bells", "march")]
AFTER = (16, 64, 256)  # tokens after a join
STEPS, ROUNDS = 256, 7
Numbers = dict[int, list[float]]


@dataclass
class Found:
    """Bits a token after the joins of one level, in pieces and as a whole, by how many tokens after; and more."""

    pieced: Numbers = field(default_factory=lambda: {n: [] for n in AFTER})
    whole: Numbers = field(default_factory=lambda: {n: [] for n in AFTER})
    everywhere: list[tuple[float, float]] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)


@torch.no_grad()
def bits(song: Song, model: jk.Model, level: int) -> torch.Tensor:
    """Return the bits of each token of a level, (items, tokens), in the windows that make it as a whole."""
    plan, prior = song.resolved.plans[level], model.prior(level)
    codes, above = (torch.from_numpy(song.codes(k).astype(np.int64)) for k in (level, level + 1))
    labels = [song.resolved.labels[level]] * len(codes)
    found = torch.empty(codes.shape)
    for start, begin, end in plan.windows(0):
        y = label_rows(labels, prior.config, prior.hop, start, codes.device)
        logits = prior.logits(codes[:, start:end], y, plan.above(above, start))
        each = F.cross_entropy(logits.transpose(1, 2), codes[:, start:end], reduction="none") / math.log(2)
        found[:, begin:end] = each[:, begin - start :]
    return found


def song_of(folder: Path, base: Song | None, model: jk.Model, pieces: int) -> Song:
    """Return a song with levels 1 and 0 made in so many pieces above the level 2 of `base`."""
    if base is not None and not folder.exists():
        shutil.copytree(base.root, folder)
    song = Song.open(folder)
    return jk.upsample(song, model=model, pieces=pieces)


def correlation(song: Song, model: jk.Model, level: int, item: int, join: Join) -> float:
    ending, beginning = both_sides(model.vqvae, level, song.level(level), item, join)
    return float(np.corrcoef(ending, beginning)[0, 1])


def compare(whole: Song, pieced: Song, model: jk.Model, level: int, found: Found) -> None:
    """Take one song into account."""
    ours, theirs = bits(pieced, model, level), bits(whole, model, level)
    found.everywhere += list(zip(ours.mean(1).tolist(), theirs.mean(1).tolist(), strict=True))
    for join in pieced.level(level).joins:
        for count in AFTER:
            after = slice(join.cut, join.cut + count)
            found.pieced[count] += ours[:, after].mean(1).tolist()
            found.whole[count] += theirs[:, after].mean(1).tolist()
        for item in range(len(ours)):
            found.alike.append(correlation(pieced, model, level, item, join))


def told(level: int, pieces: int, found: Found) -> None:
    for count in AFTER:
        ours, theirs = np.array(found.pieced[count]), np.array(found.whole[count])
        error = (ours - theirs).std(ddof=1) / math.sqrt(len(ours))
        typer.echo(
            f"level {level} in {pieces} pieces, {count:3} tokens after {len(ours)} joins: {ours.mean():.3f} bits a "
            f"token, as a whole {theirs.mean():.3f}; difference {(ours - theirs).mean():+.3f} ± {error:.3f}"
        )
    ours, theirs = np.array(found.everywhere).T
    typer.echo(f"level {level} in {pieces} pieces, all tokens: {ours.mean():.3f}, as a whole {theirs.mean():.3f}")
    typer.echo(f"level {level} in {pieces} pieces, correlation of the two decodings: {np.mean(found.alike):.2f}")


def picture(whole: Song, pieced: Song, model: jk.Model, path: Path) -> None:
    """Write the spectrograms of the half second to each side of the first join of level 0."""
    join = pieced.level(0).joins[0]
    middle, half = join.cut * whole.definition.vqvae.hops[0], whole.sr // 2
    around = slice(max(0, middle - half), middle + half)
    parts: list[Audio] = [song.audio(0, 0, model)[around] for song in (whole, pieced)]
    title = f"level 0 as a whole (above) and in pieces that meet at {half / whole.sr} s (below)"
    path.write_bytes(spectrogram_png({1: parts[0], 0: parts[1]}, whole.sr, title))


def step_seconds(song: Song, model: jk.Model, pieces: int) -> float:
    """Return the seconds of a step of level 0 with so many pieces of one item."""
    plan, prior = song.resolved.plans[0], model.prior(0)
    layout = lay_pieces(plan, pieces)
    above = torch.from_numpy(song.codes(1)[:1].astype(np.int64)).expand(pieces, -1)
    labels, choice = (song.resolved.labels[0],) * pieces, song.request.choice(0, song.definition)
    job = LevelJob(layout.plan(plan), (0,) * pieces, labels, above, 0, choice, begins=layout.starts)
    times: list[float] = []

    def made(_position: int) -> None:
        times.append(time.perf_counter())
        if len(times) > STEPS:
            raise StopIteration

    with suppress(StopIteration):
        sample_level(prior, job, torch.full((pieces, layout.length), UNMADE), made)
    return (times[-1] - times[0]) / (len(times) - 1)


def speed(song: Song, model: jk.Model, counts: list[int]) -> None:
    """Print tokens a second of level 0 with so many pieces, measured in turns."""
    with threads_for(model.prior(0).config):
        rounds = [[step_seconds(song, model, count) for count in (1, *counts)] for _ in range(ROUNDS)]
    once, *others = np.median(np.array(rounds), 0)
    plan = song.resolved.plans[0]
    typer.echo(f"level 0 as a whole: {1 / once:.0f} tokens/s, {plan.total * once:.1f} s for {plan.total} tokens")
    for count, step in zip(counts, others, strict=True):
        length = lay_pieces(plan, count).length
        typer.echo(
            f"level 0 in {count} pieces: {count / step:.0f} tokens/s, {length * step:.1f} s for {plan.total} tokens of "
            f"the song, {plan.total * once / (length * step):.2f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--pieces", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()
    model = jk.Model.load("demo", "cpu")
    found = {(level, count): Found() for level in (1, 0) for count in given.pieces}
    for number, (artist, genre) in enumerate(STYLES):
        place = given.folder / f"{number}"
        fields = {"artist": artist, "genre": genre, "lyrics": "la mo di ne", "items": given.items, "seed": number}
        base = jk.level_2(Song.create(place / "base", model, seconds=given.seconds, **fields), model)
        whole = song_of(place / "whole", base, model, 1)
        for count in given.pieces:
            pieced = song_of(place / f"pieces-{count}", base, model, count)
            for level in (1, 0):
                compare(whole, pieced, model, level, found[level, count])
            if not number:
                picture(whole, pieced, model, given.folder / f"joins-{count}.png")
        typer.echo(f"{artist}, {genre}: made")
    for (level, count), numbers in found.items():
        told(level, count, numbers)
    speed(whole, model, given.pieces)


if __name__ == "__main__":
    main()
