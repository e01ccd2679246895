"""The plan of a fine-tuning run: precision and batch size that fit, and how long an epoch takes; before loading."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from jukebox_kit.engine import free_memory
from jukebox_kit.errors import RequestError
from jukebox_kit.model import PriorConfig, VQVAEConfig
from jukebox_kit.steps import duration
from jukebox_kit.training.job import FineTuningJob
from jukebox_kit.training.layers import STORAGE
from jukebox_kit.training.memory import CHOICES, TrainingBytes, training_bytes
from jukebox_kit.training.settings import FineTuning

GIB = 2**30


@dataclass(frozen=True)
class TrainingPlan:
    """How a run will be made on each device.

    storage: of the base's weights. computes: the dtype of linear layers. batch: windows at a time.
    """

    storage: str
    computes: torch.dtype
    batch: int
    needed: TrainingBytes
    free: int

    @property
    def choices(self) -> dict[str, Any]:
        """The settings that the plan has chosen, as FineTuning has them."""
        return {"storage": self.storage, "computes": str(self.computes).removeprefix("torch."), "batch": self.batch}

    def facts(self, windows: int, settings: FineTuning, speed: float, ranks: int) -> list[tuple[str, str]]:
        """Return the plan as names and values. windows: of an epoch. speed: of a device, in operations per second."""
        each = "all weights" if settings.full else f"adapters of rank {settings.lora.rank}"
        computes = str(self.computes).removeprefix("torch.")
        how = f"{each}; base in {self.storage}, computing in {computes}, batch size {self.batch}"
        parts = {
            "base": self.needed.frozen,
            "trained values and optimizer": self.needed.trained,
            "saved for the backward pass": self.needed.saved,
            "temporary": self.needed.passing,
        }
        listed = ", ".join(f"{name} {_size(value)}" for name, value in parts.items())
        memory = f"{_size(self.needed.peak)} of {_size(self.free)} free ({listed})"
        epoch = windows * self.needed.flops / speed / ranks
        steps = settings.steps * settings.accumulate * self.batch * self.needed.flops / speed
        time = f"about {duration(epoch)} per epoch of {windows} windows, {duration(steps)} for {settings.steps} steps"
        saves = 2 * self.needed.trained
        disk = f"{_size(self.needed.result)} for the result, up to {_size(saves)} for saves while training"
        return [("trained", how), ("memory", memory), ("time", time), ("disk", disk)]


def plan_training(
    config: PriorConfig, vqvae: VQVAEConfig, settings: FineTuning, device: torch.device, free: int, ranks: int = 1
) -> TrainingPlan:
    """Return the plan with the most precise base and then the largest batch that fit; RequestError if nothing does.

    free: bytes. ranks: processes among which all weights are divided; 1 if they are not.
    """
    computes = computes_on(device, settings.computes)
    storages: tuple[str, ...] = ("float32", "float16", "int8") if device.type == "cpu" else ("float16", "int8")
    if settings.full:
        storages = ("float32",)
    elif settings.storage != "auto":
        storages = (settings.storage,)
    batches = CHOICES if settings.batch is None else (settings.batch,)
    for storage in storages:
        for batch in batches:
            needed = training_bytes(config, vqvae, settings, storage, computes, batch, ranks)
            if needed.peak <= free:
                return TrainingPlan(storage, computes, batch, needed, free)
    least = training_bytes(config, vqvae, settings, storages[-1], computes, batches[-1], ranks)
    ways = ["a smaller batch"] if batches[-1] > 1 else []
    ways += ["--lora in place of --full"] if settings.full else []
    ways += ["recompute: true"] if not settings.recompute else []
    ways += ["storage: int8"] if storages[-1] != "int8" and not settings.full else []
    advice = f"; try {' or '.join(ways)}" if ways else "; use a device with more memory"
    raise RequestError(f"training takes {_size(least.peak)}, and {_size(free)} are free{advice}.")


@dataclass(frozen=True)
class PlannedJob:
    """A job with its plan. facts: names and values for the user: what is new to the base, and the plan."""

    plan: TrainingPlan
    facts: tuple[tuple[str, str], ...]


def plan_job(
    job: FineTuningJob, device: torch.device, settings: FineTuning | None = None, ranks: int = 1, shard: bool = False
) -> PlannedJob:
    """Plan a job on a device before anything is loaded; RequestError if it does not fit.

    settings: by default the job's. ranks: processes that train together. shard: they divide all weights.
    """
    settings, definition, level = settings or job.settings, job.definition, job.level
    config, divided = definition.priors[level], ranks if shard else 1
    plan = plan_training(config, definition.vqvae, settings, device, free_memory(device), divided)
    speed = measured_speed(config, plan.computes, device)
    window = config.n_ctx * definition.vqvae.hops[level]
    windows = sum(song.samples for song in job.data.split(held_out=False)) // window
    facts = [(f"new {kind}s", ", ".join(names)) for kind, names in job.extension.new.items() if names]
    others = [prior for prior in definition.priors if prior.label_set != job.extension.label_set]
    if facts and others:
        levels = " and ".join(str(prior.level) for prior in others)
        facts.append(("other levels", f"{levels} use the {others[0].label_set} labels, where new names are unknown"))
    return PlannedJob(plan, (*facts, *plan.facts(windows, settings, speed, ranks)))


def computes_on(device: torch.device, name: str) -> torch.dtype:
    """Return the dtype of linear layers on a device; `auto` is float32 on the CPU and what a GPU computes fast in."""
    if name != "auto":
        return STORAGE[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def measured_speed(config: PriorConfig, dtype: torch.dtype, device: torch.device) -> float:
    """Return the operations per second of a product of the prior's shape on a device."""
    rows, width, hidden = min(config.positions, 1024), config.prior_width, int(config.m_mlp * config.prior_width)
    a, b = torch.ones(rows, width, dtype=dtype, device=device), torch.ones(width, hidden, dtype=dtype, device=device)
    torch.mm(a, b)
    times: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        product = torch.mm(a, b)
        float(product[0, 0])  # waits for a GPU
        times.append(time.perf_counter() - started)
    return 2.0 * rows * width * hidden / sorted(times)[2]


def _size(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB / 2 else f"{count / 2**20:.0f} MiB"
