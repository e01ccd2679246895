"""The measurements, as plain values and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jukebox_kit.steps import SongEstimate

GB, MIB = 1e9, 2**20


@dataclass(frozen=True)
class Row:
    """One contender with one prior, batch size and position.

    who: `ours`, `products` (our linear layers only), `addmm` (the same products by torch.addmm on plain weights), or a
        peer.
    ms: milliseconds per step, which samples one token of every item.
    step_bytes: the bytes that a step must read, see `shapes.step_bytes`.
    floor_percent: the share of the step's time that copying as many bytes takes.
    The rest is for ours only: tokens per second in percent of each loop of products, and relative to each peer; kernels
    per step, None on a CPU; memory_bytes, its weights plus its peak beyond them, None if the system does not report it;
    prefill_seconds, the time of the prefill.
    """

    part: str
    batch: int
    at: int
    who: str
    weights: str
    ms: float
    tokens_per_second: float
    step_bytes: int | None = None
    bytes_per_second: float | None = None
    floor_percent: float | None = None
    products_percent: float | None = None
    addmm_percent: float | None = None
    against: Mapping[str, float] = field(default_factory=dict)
    kernels: float | None = None
    memory_bytes: int | None = None
    prefill_seconds: float | None = None


@dataclass(frozen=True)
class SongRow:
    """The estimated time of songs of `song_seconds`, see `estimates.estimate`.

    levels: by name, seconds of work per second of audio of each of the `batch` items sampled together.
    seconds: of work, for all of them.
    reason: why there is no estimate, if memory does not suffice.
    """

    model: str
    weights: str
    batch: int
    song_seconds: float
    levels: Mapping[str, float]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that one call measured. machine: facts by name; copy_bandwidth: bytes read plus written per second."""

    machine: Mapping[str, str]
    copy_bandwidth: float
    peers: Mapping[str, Mapping[str, str]]
    rows: Sequence[Row]
    songs: Sequence[SongRow]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """Return everything as text."""
        lines = [f"{name}: {value}" for name, value in self.machine.items()]
        lines.append(f"copy bandwidth: {self.copy_bandwidth / GB:.1f} GB/s, read plus written, which sets the floor")
        for name, about in self.peers.items():
            lines.append(f"{name}: {', '.join(f'{key} {value}' for key, value in about.items())}")
        for part in dict.fromkeys(row.part for row in self.rows):
            rows = [row for row in self.rows if row.part == part]
            peers = list(dict.fromkeys(peer for row in rows for peer in row.against))
            heads = (*HEADS, *(f"x {peer}" for peer in peers))
            lines += ["", part, *table(heads, [_cells(row, peers) for row in rows])]
        if self.songs:
            lines += ["", *(_song(row) for row in self.songs)]
        return "\n".join(lines)


HEADS = (
    *("batch", "at", "who", "weights", "ms/step", "tokens/s", "GB/s", "% of floor"),
    *("% of products", "% of addmm", "kernels", "MiB", "prefill s"),
)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, columns aligned right; empty columns are left out."""
    columns = [column for column in zip(heads, *rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def _cells(row: Row, peers: Sequence[str]) -> list[str]:
    def shown(value: float | None, digits: int, unit: float = 1.0) -> str:
        return "" if value is None else f"{value / unit:,.{digits}f}"

    return [
        str(row.batch),
        str(row.at),
        row.who,
        row.weights,
        shown(row.ms, 3),
        shown(row.tokens_per_second, 1),
        shown(row.bytes_per_second, 1, GB),
        shown(row.floor_percent, 0),
        shown(row.products_percent, 0),
        shown(row.addmm_percent, 0),
        shown(row.kernels, 0),
        shown(row.memory_bytes, 0, MIB),
        shown(row.prefill_seconds, 2) if row.at else "",
        *(shown(row.against.get(peer), 2) for peer in peers),
    ]


def _song(row: SongRow) -> str:
    what = f"{row.model}, {row.song_seconds:g} s, batch size {row.batch}, {row.weights}"
    if row.reason:
        return f"{what}: {row.reason}"
    levels = ", ".join(f"{name} {value:.2f}" for name, value in row.levels.items())
    return f"{what}: {row.seconds:.0f} s in total; seconds of work per second of audio: {levels}"


def as_text(found: SongEstimate) -> str:
    """Return an estimate as a table, with memory below it, and its summary."""
    heads = ("level", "tokens", "at once", "ms/step", "seconds")
    rows = [
        (str(one.level), f"{one.tokens:,}", str(one.batch), f"{one.ms_per_token:.3f}", f"{one.seconds:.1f}")
        for one in found.levels
    ]
    parts = ", ".join(f"{part} {size / MIB:,.0f} MiB" for part, size in found.weights_bytes.items())
    decoding = [] if found.vqvae_seconds is None else [f"decoding: {found.vqvae_seconds:.1f} s"]
    memory = f"weights: {parts}; free: {found.plan.free / MIB:,.0f} MiB"
    return "\n".join([*(table(heads, rows) if rows else []), *decoding, memory, found.summary])


def as_json(found: SongEstimate) -> dict[str, Any]:
    """Return an estimate as plain values."""
    return {**asdict(found), "fits": found.fits, "seconds": found.seconds}
