"""A whole decoding step of a small prior as a compiled function; torch's dispatch would take longer than the work.

Sums run in the same order for any number of songs, so a song's logits do not depend on the batch. Indices are unsigned,
which saves the compiler a check for negative ones. Shapes: N songs, W width, S attention state, H heads, D values per
head, M values of the MLP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import float32, uintp

AT_ONCE = 512  # outputs whose sums stay in the L1 cache while weights are read

NO_FRACTION = float32(1.5 * 2**23)  # adding and subtracting it rounds to a whole number

# ln 2 in two parts; the product of the first with a whole number is exact
LN2_HIGH, LN2_LOW = float32(0.693359375), float32(-2.12194440e-4)


def compiled(*fast: str, strict: bool = False) -> Callable[[Any], Any]:
    """Compile a function when it is first called, and cache the result if there is a writable folder.

    fast: fast-math flags that LLVM may use beside fused multiply-add; strict: none, not even that one.
    """
    fastmath = set() if strict else {"contract", *fast}

    def kept(function: Any) -> Any:
        try:
            return numba.njit(cache=True, fastmath=fastmath, error_model="numpy", nogil=True)(function)
        except RuntimeError:  # neither the module's folder nor the user's cache is writable
            return numba.njit(fastmath=fastmath, error_model="numpy", nogil=True)(function)

    return kept


@compiled()
def exp(x):
    """Return e to the power of a float32, by vectorisable arithmetic alone."""
    x = x if x > float32(-87) else float32(-87)
    x = x if x < float32(88) else float32(88)
    twos = (x * float32(1.44269504) + NO_FRACTION) - NO_FRACTION
    r = x - twos * LN2_HIGH - twos * LN2_LOW
    p = float32(1.9875691500e-4)
    p = p * r + float32(1.3981999507e-3)
    p = p * r + float32(8.3334519073e-3)
    p = p * r + float32(4.1665795894e-2)
    p = p * r + float32(1.6666665459e-1)
    p = p * r + float32(5.0000001201e-1)
    power = np.int32((np.int32(twos) + 127) << 23).view(np.float32)
    return (p * r * r + r + float32(1)) * power


@compiled()
def add_map(x, w, out, songs):
    """Add x·w to `out`: (N, in), (in, out) → (N, out), reading weights once for all songs."""
    n_in, n_out = uintp(len(x)) // uintp(songs), uintp(len(out)) // uintp(songs)
    for begin in range(uintp(0), n_out, uintp(AT_ONCE)):
        end = begin + uintp(AT_ONCE) if begin + uintp(AT_ONCE) < n_out else n_out
        whole = n_in - n_in % uintp(8)
        for i in range(uintp(0), whole, uintp(8)):
            w0 = i * n_out
            w1, w2, w3, w4 = w0 + n_out, w0 + uintp(2) * n_out, w0 + uintp(3) * n_out, w0 + uintp(4) * n_out
            w5, w6, w7 = w4 + n_out, w4 + uintp(2) * n_out, w4 + uintp(3) * n_out
            for n in range(uintp(songs)):
                row, col = n * n_out, n * n_in + i
                x0, x1, x2, x3 = x[col], x[col + uintp(1)], x[col + uintp(2)], x[col + uintp(3)]
                x4, x5, x6, x7 = x[col + uintp(4)], x[col + uintp(5)], x[col + uintp(6)], x[col + uintp(7)]
                for o in range(begin, end):
                    total = out[row + o] + x0 * w[w0 + o]
                    total += x1 * w[w1 + o]
                    total += x2 * w[w2 + o]
                    total += x3 * w[w3 + o]
                    total += x4 * w[w4 + o]
                    total += x5 * w[w5 + o]
                    total += x6 * w[w6 + o]
                    out[row + o] = total + x7 * w[w7 + o]
        for i in range(whole, n_in):
            for n in range(uintp(songs)):
                for o in range(begin, end):
                    out[n * n_out + o] += x[n * n_in + i] * w[i * n_out + o]


@compiled("reassoc", "nsz")
def normalise(x, gain, bias, out):
    """Write the LayerNorm of each row of W values of x to `out`."""
    width = uintp(len(gain))
    for begin in range(uintp(0), uintp(len(x)), width):
        mean, square = float32(0), float32(0)
        for i in range(width):  # by index: a loop over the values would not be vectorised
            mean += x[begin + i]
        mean /= float32(width)
        for i in range(width):
            square += (x[begin + i] - mean) * (x[begin + i] - mean)
        scale = float32(1) / math.sqrt(square / float32(width) + float32(1e-5))
        for i in range(width):
            out[begin + i] = (x[begin + i] - mean) * scale * gain[i] + bias[i]


@compiled()
def add_norm(x, added, gain, bias, out):
    """Add to x, (N · W,), and write the LayerNorm of each of its rows of W values to `out`."""
    for i in range(len(x)):
        x[i] += added[i]
    normalise(x, gain, bias, out)


@compiled()
def gelu(x):
    """Replace each value of x, (L,), by its quick-GELU."""
    for i in range(len(x)):
        x[i] /= float32(1) + exp(float32(-1.702) * x[i])


@compiled("reassoc", "nsz")
def attend(q, k, v, scores, out):
    """Write the attention output of a query (D,) over keys and values (L, D) to `out` (D,)."""
    size = uintp(len(q))
    length = uintp(len(k)) // size
    scale, most, total = float32(1) / math.sqrt(float32(size)), float32(-math.inf), float32(0)
    for key in range(length):
        score = float32(0)
        for d in range(size):
            score += q[d] * k[key * size + d]
        scores[key] = score * scale
        most = scores[key] if scores[key] > most else most
    for key in range(length):
        scores[key] = exp(scores[key] - most)
        total += scores[key]
    for d in range(size):
        out[d] = float32(0)
    for key in range(length):
        share = scores[key] / total
        for d in range(size):
            out[d] += share * v[key * size + d]


@compiled("reassoc", "nsz")
def attend_songs(mapped, kv, sizes, place, scores, out):
    """Store a position's keys and values of all songs, and write the attention outputs to `out` (N · S,).

    mapped: flat, each song's (3, S), or (S,) if it has a query only.
    kv: flat, (N, 2, H, slots, D).
    sizes: N, H, S, slots.
    place: the slot to write to, or -1; the first visible slot; how many are visible.
    scores: (slots,), scratch space.
    """
    songs, heads, state, slots = sizes
    slot, first, seen = place
    size, each = state // heads, len(mapped) // songs
    for n in range(songs):
        for head in range(heads):
            q = n * each + head * size
            k = (n * 2 * heads + head) * slots * size
            v = k + heads * slots * size
            if slot >= 0:
                for d in range(size):
                    kv[k + slot * size + d] = mapped[q + state + d]
                    kv[v + slot * size + d] = mapped[q + 2 * state + d]
            begin, end = first * size, (first + seen) * size
            found = out[n * state + head * size : n * state + (head + 1) * size]
            attend(mapped[q : q + size], kv[k + begin : k + end], kv[v + begin : v + end], scores, found)


@compiled()
def norm_mapped(x, weights, place, width, normed, out, songs):
    """Write a linear layer of the normalised rows to `out`; returns the offset of the next weights."""
    bias, n_out = place + 2 * width, len(out) // songs
    normalise(x, weights[place : place + width], weights[place + width : bias], normed)
    for i in range(len(out)):
        out[i] = weights[bias + i % n_out]
    add_map(normed, weights[bias + n_out :], out, songs)
    return bias + n_out + width * n_out


@compiled()
def mapped_added(h, weights, place, width, x, songs):
    """Add a linear layer of h to x; returns the offset of the next weights."""
    for i in range(len(x)):
        x[i] += weights[place + i % width]
    add_map(h, weights[place + width :], x, songs)
    return place + width + len(h) // songs * width


@compiled()
def step_logits(sizes, layers, places, weights, kv, last, table, conditioning, position, work, logits):
    """Run a step: write the flat logits (N, bins) of the token at `position` (1,), and advance `position`.

    sizes: N, W, H, S, M, and whether conditioning is added to the input of the output layer.
    layers: (depth, 4): the offsets of a layer's weights and of its keys and values, its slots, its pattern.
    places: (patterns, positions, 3): the slot to write to, or -1; the first visible slot; how many are visible.
    weights: flat, each layer's in the order of use, the output layer last.
    kv: flat, each layer's (N, 2, H, slots, D).
    last: (N, W). table: (positions, W). conditioning: (N, positions, W).
    work: (4, N · max(W, 3·S, M, slots)), scratch space.
    """
    songs, width, heads, state, hidden, conditioned = sizes
    at = position[0]
    assert at < len(table)
    x, normed, found = work[0, : songs * width], work[1, : songs * width], work[3, : songs * state]
    for n in range(songs):
        for i in range(width):
            x[n * width + i] = last[n, i] + table[at, i] + conditioning[n, at, i]
    for layer in range(len(layers)):
        place, start, slots, pattern = layers[layer, 0], layers[layer, 1], layers[layer, 2], layers[layer, 3]
        slot, first, seen = places[pattern, at, 0], places[pattern, at, 1], places[pattern, at, 2]
        each = state if slot < 0 else 3 * state
        mapped = work[2, : songs * each]
        place = norm_mapped(x, weights, place, width, normed, mapped, songs)
        own_kv = kv[start : start + 2 * songs * slots * state]
        attend_songs(mapped, own_kv, (songs, heads, state, slots), (slot, first, seen), work[1], found)
        place = mapped_added(found, weights, place, width, x, songs)
        mapped = work[2, : songs * hidden]
        place = norm_mapped(x, weights, place, width, normed, mapped, songs)
        gelu(mapped)
        place = mapped_added(mapped, weights, place, width, x, songs)
    if conditioned:
        for n in range(songs):
            for i in range(width):
                x[n * width + i] += conditioning[n, at, i]
    for i in range(len(logits)):
        logits[i] = float32(0)
    add_map(x, weights[len(weights) - width * len(logits) // songs :], logits, songs)
    position[0] = at + 1
