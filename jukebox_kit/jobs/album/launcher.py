"""The processes that a launcher such as mpiexec or srun started, and each one's share of its machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from jukebox_kit.engine import SHARED_BY
from jukebox_kit.errors import JukeboxKitError, RequestError

log = logging.getLogger(__name__)

Made = TypeVar("Made")

# The variables in which launchers say how many processes they started, and which of them this is.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")

NUMBERS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


@dataclass(frozen=True)
class Rank:
    """One of the processes.

    number: from 0.
    threads: its share of the cores.
    gpu: its GPU as CUDA names it, or None.
    sharing: how many ranks share the memory of its GPU, or of its machine if it has none.
    """

    number: int
    host: str
    threads: int
    gpu: str | None
    sharing: int

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables for its work."""
        shared = {"OMP_NUM_THREADS": str(self.threads), SHARED_BY: str(self.sharing)}
        return shared if self.gpu is None else {**shared, "CUDA_VISIBLE_DEVICES": self.gpu}

    @property
    def summary(self) -> str:
        """One line of text that describes it."""
        uses = f"{self.threads} thread{'s' if self.threads > 1 else ''}" if self.gpu is None else f"GPU {self.gpu}"
        return f"rank {self.number}, {self.host}, {uses}"


@dataclass(frozen=True)
class World:
    """Which rank this is, of how many. mpi: mpi4py's communicator of all, None if this is the only one."""

    rank: Rank
    size: int
    mpi: Any = None

    def from_rank_0(self, make: Callable[[], Made]) -> Made:
        """Return on all ranks what `make` returns on rank 0; if it fails there, the others raise SystemExit."""
        if self.mpi is None:
            return make()
        made: Made | None = None
        try:
            made = make() if self.rank.number == 0 else None
        finally:
            made = self.mpi.bcast(made)
        if made is None:
            raise SystemExit(1)
        return made


def launched(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return how many processes the launcher started (1 without one) and which this is, from the environment."""
    size = next((int(environment[name]) for name in SIZES if environment.get(name, "").isdigit()), 1)
    number = next((int(environment[name]) for name in NUMBERS if environment.get(name, "").isdigit()), 0)
    return size, number


@contextmanager
def world(device: str | None) -> Iterator[World]:
    """Join the other ranks, if a launcher started several. device: "cpu" uses no GPU, None those of this machine.

    RequestError if mpi4py is missing or belongs to another MPI, on rank 0 alone, so that it is reported once; the
    others raise SystemExit.
    """
    size, number = launched(os.environ)
    everywhere = range(os.cpu_count() or 1)
    cores = frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else everywhere)
    if size == 1:
        yield World(_rank_of([cores], 0, 0, gpus(device)), 1)
        return
    if importlib.util.find_spec("mpi4py") is None:
        if number:
            raise SystemExit(1)
        raise RequestError(
            f"{size} processes were started, and each would sample the same album: without mpi4py they cannot see "
            f'each other; pip install "jukebox_kit[mpi]", or start jukebox-kit without a launcher.'
        )
    from mpi4py import MPI

    everyone = MPI.COMM_WORLD
    if everyone.size != size:
        if number:
            raise SystemExit(1)
        raise RequestError(
            f"{size} processes were started, but mpi4py sees {everyone.size}: it was built for a different MPI from "
            f"this launcher's; use the matching launcher, or reinstall mpi4py for this one."
        )
    here = everyone.Split_type(MPI.COMM_TYPE_SHARED)
    rank = _rank_of(here.allgather(cores), here.rank, everyone.rank, gpus(device))
    try:
        yield World(rank, everyone.size, everyone)
    except JukeboxKitError:
        raise
    except Exception:  # otherwise the others would wait for this rank for ever
        log.exception("rank %d failed unexpectedly", rank.number)
        everyone.Abort(1)


def gpus(device: str | None) -> tuple[str, ...]:
    """Return the GPUs of this machine that may be used, named as in CUDA_VISIBLE_DEVICES."""
    if device is not None and not device.startswith("cuda"):
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name for name in named.split(",") if name.strip())
    import torch

    return tuple(str(number) for number in range(torch.cuda.device_count()))


def _rank_of(cores: list[frozenset[int]], local: int, number: int, gpus: tuple[str, ...]) -> Rank:
    """Return the rank that is number `local` on its machine. cores: those that each rank there may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    alike = Counter(cores)[cores[local]]  # a launcher may have bound each rank to its own cores
    threads = int(wanted) if wanted.isdigit() and int(wanted) else max(1, len(cores[local]) // alike)
    host, ranks = socket.gethostname(), len(cores)
    if not gpus:
        return Rank(number, host, threads, None, ranks)
    own = local % len(gpus)
    return Rank(number, host, threads, gpus[own], len(range(own, ranks, len(gpus))))
