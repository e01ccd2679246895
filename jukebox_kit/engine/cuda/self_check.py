"""Decides whether a decoder uses the fused kernels: if they run on this GPU and agree with the plain operations."""

from __future__ import annotations

import importlib.util
import logging

import torch

from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.linear import TransposedLinear
from jukebox_kit.engine.operations import Operations

log = logging.getLogger(__name__)

# The largest batch for which kernels without matrix units are faster; they reread weights from cache for each song.
FEW = 4

OLDEST = (7, 5)  # compute capability that Triton compiles for

# Difference of logits over the largest magnitude; a real fault exceeds it by far.
TOLERANCES = {torch.float16: 2e-2, torch.float32: 1e-3}


def fuse(decoder: CachedDecoder) -> bool:
    """Give a new decoder the fused kernels and return True, or leave it its plain operations and return False.

    First one step of each is compared, with the decoder's weights and random keys and values. If a kernel does not
    compile or differs on this GPU, plain operations are used, and a warning says so.
    """
    reason = unfit(decoder)
    if reason:
        log.info("no fused kernels: %s", reason)
        return False
    try:
        from jukebox_kit.engine.cuda.fused import FusedOperations

        device, songs = decoder.position.device, len(decoder.last)
        fused = FusedOperations.of(device) if device.type == "cuda" else FusedOperations(device)
        if songs > FEW and not fused.multiplies(decoder.layers[0].attn.c_attn.computes):
            log.info(
                "no fused kernels: without matrix units they are slower than torch for batches of %d or more", FEW + 1
            )
            return False
        apart = difference(decoder, fused)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler can fail in any way, and the plain operations still work
        short = " ".join(str(error).split())[:200]
        log.warning(
            "the fused kernels fail on this GPU (%s: %s); using plain operations instead", type(error).__name__, short
        )
        return False
    tolerance = TOLERANCES[decoder.layers[0].attn.c_attn.computes]
    if not apart <= tolerance:  # written so that nan fails
        log.warning(
            "the fused kernels differ from the plain operations on this GPU by %.1e of the largest logit; "
            "using plain operations instead",
            apart,
        )
        return False
    decoder.operations = fused
    return True


def unfit(decoder: CachedDecoder) -> str:
    """Return why the fused kernels cannot be tried for a decoder, or an empty string."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    device = decoder.position.device
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST:
        return "this GPU is older than sm_75"
    linears = [to for layer in decoder.layers for to in (layer.attn.c_attn, layer.attn.c_proj, *layer.mlp.children())]
    return "" if all(isinstance(to, TransposedLinear) for to in linears) else "the linear layers are not transposed"


@torch.no_grad()
def difference(decoder: CachedDecoder, other: Operations) -> float:
    """Return the largest difference of logits with other operations over the largest magnitude.

    The decoder must be new, and is as new afterwards, also after an error.
    """
    plain, found = decoder.operations, list[torch.Tensor]()
    generator = torch.Generator(decoder.position.device).manual_seed(0)
    changed = [decoder.last, *(cache.kv for cache in decoder.caches)]
    try:
        for tensor in changed:
            tensor.normal_(generator=generator)
        for decoder.operations in (plain, other):
            decoder.position.fill_(decoder.prior.prior.transformer.shape.positions * 5 // 8)
            found.append(decoder.next_logits())
    finally:
        decoder.operations = plain
        for tensor in [*changed, decoder.position]:
            tensor.zero_()
    return float((found[0] - found[1]).abs().max() / found[0].abs().max().clamp(min=1e-30))
