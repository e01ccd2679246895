"""The benchmark: every prior, batch size and position, with all contenders taking turns, in one call."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jukebox_kit.checks.bench.hardware import Memory, copy_bandwidth, kernels
from jukebox_kit.checks.bench.measuring import LEAD, Contender, Ours, interleaved, steps_taken
from jukebox_kit.checks.bench.peers import Peer, check_peer
from jukebox_kit.checks.bench.products import Products, plain_products, products_of
from jukebox_kit.checks.bench.report import Report, Row, SongRow
from jukebox_kit.checks.bench.shapes import Subject, build, step_bytes
from jukebox_kit.engine import Placement, SamplingParams, threads_for
from jukebox_kit.errors import RequestError
from jukebox_kit.model import Prior
from jukebox_kit.model.weights import PARTS, ModelDefinition
from jukebox_kit.steps import Measured, estimate

CHOICE = SamplingParams(0.99)

PROFILED = 4  # steps

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What to measure.

    placements: one for each precision, on one device.
    batches: batch sizes.
    ats: positions of the window to begin at; None for an empty window and a half-full one.
    rounds: in each, every contender runs `steps` steps.
    against: names of peers.
    interpreter: a Python that has them.
    Raises RequestError for impossible values.
    """

    subjects: tuple[Subject, ...]
    placements: tuple[Placement, ...]
    batches: tuple[int, ...] = (1,)
    ats: tuple[int, ...] | None = None
    rounds: int = 7
    steps: int = 20
    against: tuple[str, ...] = ()
    interpreter: Path | None = None

    def __post_init__(self) -> None:
        for name in ("subjects", "placements", "batches"):
            if not getattr(self, name):
                raise RequestError(f"there are no {name} to measure; give at least one.")
        low = min(*self.batches, self.rounds, self.steps)
        if low < 1:
            raise RequestError(f"batch, rounds and tokens must be at least 1, not {low}.")
        further = steps_taken(self.rounds, self.steps) + LEAD + PROFILED
        for subject in self.subjects:
            for at in self.positions(subject):
                if at < 0 or at + further > subject.config.n_ctx:
                    raise RequestError(
                        f"{subject.name} has a window of {subject.config.n_ctx} tokens, too short for {further} from "
                        f"position {at}; choose another position, or fewer rounds or tokens."
                    )
        for name in self.against:
            check_peer(name, self.placements[0], self.subjects, self.interpreter)

    def positions(self, subject: Subject) -> tuple[int, ...]:
        """Return the positions that a prior is measured from."""
        return (0, subject.config.n_ctx // 2) if self.ats is None else self.ats


def run_bench(bench: Bench, say: Say) -> Report:
    """Measure, and log what is being measured."""
    device = bench.placements[0].device
    say("measuring the copy bandwidth")
    bandwidth = copy_bandwidth(device)
    rows, about = list[Row](), dict[str, dict[str, str]]()
    threads = torch.get_num_threads()
    for subject in bench.subjects:
        with threads_for(subject.config), ExitStack() as opened:
            say(f"{subject.name}: building")
            counts = {threads, torch.get_num_threads()} if device.type == "cpu" else {threads}
            peers = [
                opened.enter_context(Peer(name, subject, bench.placements[0], count, bench.interpreter))
                for name in bench.against
                for count in sorted(counts, reverse=True)  # with its default number of threads, and with ours
            ]
            about |= {peer.name: peer.about for peer in peers}
            stand = _Stand(subject, bench, peers, bandwidth)
            for batch in bench.batches:
                for at in bench.positions(subject):
                    say(f"{subject.name}: batch size {batch}, from token {at}")
                    found = stand.measure(batch, at)
                    say(", ".join(f"{row.who} {row.weights} {row.tokens_per_second:,.1f} tokens/s" for row in found))
                    rows += found
    return Report(machine(device), bandwidth, about, rows, ())


def songs(definition: ModelDefinition, placement: Placement, batches: tuple[int, ...], seconds: float) -> list[SongRow]:
    """Return the estimated time of songs of a model at each batch size, including prefill and decoding."""
    measured, found = Measured(), list[SongRow]()
    for batch in batches:
        one = estimate(definition, seconds, batch, placement, batch, measured)
        levels = {PARTS[level.level + 1]: level.seconds / seconds for level in one.levels}
        found.append(SongRow(definition.name, placement.weights, batch, seconds, levels, one.seconds, one.reason))
    return found


def machine(device: torch.device) -> dict[str, str]:
    """Return what the numbers depend on besides the code."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "torch": torch.__version__}
    threads = f"{torch.get_num_threads()}; ours uses one if linear layers are too small for more"
    return {
        "device": f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "threads": threads,
    }


class _Stand:
    """All contenders for one prior, built once."""

    def __init__(self, subject: Subject, bench: Bench, peers: list[Peer], bandwidth: float) -> None:
        self.subject, self.bench, self.peers, self.bandwidth = subject, bench, peers, bandwidth
        self.memory = Memory(bench.placements[0].device)
        self.priors: list[Prior] = []
        self.weights: list[int | None] = []
        for placement in bench.placements:
            before = self.memory.held()
            self.priors.append(build(subject, placement))
            self.weights.append(_between(before, self.memory.held()))
        maps = [products_of(prior) for prior in self.priors]
        self.products = [Products(own, placement) for own, placement in zip(maps, bench.placements, strict=True)]
        self.addmm = Products(plain_products(maps[0], bench.placements[0]), bench.placements[0])

    def measure(self, batch: int, at: int) -> list[Row]:
        """Return the rows of one batch size and position: ours, products, plain products, peers."""
        rounds, steps = self.bench.rounds, self.bench.steps
        ours = [Ours(*both, CHOICE) for both in zip(self.priors, self.bench.placements, strict=True)]
        held = [self._warmed(one, batch, at) for one in ours]
        others: list[Contender] = [*self.products, self.addmm, *self.peers]
        for other in others:
            other.begin(batch, at)
            other.run(LEAD + steps)
        seconds = interleaved([*ours, *others], rounds, steps)
        names = [placement.weights for placement in self.bench.placements]
        whos = [*(("ours", name) for name in names), *(("products", name) for name in names)]
        whos.append(("addmm", "float32" if ours[0].placement.on_cpu else "float16"))
        whos += [(peer.name, peer.about["weights"]) for peer in self.peers]
        rows = [
            Row(self.subject.name, batch, at, who, weights, 1000 * taken, batch / taken)
            for (who, weights), taken in zip(whos, seconds, strict=True)
        ]
        for index, one in enumerate(ours):
            memory = _sum(self.weights[index], held[index])
            rows[index] = replace(self._whole(rows[index], one, rows), memory_bytes=memory)
        return rows

    def _warmed(self, one: Ours, batch: int, at: int) -> int | None:
        """Begin and warm up; returns the peak memory meanwhile, minus the memory in use before."""
        before, fresh = self.memory.held(), self.memory.forget()
        one.begin(batch, at)
        one.run(LEAD + self.bench.steps)
        return _between(before, self.memory.peak()) if fresh else None

    def _whole(self, row: Row, one: Ours, rows: list[Row]) -> Row:
        """Return our row, with its ratios to the others."""
        middle = row.at + steps_taken(self.bench.rounds, self.bench.steps) // 2
        size, seconds = step_bytes(one.prior, one.placement, row.batch, middle), row.ms / 1000

        def share(who: str, weights: str | None = None) -> float:
            found = next(r for r in rows if r.who == who and weights in (None, r.weights))
            return row.tokens_per_second / found.tokens_per_second

        return replace(
            row,
            step_bytes=size,
            bytes_per_second=size / seconds,
            floor_percent=100 * size / self.bandwidth / seconds,
            products_percent=100 * share("products", row.weights),
            addmm_percent=100 * share("addmm"),
            against={peer.name: share(peer.name) for peer in self.peers},
            kernels=None if one.placement.on_cpu else kernels(one.run, PROFILED),
            prefill_seconds=one.prefill_seconds,
        )


def _between(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
