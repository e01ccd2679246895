"""One comparison of numbers or codes, and whether it passed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# Largest difference over largest magnitude, by precision: the rounding error of some layers.
TOLERANCES = {"float32": 1e-5, "float16": 3e-3}

TF32_TOLERANCE = 1e-3  # of float32 on a GPU, whose convolutions may multiply with 10 bits


@dataclass(frozen=True)
class Entry:
    """What was compared, the result as text, and whether it passed."""

    name: str
    found: str
    ok: bool

    def __str__(self) -> str:
        return f"{self.name:<44} {self.found:<28} {'ok' if self.ok else 'FAIL'}"


def close(name: str, got: Tensor, want: Tensor, tolerance: float = TOLERANCES["float32"]) -> Entry:
    """Compare numbers by the largest difference relative to the largest expected magnitude."""
    got = got.detach().cpu().to(want.dtype)
    if got.shape != want.shape:
        return Entry(name, f"shape {tuple(got.shape)}, not {tuple(want.shape)}", ok=False)
    scale = float(want.abs().max()) or 1.0
    worst = float((got - want).abs().max()) / scale
    return Entry(name, f"relative difference {worst:.1e}", worst <= tolerance)  # written so that nan fails


def close_each(name: str, got: Tensor, want: Tensor, tolerance: float, floor: float = 1e-5) -> Entry:
    """Compare numbers by the largest difference relative to each; those below `floor` of the largest count as that."""
    if got.shape != want.shape:
        return Entry(name, f"shape {tuple(got.shape)}, not {tuple(want.shape)}", ok=False)
    worst = float(((got - want).abs() / want.abs().clamp(min=floor * float(want.abs().max()))).max())
    return Entry(name, f"relative difference {worst:.1e}", worst <= tolerance)


def same(name: str, got: Tensor, want: Tensor) -> Entry:
    """Compare integers by how many differ."""
    got = got.detach().cpu()
    if got.shape != want.shape:
        return Entry(name, f"shape {tuple(got.shape)}, not {tuple(want.shape)}", ok=False)
    wrong = int((got != want).sum())
    return Entry(name, f"{wrong} of {want.numel()} differ", wrong == 0)


def equal(name: str, got: object, want: object) -> Entry:
    """Compare anything else."""
    return Entry(name, "equal" if got == want else f"{str(got)[:60]} for {str(want)[:60]}", got == want)
