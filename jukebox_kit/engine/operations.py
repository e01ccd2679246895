"""The operations of a decoding step, layer by layer, in plain torch; fused kernels can replace them.

Shapes: N songs, W width.
"""

from __future__ import annotations

from torch import Tensor

from jukebox_kit.engine.caches import Cache, Layouts
from jukebox_kit.model import LayerNorm, Linear


class Operations:
    """Plain torch operations. `optimised`: whether a subclass replaces some of them by our own kernels."""

    optimised = False

    def begin(self, layouts: Layouts, position: Tensor) -> None:
        """Begin a step at a position, (1,) int64, which stays the same until the last layer."""
        layouts.move_to(position)

    def norm_map(self, norm: LayerNorm, to: Linear, x: Tensor) -> Tensor:
        """Return to(norm(x)): (N, W) float32 → (N, out) in the layer's dtype."""
        out: Tensor = to(norm(x))
        return out

    def attend_added(self, cache: Cache, to: Linear, mapped: Tensor, x: Tensor) -> Tensor:
        """Store the position's keys and values, and return x + to(attention output), (N, W) float32.

        mapped: as in `Cache.attend`. x: (N, W) float32.
        """
        return to.added(cache.attend(mapped), x)

    def norm_map_gelu(self, norm: LayerNorm, to: Linear, x: Tensor) -> Tensor:
        """Return the quick-GELU of to(norm(x)): (N, W) float32 → (N, out) in the layer's dtype."""
        return to.gelu(norm(x))

    def map_added(self, to: Linear, h: Tensor, x: Tensor) -> Tensor:
        """Return x + to(h): (N, in), (N, W) float32 → (N, W) float32."""
        return to.added(h, x)
