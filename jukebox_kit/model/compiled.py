"""A whole decoding step of a small part as compiled code: in a small one, torch's dispatch takes longer than the work.

Every number is summed in the same order however many songs there are, so that a song's logits do not depend on the
batch. Indices are unsigned, which spares the compiler to ask whether they count from the end. Shapes: N songs, W
width, S attention state, H heads, D values a head, M values of the MLP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import float32, uintp

AT_ONCE = 512  # outputs whose sums stay in the first cache while weights pass by
LN2_HIGH, LN2_LOW = float32(0.693359375), float32(-2.12194440e-4)  # the first times a whole number is exact


def compiled(*fast: str) -> Callable[[Any], Any]:
    """Compile a function when it is first called, and keep what comes of it where a folder can be written.

    fast: in what LLVM may depart from the order of operations as written; sums of products become fused ones anyhow.
    """

    def kept(function: Any) -> Any:
        options = {"fastmath": {"contract", *fast}, "error_model": "numpy", "nogil": True}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither beside the module nor in the user's cache folder
            return numba.njit(**options)(function)

    return kept


@compiled()
def exp(x):
    """Return e to the power of a float32, within two units in the last place; by arithmetic alone, done many at once."""
    x = min(max(x, float32(-87.0)), float32(88.0))
    twos = np.floor(x * float32(1.44269504) + float32(0.5))
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
def add_map(x, w, out):
    """Add x·w to `out`: (N, in), (in, out) → (N, out). Weights are read once for all songs."""
    songs, n_in, n_out = uintp(len(out)), uintp(w.shape[0]), uintp(w.shape[1])
    for begin in range(uintp(0), n_out, uintp(AT_ONCE)):
        end = min(n_out, begin + uintp(AT_ONCE))
        whole = n_in - n_in % uintp(8)
        for i in range(uintp(0), whole, uintp(8)):
            for n in range(songs):
                x0, x1, x2, x3 = x[n, i], x[n, i + uintp(1)], x[n, i + uintp(2)], x[n, i + uintp(3)]
                x4, x5, x6, x7 = x[n, i + uintp(4)], x[n, i + uintp(5)], x[n, i + uintp(6)], x[n, i + uintp(7)]
                for o in range(begin, end):
                    total = out[n, o] + x0 * w[i, o]
                    total += x1 * w[i + uintp(1), o]
                    total += x2 * w[i + uintp(2), o]
                    total += x3 * w[i + uintp(3), o]
                    total += x4 * w[i + uintp(4), o]
                    total += x5 * w[i + uintp(5), o]
                    total += x6 * w[i + uintp(6), o]
                    out[n, o] = total + x7 * w[i + uintp(7), o]
        for i in range(whole, n_in):
            for n in range(songs):
                for o in range(begin, end):
                    out[n, o] += x[n, i] * w[i, o]


@compiled("reassoc", "nsz")
def normalise(x, gain, bias, eps, out):
    """Write the LayerNorm of x (N, W) to `out`."""
    for n in range(len(x)):
        mean, square = float32(0), float32(0)
        for value in x[n]:
            mean += value
        mean /= float32(x.shape[1])
        for value in x[n]:
            square += (value - mean) * (value - mean)
        scale = float32(1) / np.sqrt(square / float32(x.shape[1]) + eps)
        for i in range(x.shape[1]):
            out[n, i] = (x[n, i] - mean) * scale * gain[i] + bias[i]


@compiled("reassoc", "nsz")
def attend(q, k, v, scores, out):
    """Write what a query (D,) finds among keys and values (L, D) to `out` (D,)."""
    length, size = uintp(len(k)), uintp(len(q))
    scale, most, total = float32(1) / np.sqrt(float32(size)), float32(-np.inf), float32(0)
    for key in range(length):
        score = float32(0)
        for d in range(size):
            score += q[d] * k[key, d]
        scores[key] = score * scale
        most = max(most, scores[key])
    for key in range(length):
        scores[key] = exp(scores[key] - most)
        total += scores[key]
    out[:] = float32(0)
    for key in range(length):
        share = scores[key] / total
        for d in range(size):
            out[d] += share * v[key, d]


@compiled()
def step_logits(sizes, layers, places, weights, kv, last, table, conditioning, position, work, logits):
    """Take a step: logits (N, bins) of the token at `position` (1,), which is then the next one.

    sizes: heads, S, M, whether conditioning is added to what the output map reads; layers: (depth, 4): where a layer's
    weights begin, where its keys and values begin, how many slots they have, which of the places are its own;
    places (patterns, positions, 3): slot that is written to, or -1, the first one seen and how many; weights: flat,
    a layer's in the order in which they are used, the output map last; kv: flat, each layer's (N, 2, H, slots, D);
    last (N, W), table (positions, W), conditioning (N, positions, W); work: four buffers, (4, N, values).
    """
    songs, width = last.shape
    heads, state, hidden, conditioned = sizes
    size, at = state // heads, position[0]
    x, normed = work[0, : songs * width].reshape(songs, width), work[1, : songs * width].reshape(songs, width)
    for n in range(songs):
        for i in range(width):
            x[n, i] = last[n, i] + table[at, i] + conditioning[n, at, i]
    place = 0
    for layer in range(len(layers)):
        place, start, slots, own = layers[layer]
        slot, first, seen = places[own, at]
        mapped_to = state if slot < 0 else 3 * state
        mapped = work[2, : songs * mapped_to].reshape(songs, mapped_to)
        found = work[3, : songs * state].reshape(songs, state)
        place = norm_mapped(x, weights, place, normed, mapped)
        kept = kv[start : start + songs * 2 * state * slots].reshape(songs, 2, heads, slots, size)
        for n in range(songs):
            for head in range(heads):
                begin = head * size
                if slot >= 0:
                    for d in range(size):
                        kept[n, 0, head, slot, d] = mapped[n, state + begin + d]
                        kept[n, 1, head, slot, d] = mapped[n, 2 * state + begin + d]
                keys, values = kept[n, 0, head, first : first + seen], kept[n, 1, head, first : first + seen]
                attend(mapped[n, begin : begin + size], keys, values, work[1], found[n, begin : begin + size])
        place = mapped_added(found, weights, place, x)
        mapped = work[2, : songs * hidden].reshape(songs, hidden)
        place = norm_mapped(x, weights, place, normed, mapped)
        for n in range(songs):
            for i in range(hidden):
                mapped[n, i] /= float32(1) + exp(float32(-1.702) * mapped[n, i])
        place = mapped_added(mapped, weights, place, x)
    if conditioned:
        for n in range(songs):
            for i in range(width):
                x[n, i] += conditioning[n, at, i]
    logits[:] = float32(0)
    add_map(x, weights[place:].reshape(width, logits.shape[1]), logits)
    position[0] = at + 1


@compiled()
def norm_mapped(x, weights, place, normed, out):
    """Write what the map of the normalised rows gives to `out`; returns where the next weights begin."""
    width, n_out = x.shape[1], out.shape[1]
    normalise(x, weights[place : place + width], weights[place + width : place + 2 * width], float32(1e-5), normed)
    place += 2 * width
    for n in range(len(x)):
        out[n] = weights[place : place + n_out]
    place += n_out
    add_map(normed, weights[place : place + width * n_out].reshape(width, n_out), out)
    return place + width * n_out


@compiled()
def mapped_added(h, weights, place, x):
    """Add what the map of h gives to x; returns where the next weights begin."""
    n_in, n_out = h.shape[1], x.shape[1]
    for n in range(len(x)):
        for i in range(n_out):
            x[n, i] += weights[place + i]
    place += n_out
    add_map(h, weights[place : place + n_in * n_out].reshape(n_in, n_out), x)
    return place + n_in * n_out
