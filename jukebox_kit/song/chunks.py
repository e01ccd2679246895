"""One song in parallel chunks: where the chunks of a level lie, and how they are joined, as codes and as audio.

The upper codes are known before a lower level is begun, so that it can be sampled from several places at once, each
chunk a row of the batch with windows of its own. Neighbours overlap: both make the tokens there, each after what came
before in its own chunk. What a chunk makes first, with nothing before it, is not shown: it warms up. Then the level's
codes change over to it, and the audio is faded from one to the other around that place. Shapes: P chunks of L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from jukebox_kit.engine import UNMADE, LevelPlan, window_starts
from jukebox_kit.song.audio import Audio
from jukebox_kit.song.codes import Codes, Join, LevelCodes

if TYPE_CHECKING:
    from jukebox_kit.model import VQVAE

WARM_UP = 8  # a chunk makes an eighth of a window before the level shows it; with less its tokens are less likely

FADE = 16  # a sixteenth of a window to each side


@dataclass(frozen=True)
class ChunkLayout:
    """The rows that a level's items are sampled as: each `length` tokens from one of `starts`, the last to the end.

    A level that is made as a whole is one row from its start. A first chunk that begins later begins with tokens that
    stand already, its context. fade: tokens to each side of where chunks meet.
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
            raise ValueError(f"chunks must overlap with their neighbours alone and end with the level, got {self}")

    @cached_property
    def joins(self) -> tuple[Join, ...]:
        """Where neighbours meet."""
        pairs = [(right, left + self.length) for left, right in pairwise(self.starts)]
        return tuple(Join(begin, end - self.fade, end) for begin, end in pairs)

    @cached_property
    def shares(self) -> tuple[tuple[int, int], ...]:
        """For each chunk the tokens that the level shows of it, from and to, counted from the start of the level."""
        cuts = [self.starts[0], *(join.cut for join in self.joins), self.total]
        return tuple(pairwise(cuts))

    def shown(self, rows: Sequence[int], made: int | None = None) -> int:
        """Return how many tokens the level shows of rows, items × P, of which so many are made; whole if left out.

        What stands before the first chunk counts with it.
        """
        found = 0
        for chunk in (row % len(self.starts) for row in rows):
            first, last = self.shares[chunk]
            end = last if made is None else min(max(self.starts[chunk] + made, first), last)
            found += end - (first if chunk else 0)
        return found

    def plan(self, level: LevelPlan) -> LevelPlan:
        """Return the windows of a chunk, counted from its start: laid as those of the level are."""
        if self.starts == (0,):
            return level
        hop = level.starts[1] - level.starts[0]
        starts = tuple(window_starts(self.length, level.n_ctx, hop))
        return LevelPlan(level.level, self.length, level.n_ctx, starts, level.rate)

    def given(self, level: LevelCodes) -> tuple[int, ...]:
        """Return for each row, items × P, how many tokens at its start were given."""
        return tuple(min(max(given - start, 0), self.length) for given in level.given for start in self.starts)

    def rows(self, level: LevelCodes) -> Codes:
        """Return the tokens of every chunk so far, (items × P, L), a copy."""
        others = np.full_like(level.codes, UNMADE) if level.others is None else level.others
        stands = np.arange(self.total) < np.array(level.given)[:, None]
        hidden = np.where(stands, level.codes, others)
        rows = np.empty((len(level.codes), len(self.starts), self.length), np.int16)
        for chunk, (start, (first, last)) in enumerate(zip(self.starts, self.shares, strict=True)):
            end = start + self.length
            parts = hidden[:, start:first], level.codes[:, first:last], hidden[:, last:end]
            rows[:, chunk] = np.concatenate(parts, 1)
        return rows.reshape(-1, self.length)

    def level(self, before: LevelCodes, rows: Codes) -> LevelCodes:
        """Return the level with the tokens of every chunk, (items × P, L), put where they belong."""
        codes = before.codes.copy()
        others = np.full_like(codes, UNMADE) if before.others is None else before.others.copy()
        chunks = rows.reshape(len(codes), len(self.starts), self.length)
        for chunk, (start, (first, last)) in enumerate(zip(self.starts, self.shares, strict=True)):
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
    """Return a level in so many chunks, or in as many as are a window long at least; what is given is not made again.

    All are as long, and neighbours overlap by three sixteenths of a window or a few tokens more.
    """
    fade = max(plan.n_ctx // FADE, 1)
    overlap = _up(max(plan.n_ctx // WARM_UP, fade) + fade, plan.rate)
    first = max(0, given - plan.n_ctx // 2) // plan.rate * plan.rate  # half a window of context, as windows have
    room = plan.total - first
    count = min(chunks, (room - overlap) // (plan.n_ctx - overlap))
    if count < 2:
        return ChunkLayout((0,), plan.total, plan.total)
    length = _up(-(-(room + (count - 1) * overlap) // count), plan.rate)
    spare = room - length
    starts = tuple(first + chunk * spare // (count - 1) // plan.rate * plan.rate for chunk in range(count))
    return ChunkLayout(starts, length, plan.total, fade)


def layout_of(plan: LevelPlan, level: LevelCodes, chunks: int) -> ChunkLayout:
    """Return how a level is being made: as it was begun, or in so many chunks where nothing of it is sampled."""
    if not level.sampled:
        return lay_chunks(plan, chunks, min(level.given))
    growing = [join for join in level.joins if join.end > min(level.given)]
    if not growing:
        return ChunkLayout((0,), plan.total, plan.total)
    length = plan.total - growing[-1].begin
    starts = (growing[0].end - length, *(join.begin for join in growing))
    return ChunkLayout(starts, length, plan.total, growing[0].end - growing[0].cut)


def chunks_note(plan: LevelPlan, chunks: int, seconds: float) -> str | None:
    """Return a sentence where a level of a song is made in fewer chunks than asked for; `seconds`: a token's."""
    count = len(lay_chunks(plan, chunks).starts)
    if count >= chunks:
        return None
    return (
        f"level {plan.level} is made in {count} chunk{'s' if count > 1 else ''}, not {chunks}: each is at least one "
        f"window, {plan.n_ctx * seconds:.2f} seconds."
    )


def level_audio(vqvae: VQVAE, level: int, found: LevelCodes, item: int) -> Audio:
    """Return the audio of an item as far as its codes are made from the start, (samples,) float32, not clipped.

    Where chunks meet, what the two of them decode to is faded from one to the other, at equal gain: with the same codes
    above they are much alike. Elsewhere it is what the codes decode to as a whole.
    """
    made, hop = found.made[item], vqvae.config.hops[level]
    audio = _decoded(vqvae, level, found.codes[item, :made])
    for join in found.joins:
        if join.end > made or _lacking(found, item, join):
            continue
        ending, beginning = both_sides(vqvae, level, found, item, join)
        share = (np.arange(len(ending), dtype=np.float32) + 0.5) / len(ending)
        audio[join.heard * hop : join.end * hop] = (1 - share) * ending + share * beginning
    return audio


def both_sides(vqvae: VQVAE, level: int, found: LevelCodes, item: int, join: Join) -> tuple[Audio, Audio]:
    """Return what the two chunks that meet at a join decode to where both are heard, (samples,) each.

    What lies around is the level's codes for both.
    """
    assert found.others is not None, "joins have others"
    hop, margin = vqvae.config.hops[level], vqvae.margin(level)
    low, high = max(0, join.heard - margin), min(join.end + margin, found.made[item])
    first, second = found.codes[item].copy(), found.codes[item].copy()
    first[join.cut : join.end] = found.others[item, join.cut : join.end]
    second[join.begin : join.cut] = found.others[item, join.begin : join.cut]
    samples = slice((join.heard - low) * hop, (join.end - low) * hop)
    ending, beginning = (_decoded(vqvae, level, codes[low:high])[samples] for codes in (first, second))
    return ending, beginning


def _lacking(found: LevelCodes, item: int, join: Join) -> bool:
    return found.others is None or bool((found.others[item, join.begin : join.end] == UNMADE).any())


def _decoded(vqvae: VQVAE, level: int, codes: Codes) -> Audio:
    import torch  # slow to import, and codes are read without it

    tokens = torch.from_numpy(codes.astype(np.int64))[None].to(vqvae.device)
    audio: Audio = vqvae.decode(tokens, level)[0, :, 0].cpu().numpy()
    return audio


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
