"""Triton's interpreter runs the kernels on the CPU. Run with: python -m pytest -m kernels tests/kernels"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="session")
def fused() -> Iterator[ModuleType]:
    """The module of the fused operations, its kernels interpreted; where triton is missing, an error and not a skip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # read where a kernel is defined, and where one is run
        import jukebox_kit.engine.cuda.fused
        import jukebox_kit.engine.cuda.noise_kernel  # its kernel is defined here too

        yield jukebox_kit.engine.cuda.fused


@pytest.fixture
def few(fused: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The same with fewer programs, which the interpreter runs one after another."""
    monkeypatch.setattr(fused, "PARTS", 2)
    return fused


def filled(*shape: int, seed: int) -> torch.Tensor:
    """Return random numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
