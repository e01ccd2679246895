"""How many threads of the CPU a part is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from jukebox_kit.model.configuration import PriorConfig

SMALL_MAP = 2**18  # weights of a map


@contextmanager
def threads_for(config: PriorConfig) -> Iterator[None]:
    """Use one thread where the maps are so small that handing work to a second one takes longer than the work."""
    before = torch.get_num_threads()
    if config.prior_width**2 < SMALL_MAP:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
