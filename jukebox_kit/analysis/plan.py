"""Which precision of the weights fits in memory, planned before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from jukebox_kit.engine import Placement, weights_bytes
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import PARTS, ModelDefinition
from jukebox_kit.steps import SPARE, precisions

TOP_PART = PARTS[-1]

STATES = 4.5  # copies of (N, n_ctx, W) float32 at the peak of a layer, as `python -m tests.features_memory` measures

GIB = 2**30


@dataclass(frozen=True)
class FeaturePlan:
    """How features are computed.

    weights: the precision. layers: bytes of the layers and tables that are loaded. peak: bytes, with everything.
    """

    weights: str
    layers: int
    peak: int


def plan_features(
    definition: ModelDefinition, depth: int, batch: int, device: torch.device, free: int, precision: str | None = None
) -> FeaturePlan:
    """Return a plan for the first `depth` layers and `batch` windows at a time in `free` bytes.

    precision: None for the first that fits: on a GPU of float16, int8; on the CPU of float32, float16, int8. A chosen
    one is used without asking whether it fits. RequestError if none fits.
    """
    tried = (precision,) if precision else precisions(device)
    plans = [_plan(definition, depth, batch, Placement(device, weights)) for weights in tried]
    for plan in plans:
        if precision or plan.peak + SPARE[device.type] <= free:
            return plan
    least = min(plans, key=lambda plan: plan.peak)
    needed, place = least.peak + SPARE[device.type], "this machine" if device.type == "cpu" else "this GPU"
    smaller = "a smaller batch size, " if batch > 1 else ""
    raise RequestError(
        f"{depth} layers of {definition.name} need {needed / GIB:.1f} GiB in {least.weights}, and {place} has "
        f"{free / GIB:.1f} GiB free; free some, or choose {smaller}lower layers or a smaller model."
    )


def _plan(definition: ModelDefinition, depth: int, batch: int, placement: Placement) -> FeaturePlan:
    top = replace(definition.top, prior_depth=depth)
    shallow = replace(definition, priors=(*definition.priors[:-1], top))
    layers = weights_bytes(shallow, TOP_PART, placement)
    window = 4 * top.prior_width * top.positions
    passing = int(STATES * batch * window)
    return FeaturePlan(placement.weights, layers, layers + weights_bytes(definition, PARTS[0], placement) + passing)
