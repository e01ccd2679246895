"""Weights that are divided among processes, for full training of what does not fit into one GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from jukebox_kit.errors import RequestError


def fully_sharded(module: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Divide the parameters of a module among the processes; each of `layers` is gathered only while it computes.

    RequestError if this version of torch cannot.
    """
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        raise RequestError(f"--shard needs torch 2.6 or newer, and this is {torch.__version__}.") from None
    for layer in layers:
        fully_shard(layer)
    fully_shard(module)


def whole(value: Tensor) -> Tensor:
    """Return a tensor that may be divided among processes as a whole, in all of them."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor on the device of `other`, divided among the processes as that is."""
    placed = value.to(other.device, other.dtype)
    return distribute_tensor(placed, other.device_mesh, other.placements) if isinstance(other, DTensor) else placed
