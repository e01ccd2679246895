"""Loads a prior to be trained: frozen with adapters, or all of its weights; and reads back what was trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from jukebox_kit.model import Prior
from jukebox_kit.model.weights import (
    PARTS,
    ModelDefinition,
    assign,
    blank_prior,
    brought,
    linears,
    read_state,
)
from jukebox_kit.training.initial import draw_prior
from jukebox_kit.training.layers import ExtendedTable, FrozenLinear, LoraLinear, TrainedLinear
from jukebox_kit.training.new_names import TABLES, Extension
from jukebox_kit.training.settings import FineTuning


def load_trainable(
    base: ModelDefinition,
    level: int,
    extension: Extension,
    settings: FineTuning,
    storage: str,
    computes: torch.dtype,
    device: torch.device,
    init_scale: float | None = None,
) -> Prior:
    """Return a level's prior, ready to be trained on a device; what is not trained needs no gradients.

    base: the model; its priors have no new rows yet. storage, computes: see FineTuning. init_scale: see FineTuningJob.
    """
    if init_scale is None:
        prior = _of_base(base, level, settings, storage, computes, device)
        extend_tables(prior, extension, settings.start)
    else:
        prior = draw_prior(base.priors[level], base.vqvae, init_scale, settings.seed).to(device)
    for _, parent, attribute, plain in linears(prior):  # none, unless all weights are trained
        setattr(parent, attribute, TrainedLinear(plain, computes))
    prior.prior.transformer.recompute = settings.recompute
    return prior.eval()


def _of_base(
    base: ModelDefinition, level: int, settings: FineTuning, storage: str, computes: torch.dtype, device: torch.device
) -> Prior:
    """Return a level's prior with the base's weights, and adapters or gradients of all weights.

    Its linear layers are converted one by one, so that no component is in memory twice.
    """
    path = base.find(PARTS[level + 1])
    prior, state = blank_prior(base, level), read_state(path)
    generator = torch.Generator().manual_seed(settings.seed)
    adapted = dict[str, LoraLinear]()
    layers = linears(prior)
    while layers and not settings.full:
        name, parent, attribute, plain = layers.pop(0)
        own = {f"{name}.{key}": state.pop(f"{name}.{key}") for key in ("w", "b")}
        values = brought(path, own, dict.fromkeys(own, torch.float32), device, mapped=False)
        assign(plain, {key.removeprefix(f"{name}."): value for key, value in values.items()}, str(path))
        frozen = FrozenLinear(plain, storage, computes)
        setattr(parent, attribute, frozen)
        if name.endswith(settings.lora.targets):
            adapted[name] = LoraLinear(frozen, settings.lora.rank, settings.lora.scale, generator)
    assign(prior, brought(path, state, dict.fromkeys(state, torch.float32), device, mapped=False), str(path))
    prior.requires_grad_(settings.full)
    for name, layer in adapted.items():
        _replace(prior, name, layer)
    return prior


def extend_tables(prior: Prior, extension: Extension, start: Mapping[str, str]) -> None:
    """Give the label tables of a prior their new rows, if it reads the labels of the extension."""
    if prior.config.label_set != extension.label_set:
        return
    for kind, name in TABLES.items():
        if extension.new[kind]:
            weight = prior.get_parameter(f"{name}.weight")
            _replace(prior, name, ExtendedTable(weight, extension.first_rows(kind, weight.detach(), start)))


def adapter_tensors(prior: Prior, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return trained values as an adapter has them, see `model.weights.adapter`.

    values: by the names of the prior's parameters.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in prior.named_modules():
        if isinstance(module, LoraLinear):
            tensors[f"{name}.a"] = values[f"{name}.a"]
            tensors[f"{name}.b"] = values[f"{name}.b"] * module.scale
        if isinstance(module, ExtendedTable):
            tensors[f"{name}.rows"] = values[f"{name}.rows"]
            tensors[f"{name}.rows_before"] = module.rows_before
    return tensors


def whole_state(prior: Prior, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return trained values as the state dict of a component, when all weights were trained."""
    state = dict(values)
    for name, module in prior.named_modules():
        if isinstance(module, ExtendedTable):
            state[f"{name}.weight"] = torch.cat([module.weight, state.pop(f"{name}.rows")])
    return state


def _replace(module: nn.Module, name: str, other: nn.Module) -> None:
    """Replace a module inside another by its full name."""
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, other)
