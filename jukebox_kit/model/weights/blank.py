"""Models without weights on the meta device, and the linear layers inside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jukebox_kit.model.prior import Prior
from jukebox_kit.model.transformer import PlainLinear
from jukebox_kit.model.vqvae import VQVAE
from jukebox_kit.model.weights.definition import ModelDefinition


@contextmanager
def without_weights() -> Iterator[None]:
    """Build the modules of this context without weights, on the meta device."""
    with torch.device("meta"), _Unfilled():
        yield


def blank_vqvae(definition: ModelDefinition) -> VQVAE:
    """Return the VQ-VAE without weights, on the meta device."""
    with without_weights():
        return VQVAE(definition.vqvae)


def blank_prior(definition: ModelDefinition, level: int) -> Prior:
    """Return a level's prior without weights, on the meta device."""
    with without_weights():
        return Prior(definition.priors[level], definition.vqvae)


def first_layers(prior: Prior, state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Remove all layers of a prior but the first `depth`; return the weights of `state` that are left."""
    prior.prior.transformer.keep_first(depth)
    names = prior.state_dict()
    return {name: value for name, value in state.items() if name in names}


class _Unfilled(TorchFunctionMode):
    """Skips the initial values of modules: for the meta device, torch would spend a second on imports to draw them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        named = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def linears(part: nn.Module) -> list[tuple[str, nn.Module, str, PlainLinear]]:
    """Return a component's plain linear layers: full name, parent module, name in the parent, the layer itself."""
    return [
        (f"{prefix}.{name}" if prefix else name, module, name, child)
        for prefix, module in part.named_modules()
        for name, child in module.named_children()
        if isinstance(child, PlainLinear)
    ]


def linear_names(part: nn.Module) -> set[str]:
    """Return the names of the transformers' linear weights and biases, which a GPU computes in float16."""
    return {f"{name}.{own}" for name, _, _, plain in linears(part) for own, _ in plain.named_parameters()}
