"""A decoding step of five kernels per layer, equal to the plain operations, without intermediate results in memory.

norm + linear, attention, merge + linear + residual, norm + linear + quick-GELU, linear + residual. An upsampler's layer
has 22 MB of weights in float16, which an H200 reads in 5 µs and an A100 in 14, and each kernel boundary costs 1.3 to
2.5 µs. So there are few kernels, each divided into about two programs per multiprocessor, to keep many reads in flight.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from jukebox_kit.engine.caches import Cache, Layouts
from jukebox_kit.engine.cuda import kernels
from jukebox_kit.engine.linear import TransposedLinear
from jukebox_kit.engine.operations import Operations
from jukebox_kit.model import LayerNorm, Linear

ROWS = 16  # of a matrix-unit product, the fewest that Triton supports

LANES = 8  # warps that share the sum of a product

PARTS = 8  # at most, that attention's keys are divided into

BUSY = 32  # programs that suffice for the few bytes of attention


class FusedOperations(Operations):
    """Fused kernels for transposed linear layers. `launches` counts them."""

    optimised = True

    def __init__(self, device: torch.device, matrix_units: bool = True, processors: int = 132) -> None:
        """Prepare them for a device; matrix_units: whether Triton can use matrix units there."""
        self.device, self.matrix_units, self.processors = device, matrix_units, processors
        self.launches = 0

    @classmethod
    def of(cls, device: torch.device) -> FusedOperations:
        """Return the kernels for a GPU; below sm_80 Triton cannot use its matrix units."""
        facts = torch.cuda.get_device_properties(device)
        return cls(device, facts.major >= 8, facts.multi_processor_count)

    def multiplies(self, computes: torch.dtype) -> bool:
        """Return whether the matrix units are used for a batch of several songs."""
        return self.matrix_units and computes == torch.float16

    def begin(self, layouts: Layouts, position: Tensor) -> None:  # noqa: ARG002  # kernels read their tables
        """See Operations."""
        self.position = position

    def norm_map(self, norm: LayerNorm, to: Linear, x: Tensor) -> Tensor:
        """See Operations."""
        return self._map(to, x, norm=norm)

    def norm_map_gelu(self, norm: LayerNorm, to: Linear, x: Tensor) -> Tensor:
        """See Operations."""
        return self._map(to, x, norm=norm, gelu=True)

    def map_added(self, to: Linear, h: Tensor, x: Tensor) -> Tensor:
        """See Operations."""
        return self._map(to, h, residual=x)

    def attend_added(self, cache: Cache, to: Linear, mapped: Tensor, x: Tensor) -> Tensor:
        """See Operations. With few songs and heads, keys are divided into parts, which the linear layer merges."""
        songs, heads, size = len(mapped), cache.heads, cache.head_dim
        layout = cache.layout
        group = cache.kv.shape[3] if layout is None else layout.group_size
        parts = min(PARTS // min(songs, 2), max(1, BUSY // (songs * heads)))  # merging many parts takes many registers
        span, dims = triton.cdiv(group, parts), triton.next_power_of_2(size)
        keys = min(triton.next_power_of_2(span), max(1, 2**14 // dims))
        found = mapped.new_empty(songs, heads, parts, size, dtype=torch.float32)
        lse = mapped.new_empty(songs, heads, parts, dtype=torch.float32)
        tables = (None, None, None) if layout is None else (layout.slots, layout.groups, layout.seen)
        self._launch(
            kernels.attend,
            (parts, heads, songs),
            (mapped, cache.kv, self.position, *tables, found, lse, cache.kv.shape[3], group, 1 / math.sqrt(size)),
            {"HEADS": heads, "HEAD": size, "PARTS": parts, "SPAN": span, "KEYS": keys, "DIMS": dims},
            warps=8 if keys * dims > 2**12 else 4,
        )
        return self._map(to, found, residual=x, lse=lse)

    def _map(
        self,
        to: Linear,
        x: Tensor,
        norm: LayerNorm | None = None,
        lse: Tensor | None = None,
        residual: Tensor | None = None,
        gelu: bool = False,
    ) -> Tensor:
        """Return a linear layer's output for normalised rows or attention's parts, plus any residual."""
        assert isinstance(to, TransposedLinear), "the fused kernels read transposed layers"
        songs = len(x)
        out = x.new_empty(songs, to.n_out, dtype=to.computes if residual is None else torch.float32)
        tensors = (
            x,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
            lse,
            *(to.w, to.scale, to.b, residual, out, songs, to.n_out),
        )
        constants: dict[str, Any] = {
            "EPS": 0.0 if norm is None else norm.eps,
            "N_IN": to.n_in,
            "HEAD": 1 if lse is None else x.shape[3],
            "PARTS": 1 if lse is None else x.shape[2],
            "SOURCE": "merged" if lse is not None else "as it is" if norm is None else "normalised",
            "GELU": gelu,
        }
        by_products = songs > 1 and self.multiplies(to.computes)
        shape = self._products(to, constants["SOURCE"]) if by_products else self._sums(to)
        grid = (triton.cdiv(songs, shape.get("ROWS", 1)), triton.cdiv(to.n_out, shape["COLUMNS"]))
        kernel = kernels.map_by_products if by_products else kernels.map_by_sums
        warps = LANES if by_products or shape["BLOCK"] > 512 else 4
        self._launch(kernel, grid, tensors, constants | shape, warps)
        return out

    def _products(self, to: TransposedLinear, source: str) -> dict[str, int]:
        """Return the sizes of a program that uses matrix units: outputs, values per block, and blocks in flight.

        A block's buffers fit into the 99 KB of shared memory that every GPU from sm_80 on gives a program.
        """
        columns = 16 if to.n_out <= 16 * 2 * self.processors else 32
        block = 512 if source == "as it is" else 256  # otherwise the input is float32
        stages = {"normalised": 5 - columns // 16, "merged": 1}.get(source, 3)
        norm_block = min(triton.next_power_of_2(to.n_in), 1024)
        sizes = {"ROWS": ROWS, "COLUMNS": columns, "BLOCK": block, "NORM_BLOCK": norm_block}
        return sizes | {"LANES": LANES, "STAGES": stages}

    def _sums(self, to: TransposedLinear) -> dict[str, int]:
        """Return the sizes of a program that sums products."""
        block = triton.next_power_of_2(to.n_in)
        group = max(1, min(8, 2**15 // (block * to.w.element_size())))  # 32 registers of each of 256 threads
        columns = max(1, to.n_out // (2 * self.processors * group)) * group
        return {"COLUMNS": columns, "GROUP": group, "BLOCK": block}

    def _launch(
        self, kernel: Any, grid: tuple[int, ...], tensors: tuple[Any, ...], constants: dict[str, Any], warps: int
    ) -> None:
        self.launches += 1
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            kernel[grid](*tensors, **constants, num_warps=warps, enable_fp_fusion=True)
