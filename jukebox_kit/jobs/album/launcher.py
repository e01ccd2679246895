"""The processes that a launcher such as mpiexec or srun started, and what of its machine each may use."""

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

# How launchers say how many processes they started, and which of them this is.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")

NUMBERS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")


@dataclass(frozen=True)
class Rank:
    """One of the processes. number: from 0; threads: its share of the cores; gpu: as CUDA numbers them, None for none.

    sharing: how many ranks share its GPU's memory, or without one its machine's.
    """

    number: int
    host: str
    threads: int
    gpu: str | None
    sharing: int

    @property
    def environment(self) -> dict[str, str]:
        """What its work runs in."""
        found = {"OMP_NUM_THREADS": str(self.threads), SHARED_BY: str(self.sharing)}
        return found if self.gpu is None else {**found, "CUDA_VISIBLE_DEVICES": self.gpu}

    @property
    def summary(self) -> str:
        """One line of text that describes it."""
        with_what = f"{self.threads} thread{'s' if self.threads > 1 else ''}" if self.gpu is None else f"GPU {self.gpu}"
        return f"rank {self.number}, {self.host}, {with_what}"


@dataclass(frozen=True)
class World:
    """A rank among all. mpi: mpi4py's communicator of all of them, None where there is one only."""

    rank: Rank
    size: int
    mpi: Any = None

    def from_rank_0(self, make: Callable[[], Made]) -> Made:
        """Return what rank 0 makes, on all ranks; where it cannot, its error there, and SystemExit on the others."""
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
    """Return how many processes a launcher started, 1 where there was none, and which this is, by its environment."""
    size = next((int(environment[name]) for name in SIZES if environment.get(name, "").isdigit()), 1)
    number = next((int(environment[name]) for name in NUMBERS if environment.get(name, "").isdigit()), 0)
    return size, number


@contextmanager
def world(device: str | None) -> Iterator[World]:
    """Join the other ranks, where a launcher started several; device: "cpu" takes no GPU, None those that are there.

    Raises RequestError where mpi4py is missing or another MPI's, but on rank 0 alone, so that it is said once;
    SystemExit on the others.
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
    except Exception:  # the others would wait for this rank for ever
        log.exception("rank %d failed unexpectedly", rank.number)
        everyone.Abort(1)


def gpus(device: str | None) -> tuple[str, ...]:
    """Return the GPUs of this machine that work may go to, as CUDA_VISIBLE_DEVICES names them."""
    if device is not None and not device.startswith("cuda"):
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name for name in named.split(",") if name.strip())
    import torch

    return tuple(str(number) for number in range(torch.cuda.device_count()))


def _rank_of(cores: list[frozenset[int]], local: int, number: int, gpus: tuple[str, ...]) -> Rank:
    """Return what a rank, the `local`th of its machine, gets of it; cores: what each of those may run on."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    alike = Counter(cores)[cores[local]]  # a launcher may have bound each to cores of its own
    threads = int(said) if said.isdigit() and int(said) else max(1, len(cores[local]) // alike)
    host, ranks = socket.gethostname(), len(cores)
    if not gpus:
        return Rank(number, host, threads, None, ranks)
    own = local % len(gpus)
    return Rank(number, host, threads, gpus[own], len(range(own, ranks, len(gpus))))
