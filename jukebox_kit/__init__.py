"""jukebox_kit: OpenAI's Jukebox, usable again.

A song is a folder, sampled in three steps (level_2, level_1, level_0) that can be interrupted and resumed at any point.
Names are imported when they are first used, so that `import jukebox_kit` costs nothing.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
