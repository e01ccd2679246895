"""Maps turned as the fused kernels read them: what goes into one output lies side by side, in one long run.

torch multiplies them as fast as the released form, so that prefill and plain operations use them too. So does all that
keeps weights as bytes without a packing of its own.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from jukebox_kit.model.packed import in_int8
from jukebox_kit.model.transformer import Linear, Map


class TurnedMap(Map):
    """Weights (out, in) in the dtype that they compute in, or as bytes with a float32 scale for each output."""

    def __init__(self, plain: Linear, weights: str) -> None:
        """Turn a map; weights: `int8`, else they are kept in their dtype."""
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
        """See Map. Bytes are brought to the computing dtype for as long as this takes."""
        w = self.w if self.scale is None else (self.w * self.scale[:, None]).to(self.computes)
        return F.linear(x.to(self.computes), w, self.b)
