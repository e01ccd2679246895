"""The sampling noise and the choice of a token as compiled functions, bit for bit equal to `noise.py` and torch.

For a small prior, torch would take as long for a position's noise and choice as the step itself takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import float64, int64, uint32, uint64
from torch import Tensor

from jukebox_kit.engine.cpu.numba_step import compiled
from jukebox_kit.engine.cpu.small_decoder import SmallDecoder
from jukebox_kit.engine.noise import KEY_STEPS, MASK, MULTIPLIERS, ROUNDS, NoiseTable


@compiled(strict=True)
def log(x):
    """Return the logarithm of a normal float64 > 0, by vectorisable arithmetic alone: 2 atanh((m - 1) / (m + 1)).

    m is x without its power of two, from √½ to √2.
    """
    bits = np.float64(x).view(np.int64)
    power = (bits - SQRT_HALF) >> 52
    f = np.int64(bits - (power << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 2 / 23
    p = p * z + 2 / 21
    p = p * z + 2 / 19
    p = p * z + 2 / 17
    p = p * z + 2 / 15
    p = p * z + 2 / 13
    p = p * z + 2 / 11
    p = p * z + 2 / 9
    p = p * z + 2 / 7
    p = p * z + 2 / 5
    p = p * z + 2 / 3
    rest = f - s * (f - z * p)
    return float64(power) * LN2_HIGH + (rest + float64(power) * LN2_LOW)


SQRT_HALF = int64(0x3FE6A09E667F3BCD)  # the bits of √½

# ln 2 in two parts; the product of the first with any exponent is exact
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10

MULTIPLIER_0, MULTIPLIER_1 = (uint64(word) for word in MULTIPLIERS)

KEY_STEP_0, KEY_STEP_1 = (uint64(word) for word in KEY_STEPS)

LOW = uint64(MASK)


@compiled(strict=True)
def gumbel_into(values, words, facts, items, begins, position):
    """Write the noise of `position` and the following positions to `values` (N, positions, bins) float32.

    words: (≥ bins + 3,) uint32, scratch space.
    facts: the seed's low and high word and the level, (3,) uint64.
    items, begins: (N,) int64.
    """
    songs, made, bins = values.shape
    for song in range(songs):
        for at in range(made):
            for block in range((bins + 3) // 4):
                a, b = uint64(begins[song] + position + at), uint64(block)
                c, d = uint64(items[song]), facts[2]
                k0, k1 = facts[0], facts[1]
                for _ in range(ROUNDS):
                    first, second = a * MULTIPLIER_0, c * MULTIPLIER_1
                    a, b = (second >> uint64(32)) ^ b ^ k0, second & LOW
                    c, d = (first >> uint64(32)) ^ d ^ k1, first & LOW
                    k0, k1 = (k0 + KEY_STEP_0) & LOW, (k1 + KEY_STEP_1) & LOW
                words[4 * block], words[4 * block + 1] = uint32(a), uint32(b)
                words[4 * block + 2], words[4 * block + 3] = uint32(c), uint32(d)
            row = values[song, at]
            for code in range(bins):
                uniform = (float64(words[code] >> uint32(9)) + 0.5) * 2.0**-23
                row[code] = -log(-log(uniform))


@compiled()
def choose(logits, noise, index, temperature, codes, chosen, position, embeddings, last):
    """Choose each song's token by Gumbel-max, the lowest on ties, and feed it, or the token that already exists.

    logits: (N, bins).
    noise: (N, positions, bins), of which position `index` (1,) is next.
    codes, chosen: (N, n_ctx), -1 where there is no token.
    embeddings: (bins, W).
    last: (N, W), written.
    """
    songs, bins = logits.shape
    at, now = position[0], index[0]
    for n in range(songs):
        best, most = 0, -math.inf
        for code in range(bins):
            value = logits[n, code] / temperature + noise[n, now, code]
            if value > most:
                best, most = code, value
        chosen[n, at] = best
        if codes[n, at] < 0:
            codes[n, at] = best
        for i in range(last.shape[1]):
            last[n, i] = embeddings[codes[n, at], i]
    position[0], index[0] = at + 1, now + 1


class CompiledNoise(NoiseTable):
    """The same table, filled by a compiled function."""

    def __init__(self, seed: int, level: int, items: Tensor, bins: int, begins: Tensor) -> None:
        """Compile the function on first use."""
        super().__init__(seed, level, items, bins, begins)
        words, facts = np.empty(bins + 3, np.uint32), np.array([seed & MASK, seed >> 32, level], np.uint64)
        self.arguments = words, facts, items.numpy(), begins.numpy()
        gumbel_into(self.values.numpy()[:0], *self.arguments, 0)

    def begin(self, position: int) -> int:
        """See Noise."""
        gumbel_into(self.values.numpy(), *self.arguments, position)
        self.index.zero_()
        return self.made


def choosing_step(
    decoder: SmallDecoder, noise: NoiseTable, temperature: float, codes: Tensor, chosen: Tensor, position: Tensor
) -> Callable[[], None]:
    """Return a function that runs a step: logits, choice by temperature alone, and feeding; tensors as in TokenLoop."""
    arguments = (
        noise.values.numpy(),
        noise.index.numpy(),
        np.float32(temperature),
        codes.numpy(),
        chosen.numpy(),
        position.numpy(),
        decoder.model.x_emb.weight.detach().numpy()[decoder.prior.shift :],
        decoder.last.numpy(),
    )

    values, _, *others = arguments
    nothing = np.empty((0, noise.bins), np.float32)
    choose(nothing, values, np.zeros(1, np.int64), *others[:3], np.zeros(1, np.int64), *others[4:])  # compiles it

    def step() -> None:
        choose(decoder.next_logits().numpy(), *arguments)

    return step
