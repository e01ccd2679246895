"""What a model makes of recordings: its inner states as features, and how likely they are to it."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
