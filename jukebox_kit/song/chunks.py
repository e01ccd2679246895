"""Sampling one song in parallel chunks: where the chunks of a level lie, and how their codes and audio are joined.

The upper codes are known before a lower level starts, so it can be sampled from several places at once: each chunk is a
row of the batch with its own windows. Neighbours overlap, and both sample the tokens there, each with its own context.
The first tokens of a chunk are sampled without context and are not played: the chunk warms up. After them the level's
codes switch to the new chunk, and the audio crossfades around that token. Shapes: P chunks of L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from jukebox_kit.engine import UNSAMPLED, LevelPlan, window_starts
from jukebox_kit.song.audio import Audio
from jukebox_kit.song.codes import Codes, Join, LevelCodes

if TYPE_CHECKING:
    from jukebox_kit.model import VQVAE

WARM_UP = 8  # an eighth of a window; with less, the tokens after a join are less likely under the model

FADE = 16  # the crossfade is a sixteenth of a window to each side


@dataclass(frozen=True)
class ChunkLayout:
    """The chunks of a level: each is `length` tokens from one of `starts`, and the last ends with the level.

    A level that is not sampled in chunks is one chunk from token 0. If the first chunk starts later, its first tokens
    are given and are its context.

    fade: tokens of the crossfade to each side of a join.
    """

    starts: tuple[int, ...]
    length: int
    total: int
    fade: int = 1

    def __post_init__(self) -> None:
        ends = [start + self.length for start in self.starts]
        overlapping = all(last > begin for last, begin in zip(ends, self.starts[1:], strict=False))
        apart = all(last <= begin for last, begin in zip(ends, self.starts[2:], strict=False))
        if not (self.starts and ends[-1] == self.total and overlapping and apart):
            raise ValueError(f"chunks must overlap with their neighbours only and end with the level, got {self}")

    @cached_property
    def joins(self) -> tuple[Join, ...]:
        """The joins of neighbouring chunks."""
        pairs = [(right, left + self.length) for left, right in pairwise(self.starts)]
        return tuple(Join(begin, end - self.fade, end) for begin, end in pairs)

    @cached_property
    def played(self) -> tuple[tuple[int, int], ...]:
        """For each chunk the tokens of the level that are taken from it: the first, and the one after the last."""
        cuts = [self.starts[0], *(join.cut for join in self.joins), self.total]
        return tuple(pairwise(cuts))

    def count_played(self, rows: Sequence[int], sampled: int | None = None) -> int:
        """Return how many tokens of the level come from rows (items × P) of which the first `sampled` tokens exist.

        sampled: by default all. The tokens before the first chunk count as part of it.
        """
        count = 0
        for chunk in (row % len(self.starts) for row in rows):
            first, last = self.played[chunk]
            end = last if sampled is None else min(max(self.starts[chunk] + sampled, first), last)
            count += end - (first if chunk else 0)
        return count

    def plan(self, level: LevelPlan) -> LevelPlan:
        """Return the windows of a chunk, counted from its start, with the hop of the level."""
        if self.starts == (0,):
            return level
        hop = level.starts[1] - level.starts[0]
        starts = tuple(window_starts(self.length, level.n_ctx, hop))
        return LevelPlan(level.level, self.length, level.n_ctx, starts, level.rate)

    def given(self, level: LevelCodes) -> tuple[int, ...]:
        """Return how many tokens at the start of each row (items × P) were given."""
        return tuple(min(max(given - start, 0), self.length) for given in level.given for start in self.starts)

    def rows(self, level: LevelCodes) -> Codes:
        """Return a copy of the tokens of every chunk so far, (items × P, L)."""
        others = np.full_like(level.codes, UNSAMPLED) if level.others is None else level.others
        given = np.arange(self.total) < np.array(level.given)[:, None]
        hidden = np.where(given, level.codes, others)
        rows = np.empty((len(level.codes), len(self.starts), self.length), np.int16)
        for chunk, (start, (first, last)) in enumerate(zip(self.starts, self.played, strict=True)):
            end = start + self.length
            parts = hidden[:, start:first], level.codes[:, first:last], hidden[:, last:end]
            rows[:, chunk] = np.concatenate(parts, 1)
        return rows.reshape(-1, self.length)

    def level(self, before: LevelCodes, rows: Codes) -> LevelCodes:
        """Return the level with the tokens of every chunk, (items × P, L)."""
        codes = before.codes.copy()
        others = np.full_like(codes, UNSAMPLED) if before.others is None else before.others.copy()
        chunks = rows.reshape(len(codes), len(self.starts), self.length)
        for chunk, (start, (first, last)) in enumerate(zip(self.starts, self.played, strict=True)):
            end = start + self.length
            codes[:, first:last] = chunks[:, chunk, first - start : last - start]
            others[:, start:first] = chunks[:, chunk, : first - start]
            others[:, last:end] = chunks[:, chunk, last - start :]
        joins = (*(join for join in before.joins if join not in self.joins), *self.joins)
        return LevelCodes(codes, before.given, joins, others if joins else None)


def chunks_at(chunks: tuple[int, int], level: int) -> int:
    """Return how many chunks of a request, those of levels 0 and 1, apply to a level: the top level always has one."""
    return (*chunks, 1)[level]


def lay_chunks(plan: LevelPlan, chunks: int, given: int = 0) -> ChunkLayout:
    """Return the layout of a level in `chunks` chunks, or in fewer, so that each is at least one window long.

    All have the same length, and neighbours overlap by three sixteenths of a window or a few tokens more. given: tokens
    at the start that are not sampled again.
    """
    fade = max(plan.n_ctx // FADE, 1)
    overlap = _round_up(max(plan.n_ctx // WARM_UP, fade) + fade, plan.rate)
    first = max(0, given - plan.n_ctx // 2) // plan.rate * plan.rate  # half a window of context, as windows have
    room = plan.total - first
    count = min(chunks, (room - overlap) // (plan.n_ctx - overlap))
    if count < 2:
        return ChunkLayout((0,), plan.total, plan.total)
    length = _round_up(-(-(room + (count - 1) * overlap) // count), plan.rate)
    spare = room - length
    starts = tuple(first + chunk * spare // (count - 1) // plan.rate * plan.rate for chunk in range(count))
    return ChunkLayout(starts, length, plan.total, fade)


def layout_of(plan: LevelPlan, level: LevelCodes, chunks: int) -> ChunkLayout:
    """Return the layout that a level was started with, or one of `chunks` chunks if nothing of it is sampled."""
    if not level.sampled:
        return lay_chunks(plan, chunks, min(level.given))
    growing = [join for join in level.joins if join.end > min(level.given)]
    if not growing:
        return ChunkLayout((0,), plan.total, plan.total)
    length = plan.total - growing[-1].begin
    starts = (growing[0].end - length, *(join.begin for join in growing))
    return ChunkLayout(starts, length, plan.total, growing[0].end - growing[0].cut)


def chunks_note(plan: LevelPlan, chunks: int, seconds: float) -> str | None:
    """Return a sentence if a level has to be sampled in fewer chunks than requested. seconds: of one token."""
    count = len(lay_chunks(plan, chunks).starts)
    if count >= chunks:
        return None
    return (
        f"level {plan.level} is sampled in {count} chunk{'s' if count > 1 else ''}, not {chunks}: each is at least one "
        f"window, {plan.n_ctx * seconds:.2f} seconds."
    )


def level_audio(vqvae: VQVAE, level: int, codes: LevelCodes, item: int) -> Audio:
    """Return the audio of an item's codes from the start to the first missing one, (samples,) float32, not clipped.

    Where chunks meet, it crossfades between what both decode to, at equal gain, since with the same upper codes they
    sound alike. Elsewhere it is the decoded codes.
    """
    made, hop = codes.made[item], vqvae.config.hops[level]
    audio = _decoded(vqvae, level, codes.codes[item, :made])
    for join in codes.joins:
        if join.end > made or _lacks_other(codes, item, join):
            continue
        ending, beginning = both_sides(vqvae, level, codes, item, join)
        gain = (np.arange(len(ending), dtype=np.float32) + 0.5) / len(ending)
        audio[join.fade_begin * hop : join.end * hop] = (1 - gain) * ending + gain * beginning
    return audio


def both_sides(vqvae: VQVAE, level: int, codes: LevelCodes, item: int, join: Join) -> tuple[Audio, Audio]:
    """Return what each of the two chunks of a join decodes to during the crossfade, (samples,) each.

    Around the join both are decoded with the level's codes.
    """
    assert codes.others is not None, "levels with joins have others"
    hop, margin = vqvae.config.hops[level], vqvae.margin(level)
    low, high = max(0, join.fade_begin - margin), min(join.end + margin, codes.made[item])
    first, second = codes.codes[item].copy(), codes.codes[item].copy()
    first[join.cut : join.end] = codes.others[item, join.cut : join.end]
    second[join.begin : join.cut] = codes.others[item, join.begin : join.cut]
    samples = slice((join.fade_begin - low) * hop, (join.end - low) * hop)
    ending, beginning = (_decoded(vqvae, level, side[low:high])[samples] for side in (first, second))
    return ending, beginning


def _lacks_other(codes: LevelCodes, item: int, join: Join) -> bool:
    return codes.others is None or bool((codes.others[item, join.begin : join.end] == UNSAMPLED).any())


def _decoded(vqvae: VQVAE, level: int, codes: Codes) -> Audio:
    import torch  # slow to import, and codes are read without it

    tokens = torch.from_numpy(codes.astype(np.int64))[None].to(vqvae.device)
    audio: Audio = vqvae.decode(tokens, level)[0, :, 0].cpu().numpy()
    return audio


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
