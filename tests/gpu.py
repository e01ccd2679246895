"""Not a test that runs by itself: `python tests/gpu.py [--quick]` checks and times all that needs a GPU, in one call.

Recorded numbers by each engine, tokens of small parts by each engine, then parts of the released shapes with random
weights: ms a step, kernels a step, share of the floor, peak memory against the plan; last, songs of 20 seconds. Needs
triton for the fused kernels (`pip install ".[kernels]"`); the jukebox package, where it is installed, is one of the
engines that numbers and tokens are held against. `--quick` leaves out the largest part, int8 and the songs.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.checks.verify.run import verify_folder
from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.loop import Rows, TokenLoop
from jukebox_kit.engine.memory import level_bytes, weights_bytes
from jukebox_kit.engine.model import place, repack
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.sampling import LevelJob, sample_level
from jukebox_kit.engine.windows import UNSAMPLED, plan_level
from jukebox_kit.model.labels import Labels
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.model.weights import PACKAGES
from jukebox_kit.model.weights.blank import blank_prior
from jukebox_kit.model.weights.definition import load_definition

GOLDEN = Path(__file__).parent / "golden"
ENGINES = ("cached", "graph", "fused", "fast", *(["jukebox"] if any(map(importlib.util.find_spec, PACKAGES)) else []))
STEPS, ROUNDS = 32, 9
SECONDS = 20


def say(*columns: object) -> None:
    """Write a row."""
    sys.stdout.write("  ".join(f"{column:>12}" if i else f"{column:<44}" for i, column in enumerate(columns)) + "\n")
    sys.stdout.flush()


def check_recorded() -> None:
    """Replay the recorded numbers by each engine."""
    for weights in ("float32", "float16"):
        for engine in ENGINES:
            entries = list(verify_folder(GOLDEN, None, "cuda", weights, engine))
            wrong = [str(entry) for entry in entries if not entry.ok]
            say(f"recorded numbers, {weights}, {engine}", f"{len(entries)} entries", f"{len(wrong)} FAIL")
            for line in wrong:
                say(f"    {line}")


def check_tokens() -> None:
    """Sample a window of each recorded part by each engine; those of the plain operations without a graph are right."""
    for weights in ("float32", "float16"):
        for songs in (1, 3, 16):
            wanted: dict[str, Tensor] = {}
            for engine in ENGINES:
                golden = Golden.read(GOLDEN, Placement.of("cuda", weights, engine))
                differ, fused = 0, True
                for name in golden.prior_names():
                    prior = golden.prior(name)
                    y = golden.tensor(f"{name}.y")[:1].repeat(songs, 1)
                    above = golden.tensors.get(f"{name}.z_above")
                    with torch.no_grad():
                        given = prior.condition(y, None if above is None else above[:1].repeat(songs, 1).cuda())
                    loop = make_loop(prior, Rows.of(torch.arange(songs).cuda()), 5, SamplingParams(), golden.placement)
                    codes = torch.full((songs, prior.config.n_ctx), UNSAMPLED, device="cuda")
                    loop.window(given, codes, 0, range(prior.config.n_ctx))
                    differ += int((codes != wanted.setdefault(name, codes)).sum())
                    fused &= loop.decoder.optimised
                say(f"tokens, {weights}, {songs} songs, {engine}", f"{differ} differ", "fused" if fused else "plain")


def full_size(model: str, level: int, placement: Placement) -> Prior:
    """Return a released part with random weights in the proportions of the recipe's, on the GPU map by map."""
    prior = blank_prior(load_definition(model), level)
    place(prior, torch.device("meta"), placement.dtype)
    prior.to_empty(device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    for name, value in prior.named_parameters():
        if value.ndim == 1:
            value.data.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            scale = 0.25 if "emb" in name or "start" in name else value[..., 0].numel() ** -0.5
            value.data.normal_(0, scale * (0.1 if "c_proj" in name else 1), generator=generator)
    repack(prior, placement)
    prior.requires_grad_(False).eval()
    return prior


def bandwidth() -> float:
    """Return bytes a second of a large copy, read and written."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda").random_()
    copy = torch.empty_like(source)
    times = [timed(lambda: copy.copy_(source)) for _ in range(ROUNDS)]
    return 2 * source.nbytes / statistics.median(times)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of some work on the GPU."""
    begun, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch's
    begun.record()
    work()
    done.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(done)) / 1000


def kernels(loop: TokenLoop) -> int:
    """Return the kernels of a step, launched one by one."""
    loop.rewind()
    loop.step()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        loop.step()
        torch.cuda.synchronize()
    return sum(str(event.device_type).endswith("CUDA") for event in seen.events() or [])


def time_steps(quick: bool) -> None:
    """Time the released shapes at several numbers of songs, in the second half of a window."""
    copying = bandwidth()
    say(f"copy bandwidth {copying / 1e9:.0f} GB/s, {torch.cuda.get_device_name()}")
    say("part", "songs", "engine", "ms a step", "floor ms", "of floor", "kernels", "ms prefill", "peak GiB", "planned")
    shapes = [("1b_lyrics", 0, "float16"), ("1b_lyrics", 2, "float16")]
    if not quick:
        shapes += [("5b_lyrics", 2, "float16"), ("1b_lyrics", 0, "int8"), ("5b_lyrics", 2, "int8")]
    for model, level, weights in shapes:
        for engine in ENGINES:
            placement = Placement.of("cuda", weights, engine)
            prior = full_size(model, level, placement)
            for songs in (1, 4, 16):
                time_part(model, prior, songs, placement, copying)
            del prior


def time_part(model: str, prior: Prior, songs: int, placement: Placement, copying: float) -> None:
    """Write a row; the floor is each weight read once at the speed of a copy, the peak that of the part and a loop."""
    definition, level, half = load_definition(model), prior.config.level, prior.config.n_ctx // 2
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    loop = make_loop(prior, Rows.of(torch.arange(songs).cuda()), 0, SamplingParams(0.98), placement)
    shape, width = prior.prior.transformer.shape, prior.config.prior_width
    given = Conditioning(
        torch.zeros(songs, shape.positions, width, device="cuda"),
        torch.zeros(songs, 1, width, device="cuda"),
        torch.zeros(songs, prior.prefix_length, dtype=torch.long, device="cuda"),
        torch.zeros(songs, prior.config.n_tokens, width, device="cuda") if prior.config.has_encoder else None,
    )
    codes = torch.randint(prior.bins, (songs, half), device="cuda")
    reading = statistics.median(timed(lambda: loop.decoder.prefill(given, codes)) for _ in range(3))
    loop.position.fill_(half)

    def steps() -> None:
        for _ in range(STEPS):
            loop.advance()

    def round_() -> float:
        loop.noise.begin(0)
        return timed(steps) / STEPS

    round_()
    taken = statistics.median(round_() for _ in range(ROUNDS))
    most = torch.cuda.max_memory_allocated()
    floor = weights_bytes(definition, f"level_{level}", placement) / copying
    samples = 2 * prior.config.n_ctx * definition.vqvae.hops[level]  # two windows, the second half full to begin with
    plan = plan_level(prior.config, definition.vqvae, samples, definition.sampling.hop_fraction[level])
    planned = level_bytes(definition, placement, plan, songs).peak(songs)
    name = f"{model} level {level} {placement.weights}" + (
        "" if loop.decoder.optimised == placement.optimised else " NOT FUSED"
    )
    say(name, songs, placement.engine, f"{taken * 1e3:.3f}", f"{floor * 1e3:.3f}", f"{floor / taken:.0%}",
        kernels(loop), f"{reading * 1e3:.0f}", f"{most / 2**30:.2f}", f"{planned / 2**30:.2f}")  # fmt: skip


def time_song(songs: int) -> None:
    """Sample all levels of songs of 20 seconds, 1b_lyrics, and say how long each took."""
    definition, placement = load_definition("1b_lyrics"), Placement.of("cuda")
    samples = int(SECONDS * definition.vqvae.sr) // 128 * 128
    above: Tensor | None = None
    whole = 0.0
    for level in (2, 1, 0):
        prior = full_size("1b_lyrics", level, placement)
        plan = plan_level(prior.config, definition.vqvae, samples, definition.sampling.hop_fraction[level])
        tokens = tuple(range(40)) if prior.config.use_tokens else ()
        labels = (Labels(1, (1,), tokens, samples),) * songs
        job = LevelJob(plan, tuple(range(songs)), labels, above, 0, SamplingParams(0.98), placement)
        codes = torch.full((songs, plan.total), UNSAMPLED, device="cuda")
        begun = time.monotonic()
        sample_level(prior, job, codes)
        taken = time.monotonic() - begun
        whole += taken
        above = codes
        say(f"{songs} x {SECONDS} s, level {level}", f"{taken:.1f} s", f"{plan.total / taken:.0f} tokens/s")
        assert bool((codes != UNSAMPLED).all())
        del prior
    say(f"{songs} x {SECONDS} s, all levels", f"{whole:.1f} s")


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the largest part, int8 and the songs")
    quick = parser.parse_args().quick
    if not torch.cuda.is_available():
        sys.exit("tests/gpu.py needs a GPU that torch can use; there is none here.")
    check_recorded()
    check_tokens()
    time_steps(quick)
    if not quick:
        for songs in (1, 16):
            time_song(songs)


if __name__ == "__main__":
    main()
