"""Not a test: `python tests/gains.py [WIDTHxDEPTH …]` shows what each optimisation of decoding on a CPU brings here.

Each is switched off alone, and both versions are stepped alternately in one process; the median times of a step without
and with it are printed, with --json also as JSON. The priors are upsamplers (n_ctx 8192, 128 blocks, one head) with
random weights in the middle of a window; OMP_NUM_THREADS sets the number of threads.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from unittest.mock import patch

import torch

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cpu.small_decoder import small
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.loop import Rows
from jukebox_kit.engine.model import place, repack
from jukebox_kit.engine.noise import NoiseTable
from jukebox_kit.engine.placement import Placement, threads_for
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.model.configuration import PriorConfig, VQVAEConfig
from jukebox_kit.model.prior import Conditioning, Prior

CPU, AT, STEPS, ROUNDS = torch.device("cpu"), 4096, 12, 15
Off = Callable[[], AbstractContextManager[object]]


def upsampler(width: int, depth: int, weights: str, engine: str) -> Prior:
    """Return an upsampler with random weights and without memory for its conditioner."""
    sizes = {"n_ctx": 8192, "heads": 1, "blocks": 128, "cond_width": 32, "cond_depth": 1}
    config = PriorConfig(level=0, prior_width=width, prior_depth=depth, y_bins=(2, 2), **sizes)  # type: ignore[arg-type]
    with torch.device("meta"):
        prior = Prior(config, VQVAEConfig())
    where = Placement(CPU, weights, engine)
    prior.prior.to_empty(device=CPU)
    for value in prior.prior.parameters():
        value.data.normal_(0, 0.02) if value.dim() > 1 else value.data.fill_(1)
    place(prior.prior, CPU, where.dtype)
    repack(prior.prior, where)
    return prior


def stepper(prior: Prior, songs: int) -> Callable[[int], float]:
    """Return a function that runs steps in the middle of a window, as in sampling, and returns the seconds per step."""
    shape = prior.prior.transformer.shape
    with patch.dict("jukebox_kit.engine.noise.NOISE_VALUES", cpu=songs * STEPS * prior.bins):
        loop = make_loop(prior, Rows.of(torch.arange(songs)), 0, SamplingParams(0.98), Placement(CPU))
    given = Conditioning(
        torch.randn(songs, shape.positions, shape.width),
        torch.randn(songs, 1, shape.width),
        torch.zeros(songs, 0, dtype=torch.long),
        None,
    )
    loop.decoder.prefill(given, torch.zeros(songs, 1, dtype=torch.long))
    for cache in loop.decoder.caches:  # type: ignore[attr-defined]  # the loop has a cached decoder
        cache.kv.normal_()

    def step(count: int) -> float:
        loop.position.fill_(AT)
        loop.decoder.position.fill_(AT)  # type: ignore[attr-defined]
        loop.codes.fill_(UNSAMPLED)
        begun = time.perf_counter()
        loop.noise.begin(AT)
        for _ in range(count):
            loop.advance()
        return (time.perf_counter() - begun) / count

    return step


@contextmanager
def not_compiled() -> Iterator[None]:
    """Step small priors with torch operations."""
    with patch("jukebox_kit.engine.decoders.small", lambda _: False):
        yield


@contextmanager
def by_torch() -> Iterator[None]:
    """Run the operations between a large prior's matrix products in torch."""
    with patch("jukebox_kit.engine.decoders.LargeDecoder", CachedDecoder):
        yield


@contextmanager
def noise_by_torch() -> Iterator[None]:
    """Compute noise with torch operations."""
    with patch("jukebox_kit.engine.cpu.numba_noise.CompiledNoise", NoiseTable):
        yield


@dataclass(frozen=True)
class Gain:
    """The milliseconds of a step without and with one optimisation."""

    shape: str
    batch: int
    name: str
    off_ms: float
    on_ms: float


def gain(shape: str, name: str, before: tuple[Prior, Off], after: Prior, songs: int) -> Gain:
    """Measure a step without and with one optimisation."""
    with before[1]():
        off = stepper(before[0], songs)
    on = stepper(after, songs)
    with before[1]():
        off(2)
    on(2)
    slow, fast = list[float](), list[float]()
    for _ in range(ROUNDS):
        with before[1]():
            slow.append(off(STEPS))
        fast.append(on(STEPS))
    return Gain(shape, songs, name, statistics.median(slow) * 1000, statistics.median(fast) * 1000)


def gains(shape: str) -> Iterator[Gain]:
    """Yield the gains for one shape."""
    width, depth = (int(size) for size in shape.split("x"))
    fast = upsampler(width, depth, "float32", "fast")
    plain = upsampler(width, depth, "float32", "cached")
    with threads_for(fast.config):
        for songs in (1, 4):
            if small(fast):
                yield gain(shape, "the whole step compiled", (fast, not_compiled), fast, songs)
            with not_compiled():
                yield gain(shape, "linear layers prepacked by oneDNN", (plain, nullcontext), fast, songs)
                yield gain(shape, "operations between products compiled", (fast, by_torch), fast, songs)
                yield gain(shape, "noise compiled", (fast, noise_by_torch), fast, songs)
                for weights in ("float16", "int8"):
                    packed = upsampler(width, depth, weights, "fast")
                    yield gain(shape, f"weights in {weights} instead of float32", (fast, nullcontext), packed, songs)


if __name__ == "__main__":
    shapes = [word for word in sys.argv[1:] if word != "--json"] or ["1024x24", "256x6"]
    found = list[Gain]()
    for one in (row for shape in shapes for row in gains(shape)):
        found.append(one)
        line = f"{one.shape:<8} batch {one.batch}  {one.name:<40} {one.off_ms:8.3f} ms  {one.on_ms:8.3f} ms"
        sys.stderr.write(f"{line}  {one.off_ms / one.on_ms - 1:+6.1%}\n")
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1))
