"""A step captured once as a CUDA graph and replayed for every token: one launch instead of hundreds.

The step must copy nothing to the host and keep all its state in the same tensors. It is captured for the exact batch
size: capturing takes about a second, and padding to another size would need caches for songs that do not exist.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from jukebox_kit.errors import RequestError

WARM_UPS = 3  # steps before capturing, in which kernels are compiled and libraries allocate workspaces


def warmed_up(step: Callable[[], None], rewind: Callable[[], None]) -> None:
    """Run some steps, calling `rewind` after each, to restore the state before the first window."""
    for _ in range(WARM_UPS):
        rewind()
        step()
    rewind()


def captured(step: Callable[[], None], rewind: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return a function that runs a step by replaying it; `rewind` restores the state before the first window.

    Raises RequestError if a step cannot be captured, torch.OutOfMemoryError if memory runs out.
    """
    try:
        with torch.cuda.device(device):
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has left it without
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                warmed_up(step, rewind)
            torch.cuda.current_stream(device).wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
    except Exception as error:
        for cause in (error, error.__context__):  # ending a failed capture raises something else
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
        raise RequestError(
            f"a step could not be captured as a CUDA graph ({' '.join(str(error).split())[:200]}); continue without "
            f"one by passing --engine fused or --engine cached."
        ) from error
    return graph.replay
