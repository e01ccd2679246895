"""Measures a device: copy bandwidth, peak memory, kernel launches."""

from __future__ import annotations

import ctypes
import re
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

BUFFER = {"cpu": 2**29, "cuda": 2**31}  # bytes of the copied buffer: many times any cache

COPIES = 9

OWN = Path("/proc/self")


def now(device: torch.device) -> float:
    """Return the time in seconds after waiting for the device to finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Return the bytes per second, read plus written, at which a device copies a large buffer.

    The median of several copies, with torch's current number of threads. size: bytes of the buffer.
    """
    source = torch.ones((BUFFER[device.type] if size is None else size) // 4, device=device)
    target = torch.zeros_like(source)
    times: list[float] = []
    for _ in range(COPIES):
        started = now(device)
        target.copy_(source)
        times.append(now(device) - started)
    return 2 * source.nbytes / statistics.median(times)


class Memory:
    """The memory of this process on a device, in bytes: on a GPU that of tensors, on the CPU resident memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def held(self) -> int | None:
        """Return the memory in use now; None if the system does not report it."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        with suppress(AttributeError, OSError):  # only glibc has it
            ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory would count as in use
        return _status("VmRSS")

    def forget(self) -> bool:
        """Start measuring a new peak; False if the system cannot."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return True
        try:
            (OWN / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def peak(self) -> int | None:
        """Return the peak since `forget`; None if the system does not report it."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _status("VmHWM")


def kernels(run: Callable[[int], float], steps: int) -> float:
    """Return how many GPU kernels a step launches, without copies and fills; `run` makes `steps` steps."""
    activity = torch.profiler.ProfilerActivity.CUDA
    with torch.profiler.profile(activities=[activity]) as profiled:
        run(steps)
        torch.cuda.synchronize()
    events = [event for event in profiled.events() or () if event.device_type.name == "CUDA"]
    return sum(not event.name.startswith(("Memcpy", "Memset")) for event in events) / steps


def _status(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", (OWN / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
