"""Memory that large passes free on the CPU."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch

LARGE = 2**30  # bytes; below, returning freed memory at once would cost more time than memory it saves

_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 2**20  # glibc's number of the setting; bytes


def return_freed_memory(device: torch.device, peak: int) -> None:
    """Have the C library return large blocks to the system as soon as they are freed, where it can be asked to.

    Otherwise glibc takes blocks of up to 32 MiB from its heap after the first such block was freed, and the gaps that
    the passes leave in it more than double the memory of a large prior. device, peak: where the work is done, and its
    planned peak in bytes; nothing changes on a GPU or for small work.
    """
    if device.type == "cpu" and peak > LARGE:
        with suppress(OSError, AttributeError):  # not glibc
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK)
