"""What Jukebox computes, plainly: everything faster is tested against it. Knows nothing of devices or songs."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
