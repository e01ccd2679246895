"""Fixed caches for decoding: where each position's keys and values are kept, and which of them a position sees.

Every pattern is three tables over positions: the slot a position is written to, the group of neighbouring slots it
reads, and how many slots of that group it sees. So a step is the same few operations at every position, on data.
Shapes: N songs, H heads, D values a head.
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
    """One pattern's tables, each (positions,) int64; `groups` or `seen` is None where it never changes."""

    slots: Tensor
    groups: Tensor | None
    seen: Tensor | None
    n_groups: int
    group_size: int

    @cached_property
    def places(self) -> list[tuple[int, int, int]]:
        """Return for each position its slot, the first slot that it sees, and how many."""
        groups = torch.zeros_like(self.slots) if self.groups is None else self.groups
        seen = torch.full_like(self.slots, self.group_size) if self.seen is None else self.seen
        first = groups * self.group_size
        return list(zip(self.slots.tolist(), first.tolist(), seen.tolist(), strict=True))

    def kept(self, length: int) -> tuple[Tensor, Tensor]:
        """Return the positions below `length` still kept when that many are written, and their slots."""
        last = dict(zip(self.slots[:length].tolist(), range(length), strict=True))
        device = self.slots.device
        return torch.tensor(list(last.values()), device=device), torch.tensor(list(last), device=device)


def make_layout(pattern: Pattern, shape: Shape, device: torch.device) -> Layout:
    """Return the tables of a pattern over the sequence's own positions."""
    positions = torch.arange(shape.positions, device=device)
    row, column = positions // shape.block_ctx, positions % shape.block_ctx
    if pattern is Pattern.DENSE:
        return Layout(positions, None, positions + 1, 1, shape.positions)
    if pattern is Pattern.ROW:  # the next row overwrites this one from the left; what is stale is not yet seen
        return Layout(column, None, column + 1, 1, shape.block_ctx)
    if pattern is Pattern.COLUMN:  # a column's rows lie side by side, so that reading it is one contiguous run
        return Layout(column * shape.blocks + row, column, row + 1, shape.block_ctx, shape.blocks)
    if pattern is Pattern.PREVIOUS_ROW:  # two rows in turn, and a third of zeros, never written, before the first
        before = torch.where(row == 0, 2, (row - 1) % 2)
        return Layout(row % 2 * shape.block_ctx + column, before, None, 3, shape.block_ctx)
    prime = shape.prime_length  # positions after it all write to one slot that nobody sees
    return Layout(positions.clamp(max=prime), None, (positions + 1).clamp(max=prime), 1, prime + 1)


class Layouts:
    """The layouts of all patterns of a transformer, and what they say at the current position."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.device = device
        own = sorted(set(shape.patterns) - {Pattern.ENCODER})
        self.by_pattern = {pattern: make_layout(pattern, shape, device) for pattern in own}
        self.indices = {p: torch.arange(layout.group_size, device=device) for p, layout in self.by_pattern.items()}
        self.at: int | None = None  # the position, where the host may know it
        self.slot: dict[Pattern, Tensor] = {}
        self.group: dict[Pattern, Tensor] = {}
        self.seen: dict[Pattern, Tensor] = {}

    def move_to(self, position: Tensor) -> None:
        """Look up each pattern's slot, group and what is seen of it for a position, (1,) int64."""
        if self.device.type == "cpu":  # reading it stalls nothing
            self.at = int(position)
            return
        for pattern, layout in self.by_pattern.items():
            self.slot[pattern] = layout.slots.index_select(0, position)
            if layout.groups is not None:
                self.group[pattern] = layout.groups.index_select(0, position)
            if layout.seen is not None:  # True where a key may be seen, (1, group_size)
                self.seen[pattern] = (self.indices[pattern] < layout.seen.index_select(0, position))[None]


def cache_shape(attention: Attention, layouts: Layouts, songs: int, lyrics: int) -> tuple[int, int, int, int, int]:
    """Return the shape of a layer's keys and values, (N, 2, H, slots, D)."""
    shape, layout = attention.shape, layouts.by_pattern.get(attention.pattern)
    slots = lyrics if layout is None else layout.n_groups * layout.group_size
    return songs, 2, shape.heads, slots, shape.n_state // shape.heads


class Cache:
    """One layer's keys and values, (N, 2, H, slots, D); `lyrics` slots where the layer reads the lyric encoder."""

    def __init__(self, attention: Attention, layouts: Layouts, songs: int, lyrics: int) -> None:
        self.pattern, self.layouts = attention.pattern, layouts
        self.heads = attention.shape.heads
        self.head_dim = attention.shape.n_state // self.heads
        self.layout = layouts.by_pattern.get(self.pattern)  # None where the layer reads the lyric encoder
        kv = cache_shape(attention, layouts, songs, lyrics)
        self.kv = torch.zeros(kv, dtype=attention.c_attn.computes, device=layouts.device)

    def read_lyrics(self, attention: Attention, lyrics: Tensor) -> None:
        """Keep the keys and values of the lyric encoder's states (N, n_lyric, W), where the layer reads them."""
        if self.layout is None:
            kv = attention.c_enc_kv(lyrics).unflatten(-1, (2, self.heads, self.head_dim))
            self.kv.copy_(kv.permute(0, 2, 3, 1, 4))

    def fill(self, song: int, k: Tensor, v: Tensor) -> None:
        """Take a song's keys and values of positions 0 … L-1, each (1, H, L, D); lyrics are kept already."""
        if self.layout is not None:
            positions, slots = self.layout.kept(k.shape[2])
            for kept, values in zip(self.kv[song], (k, v), strict=True):
                kept.index_copy_(1, slots, values[0].index_select(1, positions))

    def attend(self, mapped: Tensor) -> Tensor:
        """Write the current position's keys and values, and return what its query finds.

        mapped: what `c_attn` gave, (N, 3·H·D), in the encoder pattern (N, H·D). Returns (N, H·D).
        """
        if self.layouts.at is not None:
            return self._attend_here(mapped, self.layouts.at)
        songs, kv = len(mapped), self.kv
        parts = mapped.view(songs, -1, self.heads, 1, self.head_dim)
        if self.layout is not None:
            kv.index_copy_(3, self.layouts.slot[self.pattern], parts[:, 1:])
            if self.layout.groups is not None:
                kv = kv.view(*kv.shape[:3], self.layout.n_groups, -1, self.head_dim)
                kv = kv.index_select(3, self.layouts.group[self.pattern]).squeeze(3)
        seen = self.layouts.seen.get(self.pattern)
        return F.scaled_dot_product_attention(parts[:, 0], kv[:, 0], kv[:, 1], seen).view(songs, -1)

    def _attend_here(self, mapped: Tensor, at: int) -> Tensor:
        """Do the same at a position that the host knows: what is seen is a view, nothing is copied or masked."""
        songs, kv = mapped.shape[0], self.kv
        parts = mapped.view(songs, -1, self.heads, self.head_dim)
        if self.layout is not None:
            slot, first, seen = self.layout.places[at]
            kv.select(3, slot).copy_(parts.narrow(1, 1, 2))
            kv = kv.narrow(3, first, seen)
        q = parts.select(1, 0).unsqueeze(2)
        return F.scaled_dot_product_attention(q, kv.select(1, 0), kv.select(1, 1)).view(songs, -1)
