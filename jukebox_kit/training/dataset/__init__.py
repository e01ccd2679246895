"""A dataset: the codes and labels of a folder of recordings, encoded once, from which priors are trained."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
