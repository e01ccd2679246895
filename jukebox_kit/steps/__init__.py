"""The three resumable steps, level_2 → level_1 → level_0: fit into memory, sample, save, render."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
