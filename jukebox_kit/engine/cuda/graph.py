"""A step captured once as a CUDA graph and replayed for every token: one launch in place of hundreds.

The step must read nothing back to the host and keep all that changes from one to the next in the same tensors. It is
captured for exactly as many songs as there are: capturing takes about a second, and padding to another number would
take caches for songs that are not there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from jukebox_kit.errors import RequestError

WARM_UPS = 3  # steps before capturing, in which kernels are compiled and libraries make their workspaces


def warmed_up(step: Callable[[], None], rewind: Callable[[], None]) -> None:
    """Do some steps, each from where `rewind` puts everything back to, and put it back."""
    for _ in range(WARM_UPS):
        rewind()
        step()
    rewind()


def captured(step: Callable[[], None], rewind: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what does a step by replaying it; `rewind` puts everything back to where nothing is sampled yet.

    RequestError where a step cannot be captured; torch.OutOfMemoryError where memory does not suffice.
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
        for cause in (error, error.__context__):  # the end of a capture that broke off raises something else
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
        raise RequestError(
            f"a step could not be captured as a CUDA graph ({' '.join(str(error).split())[:200]}); continue without "
            f"one by passing --engine fused or --engine cached."
        ) from error
    return graph.replay
