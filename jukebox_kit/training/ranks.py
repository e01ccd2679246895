"""The processes that train together, one for each GPU, as torchrun starts them. One process alone is rank 0 of 1."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from jukebox_kit.engine import usable_device

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The group of processes. rank: of this one, from 0. count: of all. device: that this one trains on."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def shared(self, value: T) -> T:
        """Return the first process's value, in all of them; none goes on before the first is here."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, device=self.device)
        return values[0]


@contextmanager
def joined(device: str | None) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the time of the context; alone without it.

    device: `cpu` or `cuda`, by default the GPU if there is one; of several GPUs each process takes its own.
    """
    where, count = usable_device(device), int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, where)
        return
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), count, where)
        gc.collect()  # DistributedDataParallel must be gone before its group, or the process aborts when it ends
        dist.barrier()  # and one that ends earlier would take the others' connections with it
    finally:
        dist.destroy_process_group()
