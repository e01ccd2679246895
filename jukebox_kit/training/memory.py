"""What fine-tuning takes, computed from the definition before anything is loaded: memory, disk, and work.

Weights are counted; what a pass needs is a number of copies of its tensors, which
`python -m tests.training_memory FOLDER` compares with the CPU's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from jukebox_kit.model import Pattern, Prior, PriorConfig, VQVAEConfig
from jukebox_kit.model.weights import linears, without_weights
from jukebox_kit.training.layers import STORAGE
from jukebox_kit.training.settings import FineTuning

LAYER_WIDTHS = 8.0  # copies of (N, positions, width) float32 while a layer computes and its gradients are taken

LAYER_HIDDEN = 5.0  # copies of (N, positions, MLP width), in the dtype of linear layers

LAYER_STATES = 14.0  # copies of (N, positions, attention state), likewise

LOGITS = 4.0  # copies of (N, positions, tokens) float32: logits, their logarithms, gradients

CONDITIONING = 4.0  # copies of (N, positions, width) float32 around the layers

LAYER_SAVED = 0.75  # share of a layer's tensors that stay until the backward pass if layers are not recomputed

RESERVE = 1.05  # what an allocator cannot use

CHOICES = (16, 8, 4, 2, 1)  # batch sizes to choose from


@dataclass(frozen=True)
class TrainingBytes:
    """The memory of training in one process, in bytes, and the work of a step.

    frozen: weights that are not trained. trained: trained values with gradients and the optimizer's state.
    saved: what the forward pass saves for the backward pass. passing: the largest part of it that is temporary.
    result: of the file that training leaves. flops: of a step's forward and backward pass for one window.
    """

    frozen: int
    trained: int
    saved: int
    passing: int
    result: int
    flops: float

    @property
    def peak(self) -> int:
        """The largest number of bytes at a time."""
        return math.ceil(RESERVE * (self.frozen + self.trained + self.saved + self.passing))


def training_bytes(
    config: PriorConfig,
    vqvae: VQVAEConfig,
    settings: FineTuning,
    storage: str,
    computes: torch.dtype,
    batch: int,
    ranks: int = 1,
) -> TrainingBytes:
    """Return what training takes with a batch size; ranks: among which all weights are divided, if they are."""
    with without_weights():
        prior = Prior(config, vqvae)
    weights = _weights(prior)
    adapted = 0 if settings.full else _adapter_values(prior, settings)
    half = computes.itemsize
    if settings.full:
        trained, frozen = weights.linear + weights.others, 0
    else:
        each = 1 if storage == "int8" else STORAGE[storage].itemsize
        trained = adapted
        frozen = weights.linear_w * each + (weights.linear - weights.linear_w) * half + weights.others * 4
    values = 16 + (4 if settings.ema else 0)
    rows = batch * config.positions
    layer = 4 * rows * LAYER_WIDTHS * config.prior_width
    hidden = int(config.m_mlp * config.prior_width)
    layer += half * rows * (LAYER_HIDDEN * hidden + LAYER_STATES * config.n_state) + _attention(config, batch)
    converted = 2 * half * weights.largest if storage != "float32" or settings.full else 0
    saved = 4 * rows * config.prior_width * (config.prior_depth + CONDITIONING)
    if not settings.recompute:
        saved += LAYER_SAVED * layer * config.prior_depth
    head = 4 * rows * LOGITS * prior.prior.x_emb.num_embeddings
    return TrainingBytes(
        frozen,
        trained * values // ranks,
        math.ceil(saved),
        math.ceil(max(layer + converted, head)),
        4 * trained,
        _flops(weights, trained, config, settings),
    )


def _flops(weights: _Weights, trained: int, config: PriorConfig, settings: FineTuning) -> float:
    """Return the operations of a forward and a backward pass for one window."""
    passes = 3 if settings.full else 2  # forward, gradients of inputs, and of weights
    return 2.0 * config.positions * (weights.linear * (passes + settings.recompute) + 2 * trained)


@dataclass(frozen=True)
class _Weights:
    """Numbers of values: of linear layers with biases, without, of everything else, of the largest linear layer."""

    linear: int
    linear_w: int
    others: int
    largest: int


def _weights(prior: nn.Module) -> _Weights:
    layers = [plain for _, _, _, plain in linears(prior)]
    linear_w = sum(plain.w.numel() for plain in layers)
    linear = linear_w + sum(plain.b.numel() for plain in layers)
    every = sum(value.numel() for value in prior.parameters())
    return _Weights(linear, linear_w, every - linear, max(plain.w.numel() for plain in layers))


def _adapter_values(prior: nn.Module, settings: FineTuning) -> int:
    named = [(name, plain) for name, _, _, plain in linears(prior)]
    chosen = [plain for name, plain in named if name.endswith(settings.lora.targets)]
    return sum(settings.lora.rank * (plain.n_in + plain.n_out) for plain in chosen)


def _attention(config: PriorConfig, batch: int) -> int:
    """Return the bytes of the attention weights of the layer that has most, where they are kept for gradients."""
    length, rows = config.positions, config.positions // config.blocks
    keys = {
        Pattern.DENSE: length,
        Pattern.PRIME: config.prime_length,
        Pattern.COLUMN: config.blocks,
        Pattern.ENCODER: config.n_tokens,
    }
    most = max(keys.get(pattern, rows) for pattern in config.patterns)
    return 4 * batch * config.heads * length * most
