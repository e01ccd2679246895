"""The priors to measure: of a model, or of any shape, built with recipe weights; and the bytes that a step reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from jukebox_kit.engine import Layouts, Placement, form_of
from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.model import AutoregressiveTransformer, Conditioning, Pattern, Prior, PriorConfig, VQVAEConfig
from jukebox_kit.model.weights import PARTS, ModelDefinition, linears, load_definition, recipe_tensor, without_weights

LAYER = re.compile(r"_attn_mods\.\d+")


@dataclass(frozen=True)
class Subject:
    """A prior to measure, and its display name."""

    name: str
    config: PriorConfig
    vqvae: VQVAEConfig

    @property
    def prefix(self) -> int:
        """The number of lyric positions before the music in the same sequence."""
        return self.config.positions - self.config.n_ctx


def model_part(definition: ModelDefinition, level: int) -> Subject:
    """Return the prior of a level of a model."""
    return Subject(f"{definition.name} {PARTS[level + 1]}", definition.priors[level], definition.vqvae)


def differing_levels(definition: ModelDefinition) -> tuple[int, ...]:
    """Return the levels whose priors differ in shape, the top first; both upsamplers may have the same."""

    def cost(level: int) -> tuple[object, ...]:
        one = definition.priors[level]
        return one.patterns, one.n_ctx, one.prior_width, one.heads, one.blocks, one.m_attn, one.m_mlp

    return (2, 0) if cost(1) == cost(0) else (2, 1, 0)


def free_shape(text: str) -> Subject:
    """Return the release's upsampler with another width and depth, WIDTHxDEPTH; RequestError for any other text."""
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    released = load_definition("5b")
    try:
        width, depth = (int(number) for number in found.groups()) if found else (0, 0)
        return Subject(text.strip(), replace(released.priors[0], prior_width=width, prior_depth=depth), released.vqvae)
    except ConfigurationError:
        raise RequestError(f"a shape is WIDTHxDEPTH, such as 1024x24, not {text}.") from None


def build(subject: Subject, placement: Placement) -> Prior:
    """Return a prior whose transformer is on a device, with recipe weights in the layouts that sampling uses.

    All layers have the weights of the first one: reading them costs the same, computing them a fraction of the time.
    The conditioner and the lyric encoder, which run once per window, stay on the meta device.
    """
    with without_weights():
        prior = Prior(subject.config, subject.vqvae)
    part = prior.prior
    recipe = cache(_recipe)
    for name, holder, attribute, plain in linears(part):  # one by one, so that no component is in memory twice
        for own, value in list(plain.named_parameters()):
            values = recipe(LAYER.sub("_attn_mods.0", f"prior.{name}.{own}"), value.shape)
            placed = values.to(placement.device, placement.dtype, copy=True)
            setattr(plain, own, nn.Parameter(placed, requires_grad=False))
        if placement.repacked:
            setattr(holder, attribute, form_of(plain, placement))
    _fill_rest(part, tied=not subject.config.merged_decoder, device=placement.device)
    prior.requires_grad_(False).eval()
    return prior


def conditioning(prior: Prior, songs: int, device: torch.device) -> Conditioning:
    """Return a window's conditioning: small numbers, which cost as much as real ones."""
    width, lyrics = prior.config.prior_width, prior.config.n_tokens
    return Conditioning(
        torch.full((songs, prior.config.positions, width), 0.01, device=device),
        torch.full((songs, 1, width), 0.01, device=device),
        torch.zeros(songs, prior.prefix_length, dtype=torch.long, device=device),
        torch.full((songs, lyrics, width), 0.01, device=device) if prior.config.has_encoder else None,
    )


def seen_keys(prior: Prior, at: int) -> int:
    """Return the total number of keys that the layers attend to at music position `at`, for one item."""
    shape = prior.prior.transformer.shape
    layouts, position = Layouts(shape, torch.device("cpu")).by_pattern, prior.prefix_length + at
    seen = {Pattern.ENCODER: prior.config.n_tokens}
    for pattern, layout in layouts.items():
        seen[pattern] = layout.group_size if layout.seen is None else int(layout.seen[position])
    return sum(seen[pattern] for pattern in shape.patterns)


def step_bytes(prior: Prior, placement: Placement, songs: int, at: int) -> int:
    """Return the bytes that a step must read: weights, the output layer, and the visible cached keys and values."""
    shape = prior.prior.transformer.shape
    a_weight = {"float32": 4, "float16": 2, "int8": 1}[placement.weights]
    beside = placement.dtype.itemsize + (4 if placement.weights == "int8" else 0)  # a bias, and a scale if there is one
    total = 0
    for layer in prior.prior.transformer.layers:
        maps = (layer.attn.c_attn, layer.attn.c_proj, layer.mlp.c_fc, layer.mlp.c_proj)
        total += sum(one.n_in * one.n_out * a_weight + one.n_out * beside for one in maps) + 4 * 4 * shape.width
    table = 4 * shape.width * (prior.bins + prior.shift)
    cached = 4 if placement.on_cpu else placement.dtype.itemsize
    return total + table + songs * seen_keys(prior, at) * 2 * shape.n_state * cached


def _recipe(name: str, shape: torch.Size) -> Tensor:
    return torch.from_numpy(recipe_tensor(name, tuple(shape)))


def _fill_rest(part: AutoregressiveTransformer, tied: bool, device: torch.device) -> None:
    """Fill everything but the linear layers: norms, tables, the output layer; float32."""
    state = {name: value for name, value in part.state_dict().items() if value.is_meta}
    if tied:
        del state["x_out.weight"]
    values = {name: _recipe(f"prior.{name}", value.shape).to(device) for name, value in state.items()}
    part.load_state_dict(values, strict=False, assign=True)
    if tied:
        part.x_out.weight = part.x_emb.weight
