"""The layers of a prior while it is trained: frozen weights, low-rank adapters, and tables that get new rows.

Whatever the storage of the weights, linear layers compute in one dtype and everything else in float32, as in sampling.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_kit.engine import in_int8
from jukebox_kit.model import Linear, PlainLinear


class _Product(torch.autograd.Function):
    """x·w for frozen weights, which are converted again in the backward pass instead of being saved converted."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, scale: Tensor | None) -> Tensor:
        """Return x·w in the dtype of x: (…, in), (in, out) → (…, out); scale: of int8 weights, (out,)."""
        ctx.save_for_backward(w, scale)
        return x @ _converted(w, scale, x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of x."""
        w, scale = ctx.saved_tensors
        (gradient,) = gradients
        return gradient @ _converted(w, scale, gradient.dtype).T, None, None


def _converted(w: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    return w.to(dtype) if scale is None else (w * scale).to(dtype)


class FrozenLinear(Linear):
    """A linear layer that is not trained, its weights (in, out) stored in float32, bfloat16, float16 or int8."""

    w: Tensor
    b: Tensor
    scale: Tensor | None

    def __init__(self, plain: PlainLinear, storage: str, computes: torch.dtype) -> None:
        """Store the weights of a layer; storage: a name of STORAGE."""
        super().__init__()
        self.n_in, self.n_out, self.computes = plain.n_in, plain.n_out, computes
        w, scale = in_int8(plain.w.detach()) if storage == "int8" else (plain.w.detach().to(STORAGE[storage]), None)
        self.register_buffer("w", w, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("b", plain.b.detach().to(computes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See Linear."""
        product: Tensor = _Product.apply(x.to(self.computes), self.w, self.scale)  # type: ignore[no-untyped-call]
        return product + self.b


STORAGE = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}


class LoraLinear(Linear):
    """A frozen layer plus a low-rank change: x·(w + scale·a·b), with `a` (in, rank) and `b` (rank, out) trained."""

    def __init__(self, frozen: FrozenLinear, rank: int, scale: float, generator: torch.Generator) -> None:
        """Start with a random `a` and with b = 0, so that nothing changes at first."""
        super().__init__()
        self.frozen, self.scale = frozen, scale
        self.n_in, self.n_out, self.computes = frozen.n_in, frozen.n_out, frozen.computes
        a = torch.randn(frozen.n_in, rank, generator=generator) / math.sqrt(frozen.n_in)
        self.a = nn.Parameter(a.to(frozen.w.device))
        self.b = nn.Parameter(torch.zeros(rank, frozen.n_out, device=frozen.w.device))

    def forward(self, x: Tensor) -> Tensor:
        """See Linear."""
        x = x.to(self.computes)
        change = (x @ self.a.to(self.computes)) @ self.b.to(self.computes)
        out: Tensor = self.frozen(x) + self.scale * change
        return out


class TrainedLinear(PlainLinear):
    """A linear layer whose weights are trained in float32 and used in another dtype."""

    def __init__(self, plain: PlainLinear, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.n_in, self.n_out, self.dtype = plain.n_in, plain.n_out, dtype
        self.w, self.b = plain.w, plain.b

    @property
    def computes(self) -> torch.dtype:  # type: ignore[override]  # as in PlainLinear
        """The dtype of the result."""
        return self.dtype

    def forward(self, x: Tensor) -> Tensor:
        """See Linear."""
        w, b = self.w.to(self.dtype), self.b.to(self.dtype)
        return torch.addmm(b, x.reshape(-1, self.n_in).to(self.dtype), w).view(*x.shape[:-1], -1)


class ExtendedTable(nn.Module):
    """An embedding whose rows are frozen, followed by `rows` (new rows, W), which are trained."""

    weight: Tensor
    rows_before: Tensor

    def __init__(self, weight: Tensor, rows: Tensor) -> None:
        """Extend a table (rows, W) by rows that start as given."""
        super().__init__()
        self.register_buffer("weight", weight.detach(), persistent=False)
        self.register_buffer("rows_before", rows.detach().clone(), persistent=False)
        self.rows = nn.Parameter(rows.detach().clone())

    def forward(self, index: Tensor) -> Tensor:
        """Map (…) int64 → (…, W)."""
        first = len(self.weight)
        old = F.embedding(index.clamp(max=first - 1), self.weight)
        new = F.embedding((index - first).clamp(min=0), self.rows)
        return torch.where((index >= first)[..., None], new, old)
