"""Triton kernels of a decoding step: a linear layer fused with its neighbours, and attention over fixed caches.

A step reads each weight once, so its time is that of reading them plus the boundaries between kernels. A program
computes a few outputs from all inputs; the weights of one output are contiguous, so that it reads long runs. No atomics
are used, so a step gives the same bits every time. Shapes: N songs, H heads, D values per head, S parts that the keys
of attention are divided into.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def statistics(x, rows, n_rows, EPS: tl.constexpr, N_IN: tl.constexpr, BLOCK: tl.constexpr):
    """Return mean and 1/deviation of some rows of x (N, in) float32, block by block, each about its own mean."""
    mean = tl.zeros(rows.shape, tl.float32)
    spread = tl.zeros(rows.shape, tl.float32)
    for start in tl.static_range(0, N_IN, BLOCK):
        ks = start + tl.arange(0, BLOCK)
        count = min(BLOCK, N_IN - start)
        inside = (rows < n_rows)[:, None] & (ks < N_IN)[None, :]
        values = tl.load(x + rows[:, None] * N_IN + ks[None, :], mask=inside, other=0.0)
        own_mean = tl.sum(values, 1) / count
        away = tl.where((ks < N_IN)[None, :], values - own_mean[:, None], 0.0)
        apart = own_mean - mean
        mean += apart * (count / (start + count))
        spread += tl.sum(away * away, 1) + apart * apart * (start * count / (start + count))
    return mean, 1.0 / tl.sqrt(spread / N_IN + EPS)


@triton.jit
def merged(x, lse, rows, ks, inside, N_IN: tl.constexpr, HEAD: tl.constexpr, PARTS: tl.constexpr):
    """Return attention outputs: the parts of x (N, H, S, D) weighted according to `lse` (N, H, S)."""
    part = (rows * (N_IN // HEAD) + ks // HEAD) * PARTS
    highest = tl.load(lse + part, mask=inside, other=0.0)
    for s in tl.static_range(1, PARTS):
        highest = tl.maximum(highest, tl.load(lse + part + s, mask=inside, other=0.0))
    total = tl.zeros_like(highest)
    value = tl.zeros_like(highest)
    for s in tl.static_range(PARTS):
        share = tl.exp(tl.load(lse + part + s, mask=inside, other=0.0) - highest)
        total += share
        value += share * tl.load(x + (part + s) * HEAD + ks % HEAD, mask=inside, other=0.0)
    return value / total


@triton.jit
def finish(
    sums, scale, b, to, out, rows, columns, n_rows, n_out,
    GELU: tl.constexpr,
):  # fmt: skip
    """Write sums (rows, columns): scaled for int8 weights, plus b, quick-GELU, and added `to` a residual.

    Rounds exactly where the plain operations round.
    """
    kept = columns < n_out
    if scale is not None:
        sums *= tl.load(scale + columns, mask=kept, other=0.0)[None, :]
    value = (sums + tl.load(b + columns, mask=kept, other=0.0).to(tl.float32)[None, :]).to(b.dtype.element_ty)
    if GELU:
        steep = (value.to(tl.float32) * 1.702).to(value.dtype).to(tl.float32)
        gate = (1.0 / (1.0 + tl.exp(-steep))).to(value.dtype).to(tl.float32)
        value = (value.to(tl.float32) * gate).to(value.dtype)
    places = rows[:, None] * n_out + columns[None, :]
    inside = (rows < n_rows)[:, None] & kept[None, :]
    if to is not None:
        value = tl.load(to + places, mask=inside, other=0.0) + value.to(tl.float32)
    tl.store(out + places, value, mask=inside)


@triton.jit
def map_by_sums(
    x, gain, shift, lse, w, scale, b, to, out, n_rows, n_out,
    EPS: tl.constexpr, N_IN: tl.constexpr, HEAD: tl.constexpr, PARTS: tl.constexpr, SOURCE: tl.constexpr,
    GELU: tl.constexpr, COLUMNS: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Apply a linear layer to one row per program by products and sums: for one song, or without matrix units.

    x: float32 (N, in), normalised first or taken as it is, or (N, H, S, D), merged first. w: (out, in).
    to: (N, out) float32. The row stays in registers while the program's COLUMNS are processed in groups of GROUP, each
    loaded one group ahead.
    """
    row = tl.program_id(0) + tl.arange(0, 1)  # programs of the same columns are adjacent and read them once
    ks = tl.arange(0, BLOCK)[None, :]
    inside = ks < N_IN
    if SOURCE == "merged":
        values = merged(x, lse, row[:, None], ks, inside, N_IN, HEAD, PARTS)
    else:
        values = tl.load(x + row[:, None] * N_IN + ks, mask=inside, other=0.0).to(tl.float32)
    if SOURCE == "normalised":
        gains = tl.load(gain + ks, mask=inside, other=0.0)
        shifts = tl.load(shift + ks, mask=inside, other=0.0)
    first = tl.program_id(1) * COLUMNS
    group = tl.arange(0, GROUP)
    run = w + (first + group)[:, None] * N_IN + ks
    # Loaded after the input: Triton lays out a product's operands like the last one loaded, and weights are larger.
    weights = tl.load(run, mask=(first + group < n_out)[:, None] & inside, other=0.0)
    if SOURCE == "normalised":  # while the first weights are being loaded
        mean = tl.sum(values, 1)[:, None] / N_IN
        away = tl.where(inside, values - mean, 0.0)
        deviation = 1.0 / tl.sqrt(tl.sum(away * away, 1)[:, None] / N_IN + EPS)
        values = (values - mean) * deviation * gains + shifts
    values = values.to(b.dtype.element_ty).to(tl.float32)
    for start in range(0, COLUMNS, GROUP):
        columns = first + start + group
        run += GROUP * N_IN
        ahead = (columns + GROUP < tl.minimum(n_out, first + COLUMNS))[:, None] & inside
        following = tl.load(run, mask=ahead, other=0.0)
        sums = tl.sum(values * weights.to(tl.float32), 1)[None, :]
        finish(sums, scale, b, to, out, row, columns, n_rows, n_out, GELU)
        weights = following


@triton.jit
def map_by_products(
    x, gain, shift, lse, w, scale, b, to, out, n_rows, n_out,
    EPS: tl.constexpr, N_IN: tl.constexpr, HEAD: tl.constexpr, PARTS: tl.constexpr, SOURCE: tl.constexpr,
    GELU: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
    NORM_BLOCK: tl.constexpr, LANES: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Apply a linear layer to rows with matrix units; arguments as in `map_by_sums`.

    Each of LANES warps multiplies its own stretch of a block; otherwise each product would wait for the one before.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    ks = tl.arange(0, LANES)[:, None, None] * (BLOCK // LANES)
    mean = tl.zeros((ROWS,), tl.float32)
    deviation = mean
    if SOURCE == "normalised":
        mean, deviation = statistics(x, rows, n_rows, EPS, N_IN, NORM_BLOCK)
    across, down = ks + tl.arange(0, BLOCK // LANES)[None, None, :], ks + tl.arange(0, BLOCK // LANES)[None, :, None]
    sums = tl.zeros((LANES, ROWS, COLUMNS), tl.float32)
    for start in tl.range(0, N_IN, BLOCK, num_stages=STAGES):
        inside = (start + down < N_IN) & (columns < n_out)[None, None, :]
        weights = tl.load(w + columns[None, None, :] * N_IN + start + down, mask=inside, other=0.0)
        places = (rows < n_rows)[None, :, None] & (start + across < N_IN)
        if SOURCE == "merged":
            values = merged(x, lse, rows[None, :, None], start + across, places, N_IN, HEAD, PARTS)
        else:
            values = tl.load(x + rows[None, :, None] * N_IN + start + across, mask=places, other=0.0)
        if SOURCE == "normalised":
            kept = start + across < N_IN
            values = (values - mean[None, :, None]) * deviation[None, :, None]
            values = values * tl.load(gain + start + across, mask=kept, other=0.0)
            values += tl.load(shift + start + across, mask=kept, other=0.0)
        values = values.to(b.dtype.element_ty)
        sums = tl.dot(values, weights.to(values.dtype), sums)
    finish(tl.sum(sums, 0), scale, b, to, out, rows, columns, n_rows, n_out, GELU)


@triton.jit
def found_in(
    query, keys, values, start, end, slot, own_key, own_value, scaled_by,
    HEAD: tl.constexpr, KEYS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """Return a query's attention over slots `start` to `end`: the maximum score, the sum of weights, weighted values.

    The key and value that are being written at `slot` are taken from registers.
    """
    dims = tl.arange(0, DIMS)
    highest = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    sums = tl.zeros((DIMS,), tl.float32)
    first = start
    while first < end:
        slots = first + tl.arange(0, KEYS)
        places = slots[:, None] * HEAD + dims[None, :]
        own = (slots == slot)[:, None]
        inside = (slots < end)[:, None] & (dims < HEAD)[None, :] & ~own
        k = tl.where(own, own_key[None, :], tl.load(keys + places, mask=inside, other=0.0))
        v = tl.where(own, own_value[None, :], tl.load(values + places, mask=inside, other=0.0))
        scores = tl.sum(query[None, :] * k.to(tl.float32), 1) * scaled_by
        scores = tl.where(slots < end, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 0))
        shares = tl.exp(scores - higher)
        before = tl.exp(highest - higher)
        total = total * before + tl.sum(shares, 0)
        sums = sums * before + tl.sum(shares[:, None] * v.to(tl.float32), 0)
        highest = higher
        first += KEYS
    return highest, total, sums


@triton.jit
def attend(
    mapped, kv, position, slots, groups, seen, found, lse, n_slots, group_size, scaled_by,
    HEADS: tl.constexpr, HEAD: tl.constexpr, PARTS: tl.constexpr,
    SPAN: tl.constexpr, KEYS: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """Store the current position's keys and values, and compute its attention over one part of its group.

    mapped: (N, 3·H·D), or (N, H·D) if `slots` is None and nothing is stored.
    kv: (N, 2, H, slots, D). slots, groups, seen: a layout's tables.
    found: (N, H, S, D) float32, the output over SPAN keys. lse: (N, H, S) float32, the logarithm of their total weight.
    """
    part, head, song = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    at = tl.load(position)
    dims = tl.arange(0, DIMS)
    kept = dims < HEAD
    keys = kv + (song.to(tl.int64) * 2 * HEADS + head) * n_slots * HEAD
    values = keys + HEADS * n_slots * HEAD
    n_maps: tl.constexpr = 1 if slots is None else 3
    mine = mapped + (song * n_maps * HEADS + head) * HEAD + dims
    query = tl.load(mine, mask=kept, other=0.0)
    slot, own_key, own_value = -1, query, query
    if slots is not None:
        slot = tl.load(slots + at).to(tl.int32)
        own_key = tl.load(mine + HEADS * HEAD, mask=kept, other=0.0)
        own_value = tl.load(mine + 2 * HEADS * HEAD, mask=kept, other=0.0)
        if part == 0:
            tl.store(keys + slot * HEAD + dims, own_key, mask=kept)
            tl.store(values + slot * HEAD + dims, own_value, mask=kept)
    first, n_seen = 0, group_size
    if groups is not None:
        first = tl.load(groups + at).to(tl.int32) * group_size
    if seen is not None:
        n_seen = tl.load(seen + at).to(tl.int32)
    highest, total, sums = found_in(
        query.to(tl.float32), keys, values, first + part * SPAN, first + tl.minimum(n_seen, part * SPAN + SPAN),
        slot, own_key, own_value, scaled_by, HEAD, KEYS, DIMS,
    )  # fmt: skip
    place = (song * HEADS + head) * PARTS + part
    some = tl.where(total > 0, total, 1.0)
    tl.store(lse + place, highest + tl.log(some))  # -inf if no key of this part is visible
    tl.store(found + place * HEAD + dims, sums / some, mask=kept)
