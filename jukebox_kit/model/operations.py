"""The five operations that a decoding step is made of, a layer at a time, in torch's own; fused kernels replace them.

Shapes: N songs, W width.
"""

from __future__ import annotations

from torch import Tensor

from jukebox_kit.model.caches import Cache
from jukebox_kit.model.transformer import LayerNorm, Map


class Operations:
    """Plain operations: on a CPU and on GPUs without kernels of our own."""

    def norm_map(self, norm: LayerNorm, to: Map, x: Tensor) -> Tensor:
        """Return to(norm(x)): (N, W) float32 → (N, out) in the map's dtype."""
        out: Tensor = to(norm(x))
        return out

    def norm_map_gelu(self, norm: LayerNorm, to: Map, x: Tensor) -> Tensor:
        """Return the quick-GELU of to(norm(x)): (N, W) float32 → (N, out) in the map's dtype."""
        return to.gelu(norm(x))

    def map_added(self, to: Map, h: Tensor, x: Tensor) -> Tensor:
        """Return x + to(h): (N, in), (N, W) float32 → (N, W) float32."""
        return to.added(h, x)

    def attend(self, cache: Cache, mapped: Tensor) -> Tensor:
        """Keep the current position's keys and values, and return what its query finds: as `Cache.attend`."""
        return cache.attend(mapped)
