"""What Jukebox computes, plainly, and where its weights come from. Everything faster is tested against it."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
