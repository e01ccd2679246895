"""Linear layers in the layouts that a device multiplies fastest: transposed, packed and int8.

Transposed: the weights of one output are contiguous, as the fused kernels need. torch multiplies them as fast as the
released layout, so prefill and plain operations use them too, as does int8 without a packed layout. Packed:
prepacked for oneDNN or FBGEMM on a CPU, including int8.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jukebox_kit.errors import RequestError
from jukebox_kit.model import Linear, PlainLinear


class TransposedLinear(Linear):
    """Weights (out, in) in the dtype of the computation, or in int8 with a float32 scale for each output."""

    def __init__(self, plain: PlainLinear, weights: str) -> None:
        """Transpose a linear layer; weights: `int8`, or another precision to keep their dtype."""
        super().__init__()
        self.n_in, self.n_out, self.computes = plain.n_in, plain.n_out, plain.w.dtype
        w, scale = in_int8(plain.w.detach()) if weights == "int8" else (plain.w.detach(), None)
        self.register_buffer("w", w.t().contiguous(), persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("b", plain.b.detach(), persistent=False)
        self.w: Tensor
        self.scale: Tensor | None
        self.b: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """See Linear. int8 weights are converted to the dtype of the computation for the duration of the call."""
        w = self.w if self.scale is None else (self.w * self.scale[:, None]).to(self.computes)
        return F.linear(x.to(self.computes), w, self.b)


LARGE = 2**18  # weights of a linear layer; for a smaller one the call overhead exceeds the gain


class PackedLinear(Linear):
    """A linear layer with weights in a CPU-specific layout; float32 in and out."""

    computes = torch.float32

    def __init__(self, plain: PlainLinear) -> None:
        super().__init__()
        self.n_in, self.n_out = plain.n_in, plain.n_out

    def added(self, x: Tensor, to: Tensor) -> Tensor:
        """See Linear."""
        out: Tensor = self(x).add_(to)
        return out

    def gelu(self, x: Tensor) -> Tensor:
        """See Linear."""
        h = self(x)
        return torch.sigmoid(h * 1.702).mul_(h)


class Float32Linear(PackedLinear):
    """Packed by oneDNN: the same float32 weights, read once for all songs of a batch."""

    def __init__(self, plain: PlainLinear) -> None:
        super().__init__(plain)
        self.b = plain.b.detach()
        self.packed = _reordered(plain.w.detach().t().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """See Linear."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.b, "none", [], "")
        return out


class Float16Linear(PackedLinear):
    """Packed by FBGEMM: float16 weights, float32 products and sums."""

    def __init__(self, plain: PlainLinear) -> None:
        super().__init__(plain)
        w, b = plain.w.detach().float().t().contiguous(), plain.b.detach().float()
        self.packed: Any = torch.ops.quantized.linear_prepack_fp16(w, b)

    def forward(self, x: Tensor) -> Tensor:
        """See Linear."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return out


class Int8Linear(PackedLinear):
    """Packed by FBGEMM: int8 weights; inputs are rounded to eight bits over the range of the whole batch."""

    def __init__(self, plain: PlainLinear) -> None:
        super().__init__(plain)
        codes, scale = in_int8(plain.w.detach())
        zeros = torch.zeros(self.n_out, dtype=torch.long)
        with warnings.catch_warnings():  # torch plans to remove tensors of this type; `packed` checks whether it has
            warnings.filterwarnings("ignore", ".*quantiz.*", UserWarning)
            w = torch._make_per_channel_quantized_tensor(codes.t().contiguous(), scale.double(), zeros, 0)
            self.packed: Any = torch.ops.quantized.linear_prepack(w, plain.b.detach().float())
        # Without VNNI, sums of two products are accumulated in 16 bits, which inputs over seven bits can overflow.
        self.seven_bits = not getattr(torch.cpu, "_is_vnni_supported", bool)()

    def forward(self, x: Tensor) -> Tensor:
        """See Linear."""
        out: Tensor = torch.ops.quantized.linear_dynamic(x, self.packed, self.seven_bits)
        return out


def in_int8(w: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (in, out) as int8 and the float32 scale of each output, (out,): w ≈ codes · scale."""
    w = w.float()
    scale = (w.abs().amax(0) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return (w / scale).round().to(torch.int8), scale


def packed(plain: PlainLinear, weights: str) -> Linear:
    """Return a linear layer in the layout that this CPU multiplies fastest; `weights` is float32, float16 or int8."""
    if weights == "float32":
        return Float32Linear(plain) if plain.w.numel() >= LARGE and _onednn_packs() else plain
    if not can_pack(weights):
        raise RequestError(f"this version of torch does not support {weights} weights on this CPU; choose float32.")
    return Float16Linear(plain) if weights == "float16" else Int8Linear(plain)


def can_pack(weights: str) -> bool:
    """Return whether this version of torch supports float16 or int8 weights on this CPU."""
    missing = weights == "int8" and not hasattr(torch, "_make_per_channel_quantized_tensor")
    return not missing and bool({"x86", "fbgemm"} & set(torch.backends.quantized.supported_engines))


def _reordered(w: Tensor) -> Tensor:
    """Return weights (out, in) in oneDNN's layout for any number of rows."""
    try:
        out: Tensor = torch.ops.mkldnn._reorder_linear_weight(w, None)
    except NotImplementedError:  # older versions of torch need a tensor of their own type here
        out = torch.ops.mkldnn._reorder_linear_weight(w.to_mkldnn(), None)
    return out


def _onednn_packs() -> bool:
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
