"""An estimate in words and as a table: what the notebook shows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jukebox_kit.bench.report import MIB, table
from jukebox_kit.estimates import SongEstimate
from jukebox_kit.progress import duration


def words(found: SongEstimate) -> str:
    """Return an estimate in a sentence."""
    if not found.fits:
        return found.reason
    levels = ", ".join(f"level {one.level} {duration(one.seconds)} ({one.batch} at once)" for one in found.levels)
    return f"about {duration(found.seconds)}: {levels}, as measured on this machine."


def as_text(found: SongEstimate) -> str:
    """Return an estimate as a table, memory beneath it, and its sentence."""
    heads = ("level", "tokens", "at once", "ms/step", "seconds")
    rows = [
        (str(one.level), f"{one.tokens:,}", str(one.batch), f"{one.ms_per_token:.3f}", f"{one.seconds:.1f}")
        for one in found.levels
    ]
    parts = ", ".join(f"{part} {size / MIB:,.0f} MiB" for part, size in found.weights_bytes.items())
    decoding = [] if found.vqvae_seconds is None else [f"decoding: {found.vqvae_seconds:.1f} s"]
    memory = f"weights: {parts}; free: {found.plan.free / MIB:,.0f} MiB"
    return "\n".join([*(table(heads, rows) if rows else []), *decoding, memory, words(found)])


def as_json(found: SongEstimate) -> dict[str, Any]:
    """Return an estimate as plain values."""
    return {**asdict(found), "fits": found.fits, "seconds": found.seconds}
