"""Fixed-size caches for decoding: where each position's keys and values are stored, and which ones it attends to.

Each attention pattern is three tables over positions: the slot that a position writes, the group of adjacent slots that
it reads, and how many slots of that group it may see. So every position runs the same operations, on different data.
Shapes: N songs, H heads, D values per head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from jukebox_kit.model import Attention, Pattern, Shape


@dataclass(frozen=True)
class Layout:
    """One pattern's tables, each (positions,) int64; `groups` or `seen` is None if it is the same at all positions."""

    slots: Tensor
    groups: Tensor | None
    seen: Tensor | None
    n_groups: int
    group_size: int

    @cached_property
    def places(self) -> list[tuple[int, int, int]]:
        """Return for each position its slot, the first slot that it sees, and how many it sees."""
        groups = torch.zeros_like(self.slots) if self.groups is None else self.groups
        seen = torch.full_like(self.slots, self.group_size) if self.seen is None else self.seen
        first = groups * self.group_size
        return list(zip(self.slots.tolist(), first.tolist(), seen.tolist(), strict=True))

    def kept(self, length: int) -> tuple[Tensor, Tensor]:
        """Return which of the first `length` positions are still cached after all were written, and their slots."""
        last = dict(zip(self.slots[:length].tolist(), range(length), strict=True))
        device = self.slots.device
        return torch.tensor(list(last.values()), device=device), torch.tensor(list(last), device=device)


def make_layout(pattern: Pattern, shape: Shape, device: torch.device) -> Layout:
    """Return the tables of a pattern over the positions of the sequence."""
    positions = torch.arange(shape.positions, device=device)
    row, column = positions // shape.block_ctx, positions % shape.block_ctx
    if pattern is Pattern.DENSE:
        return Layout(positions, None, positions + 1, 1, shape.positions)
    if pattern is Pattern.ROW:  # the next row overwrites this one from the left; its stale slots are not visible yet
        return Layout(column, None, column + 1, 1, shape.block_ctx)
    if pattern is Pattern.COLUMN:  # a column's rows are adjacent, so it is read as one contiguous run
        return Layout(column * shape.blocks + row, column, row + 1, shape.block_ctx, shape.blocks)
    if pattern is Pattern.PREVIOUS_ROW:  # two rows used alternately, and a third, always zero, before the first row
        before = torch.where(row == 0, 2, (row - 1) % 2)
        return Layout(row % 2 * shape.block_ctx + column, before, None, 3, shape.block_ctx)
    prime = shape.prime_length  # all later positions write to one slot that is never read
    return Layout(positions.clamp(max=prime), None, (positions + 1).clamp(max=prime), 1, prime + 1)


class Layouts:
    """The layouts of all patterns of a transformer, looked up at the current position."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.device = device
        present = sorted(set(shape.patterns) - {Pattern.ENCODER})
        self.by_pattern = {pattern: make_layout(pattern, shape, device) for pattern in present}
        self.indices = {p: torch.arange(layout.group_size, device=device) for p, layout in self.by_pattern.items()}
        self.slot: dict[Pattern, Tensor] = {}
        self.group: dict[Pattern, Tensor] = {}
        self.seen: dict[Pattern, Tensor] = {}

    def move_to(self, position: Tensor) -> None:
        """Look up each pattern's slot, group and visible keys for a position, (1,) int64."""
        for pattern, layout in self.by_pattern.items():
            self.slot[pattern] = layout.slots.index_select(0, position)
            if layout.groups is not None:
                self.group[pattern] = layout.groups.index_select(0, position)
            if layout.seen is not None:  # True where a key is visible, (1, group_size)
                self.seen[pattern] = (self.indices[pattern] < layout.seen.index_select(0, position))[None]


def cache_shape(attention: Attention, layouts: Layouts, songs: int, lyrics: int) -> tuple[int, int, int, int, int]:
    """Return the shape of a layer's keys and values, (N, 2, H, slots, D)."""
    shape, layout = attention.shape, layouts.by_pattern.get(attention.pattern)
    slots = lyrics if layout is None else layout.n_groups * layout.group_size
    return songs, 2, shape.heads, slots, shape.n_state // shape.heads


class Cache:
    """One layer's keys and values, (N, 2, H, slots, D); `lyrics` slots if the layer attends to the lyric encoder."""

    def __init__(self, attention: Attention, layouts: Layouts, songs: int, lyrics: int) -> None:
        self.pattern, self.layouts = attention.pattern, layouts
        self.heads = attention.shape.heads
        self.head_dim = attention.shape.n_state // self.heads
        self.layout = layouts.by_pattern.get(self.pattern)  # None if the layer attends to the lyric encoder
        kv = cache_shape(attention, layouts, songs, lyrics)
        self.kv = torch.zeros(kv, dtype=attention.c_attn.computes, device=layouts.device)

    def read_lyrics(self, attention: Attention, lyrics: Tensor) -> None:
        """Store the keys and values of the lyric encoder's states (N, n_lyric, W), if the layer attends to them."""
        if self.layout is None:
            kv = attention.c_enc_kv(lyrics).unflatten(-1, (2, self.heads, self.head_dim))
            self.kv.copy_(kv.permute(0, 2, 3, 1, 4))

    def fill(self, song: int, k: Tensor, v: Tensor) -> None:
        """Store a song's keys and values of positions 0 … L-1, each (1, H, L, D); lyrics are stored already."""
        if self.layout is not None:
            positions, slots = self.layout.kept(k.shape[2])
            for kept, values in zip(self.kv[song], (k, v), strict=True):
                kept.index_copy_(1, slots, values[0].index_select(1, positions))

    def attend(self, mapped: Tensor) -> Tensor:
        """Write the current position's keys and values, and return the attention output of its query, (N, H·D).

        mapped: the output of `c_attn`, (N, 3·H·D), or (N, H·D) for the encoder pattern.
        """
        songs, kv = len(mapped), self.kv
        parts = mapped.view(songs, -1, self.heads, 1, self.head_dim)
        if self.layout is not None:
            kv.index_copy_(3, self.layouts.slot[self.pattern], parts[:, 1:])
            if self.layout.groups is not None:
                kv = kv.view(*kv.shape[:3], self.layout.n_groups, -1, self.head_dim)
                kv = kv.index_select(3, self.layouts.group[self.pattern]).squeeze(3)
        seen = self.layouts.seen.get(self.pattern)
        return F.scaled_dot_product_attention(parts[:, 0], kv[:, 0], kv[:, 1], seen).view(songs, -1)
