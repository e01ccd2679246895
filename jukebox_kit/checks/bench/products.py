"""Loops that run only the matrix products of a step: an upper bound for the speed of decoding."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.checks.bench.hardware import now
from jukebox_kit.engine import Placement
from jukebox_kit.model import Prior

DISTINCT = 2**30  # bytes of plain weights, after which layers reuse them: far more than any cache


@dataclass(frozen=True)
class Product:
    """One linear layer of a step: (N, n_in) in the dtype `computes` → (N, n_out)."""

    do: Callable[[Tensor], Tensor]
    n_in: int
    n_out: int
    computes: torch.dtype


def products_of(prior: Prior) -> list[Product]:
    """Return the linear layers of a step in the layouts that sampling uses, in order, the output layer last."""
    found: list[Product] = []
    for layer in prior.prior.transformer.layers:
        for one in (layer.attn.c_attn, layer.attn.c_proj, layer.mlp.c_fc, layer.mlp.c_proj):
            found.append(Product(one.forward, one.n_in, one.n_out, one.computes))
    out = prior.prior.x_out
    return [*found, Product(out.forward, out.in_features, out.out_features, torch.float32)]


class Products:
    """Calls each linear layer of a prior on a fixed input; as one CUDA graph if decoding is one."""

    def __init__(self, products: list[Product], placement: Placement) -> None:
        self.products, self.placement = products, placement

    def begin(self, songs: int, at: int) -> None:
        """See Contender; products are the same at every position."""
        del at
        inputs: dict[tuple[int, torch.dtype], Tensor] = {}
        for one in self.products:
            key = one.n_in, one.computes
            inputs.setdefault(key, torch.randn(songs, one.n_in, device=self.placement.device).to(one.computes))
        self.calls = [(one.do, inputs[one.n_in, one.computes]) for one in self.products]
        self.step = self._captured() if self.placement.graphed else self._step

    def run(self, steps: int) -> float:
        """See Contender."""
        device = self.placement.device
        started = now(device)
        with torch.inference_mode():
            for _ in range(steps):
                self.step()
        return now(device) - started

    def _step(self) -> None:
        for do, x in self.calls:
            do(x)

    @torch.inference_mode()
    def _captured(self) -> Callable[[], None]:
        side = torch.cuda.Stream(self.placement.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate workspaces before the capture
            self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph.replay


def plain_products(products: list[Product], placement: Placement) -> list[Product]:
    """Return torch.addmm calls of the same sizes on weights (in, out), as the release stores them.

    In float32 on the CPU and float16 on a GPU. Layers share weights if there are many.
    """
    dtype = torch.float32 if placement.on_cpu else torch.float16
    kept: dict[tuple[int, int], deque[Tensor]] = {}
    room, found = DISTINCT, list[Product]()
    for one in products:
        own = kept.setdefault((one.n_in, one.n_out), deque())
        if room > 0 or not own:
            own.append(torch.randn(one.n_in, one.n_out, device=placement.device).to(dtype))
            room -= own[-1].nbytes
        else:
            own.rotate(-1)  # the least recently used one
        found.append(Product(_addmm(own[-1]), one.n_in, one.n_out, dtype))
    return found


def _addmm(weight: Tensor) -> Callable[[Tensor], Tensor]:
    bias = torch.zeros(weight.shape[1], device=weight.device, dtype=weight.dtype)
    return lambda x: torch.addmm(bias, x, weight)
