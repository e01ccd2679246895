"""Chooses the decoder and the token loop that fit a prior, a batch and a placement."""

from __future__ import annotations

import logging

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cpu.large_decoder import LargeDecoder
from jukebox_kit.engine.cpu.small_decoder import SmallDecoder, small
from jukebox_kit.engine.cuda.self_check import fuse
from jukebox_kit.engine.decoder import CachedDecoder, Decoder, PlainDecoder
from jukebox_kit.engine.loop import Rows, TokenLoop
from jukebox_kit.engine.noise import NoiseKernel, NoiseTable
from jukebox_kit.engine.original import JukeboxDecoder, JukeboxPrior
from jukebox_kit.engine.placement import Placement
from jukebox_kit.model import Prior

log = logging.getLogger(__name__)


def make_decoder(prior: Prior, songs: int, placement: Placement, depth: int | None = None) -> Decoder:
    """Return the decoder for a batch of `songs`, with fused kernels if the placement allows and they pass their check.

    On a CPU with the fast engine, a small prior's whole step is compiled, and for a large one the operations between
    matrix products.

    depth: run only that many layers, for measurements.
    """
    if isinstance(prior, JukeboxPrior):
        return JukeboxDecoder(prior)
    if placement.engine == "plain":
        return PlainDecoder(prior)
    if placement.packed:
        try:
            return (SmallDecoder if small(prior) else LargeDecoder)(prior, songs, depth)
        except Exception as error:  # a compiler can fail in any way, and the plain operations still work
            short = " ".join(str(error).split())[:200]
            log.warning(
                "the step could not be compiled (%s: %s); using plain operations instead", type(error).__name__, short
            )
    decoder = CachedDecoder(prior, songs, depth=depth)
    if placement.fused:
        fuse(decoder)
    return decoder


def make_loop(
    prior: Prior, rows: Rows, seed: int, choice: SamplingParams, placement: Placement, depth: int | None = None
) -> TokenLoop:
    """Return the loop that samples windows of some rows on a placement; depth as above.

    Raises RequestError if a step cannot be captured as a CUDA graph, torch.OutOfMemoryError if memory runs out.
    """
    decoder = make_decoder(prior, len(rows.items), placement, depth)
    facts = seed, prior.config.level, rows.items, prior.bins, rows.begins
    if placement.packed and decoder.optimised:
        from jukebox_kit.engine.cpu.numba_noise import CompiledNoise, choosing_step  # numba is loaded already

        table = CompiledNoise(*facts)
        loop = TokenLoop(decoder, choice, table, prior.config.n_ctx, rows.given)
        if choice.only_temperature and isinstance(decoder, SmallDecoder):
            step = choosing_step(decoder, table, choice.temperature, loop.codes, loop.chosen, loop.position)
            loop.step_by(step)
        return loop
    noise = (NoiseKernel if decoder.optimised else NoiseTable)(*facts)
    loop = TokenLoop(decoder, choice, noise, prior.config.n_ctx, rows.given)
    if placement.graphed:
        loop.capture()
    return loop
