"""Where and how a model runs: its device, weight precision and engine, and the number of CPU threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

from jukebox_kit.errors import RequestError
from jukebox_kit.model import PriorConfig

WEIGHTS = ("float32", "float16", "int8")

ENGINES = {
    "fast": "everything the device supports",
    "cached": "buffers of fixed size, plain operations",
    "graph": "on a GPU, a step as one CUDA graph of plain operations",
    "fused": "on a GPU, fused kernels without a graph",
    "plain": "the full forward pass for every token; slow, the reference",
    "jukebox": "on a GPU, the original jukebox package, for comparison",
}

GPU_ONLY = {
    "graph": "the engine graph needs a GPU; choose fast, cached or plain.",
    "fused": "the engine fused needs a GPU; choose fast, cached or plain.",
    "jukebox": "the engine jukebox needs a GPU, since the package asserts at every token that it is a CUDA tensor; "
    "choose fast, cached or plain.",
}


@dataclass(frozen=True)
class Placement:
    """device; weights: precision of the transformers' linear layers, one of WEIGHTS; engine: one of ENGINES."""

    device: torch.device
    weights: str = "float32"
    engine: str = "fast"

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise RequestError(f"the precision must be one of {', '.join(WEIGHTS)}, not {self.weights}.")
        if self.engine not in ENGINES:
            raise RequestError(f"unknown engine {self.engine}; choose {', '.join(ENGINES)}.")
        if self.engine in GPU_ONLY and self.device.type != "cuda":
            raise RequestError(GPU_ONLY[self.engine])
        if self.engine == "jukebox" and self.weights == "int8":
            raise RequestError("the jukebox package supports float32 and float16 weights, not int8.")

    @classmethod
    def of(
        cls, device: str | torch.device | None = None, weights: str | None = None, engine: str = "fast"
    ) -> Placement:
        """Return a placement: by default float16 on the GPU if there is one, otherwise float32 on the CPU."""
        chosen = usable_device(device)
        return cls(chosen, weights or ("float32" if chosen.type == "cpu" else "float16"), engine)

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return self.device.type == "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which linear layers compute if their weights are not packed."""
        if self.weights == "int8":
            return torch.float32 if self.on_cpu else torch.float16
        return torch.float16 if self.weights == "float16" else torch.float32

    @property
    def packed(self) -> bool:
        """Whether linear layers are stored in CPU-specific layouts."""
        return self.on_cpu and self.engine == "fast"

    @property
    def optimised(self) -> bool:
        """Whether our own kernels and compiled functions replace torch's operations where they can."""
        return self.packed or self.fused

    @property
    def repacked(self) -> bool:
        """Whether linear layers are stored in a layout other than the plain one."""
        return self.optimised or self.weights == "int8"

    @property
    def graphed(self) -> bool:
        """Whether a step is one CUDA graph."""
        return not self.on_cpu and self.engine in ("fast", "graph")

    @property
    def fused(self) -> bool:
        """Whether fused kernels are used if the GPU can run them."""
        return not self.on_cpu and self.engine in ("fast", "fused")


def usable_device(name: str | torch.device | None) -> torch.device:
    """Return the named device; by default the GPU, or the CPU on a machine without one.

    RequestError for anything but a CPU or an NVIDIA GPU that torch can use.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = supported_device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RequestError("there is no GPU that torch can use; omit the device or choose cpu.", field="device")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        known = ", ".join(f"cuda:{number}" for number in range(torch.cuda.device_count()))
        raise RequestError(f"there is no GPU {device}; this machine has {known}.", field="device")
    return device


def supported_device(name: str | torch.device) -> torch.device:
    """Return the named device, which this machine need not have; RequestError unless it is a CPU or an NVIDIA GPU."""
    device: torch.device | None = None
    if isinstance(name, str | torch.device):  # torch takes numbers and more
        with suppress(RuntimeError):  # torch does not know the name
            device = torch.device(name)
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise RequestError(
            f"the device {str(name) or repr(name)} is not supported; choose cpu, cuda or cuda:N, or omit it.",
            field="device",
        )
    return device


SMALL_LINEAR = 2**18  # weights of a linear layer


@contextmanager
def threads_for(config: PriorConfig) -> Iterator[None]:
    """Use one thread if the linear layers are so small that dividing the work would cost more than it saves."""
    before = torch.get_num_threads()
    if config.prior_width**2 < SMALL_LINEAR:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
