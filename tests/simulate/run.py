"""Plays the histories of many seeds, makes a failing one short, and reports what happened."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from tests.simulate import boundary
from tests.simulate.history import History, Step, history_of
from tests.simulate.judge import Violation
from tests.simulate.machines import START, Fault, Point, Reached, Tally
from tests.simulate.play import Player
from tests.simulate.standin import StandIn, standing_in
from tests.simulate.world import World

SHARE = 250  # histories that a worker process plays at a time

WAYS = ("kill", "torn", "power", "EIO", "ENOSPC", "EROFS")

WRITES = {  # the operations that an error can come from; the other ways are possible at each
    "ENOSPC": ("write", "create", "mkdir", "fsync", "rename"),
    "EROFS": ("create", "mkdir", "rename", "unlink"),
    "torn": ("write",),
}


@dataclass
class Outcome:
    """What happened in many histories. failure: the first one that broke a promise, as short as possible, in words."""

    tally: Tally = field(default_factory=Tally)
    histories: int = 0
    seconds: float = 0.0
    failure: str = ""
    history: History | None = None


@contextmanager
def simulating() -> Iterator[StandIn]:
    """Replace the operating system and the model; enter it once for many histories."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch.dict(os.environ, {"XDG_STATE_HOME": "/sim/home/state"}), standing_in() as model:
            os.environ.pop("JUKEBOX_KIT_STORE", None)
            with boundary.simulated(World(0, Tally())):
                yield model
    finally:
        logging.disable(disabled)


def play(history: History, model: StandIn, tally: Tally | None = None) -> list[str]:
    """Play a history and return what happened, in words; Violation if a promise was broken."""
    player = Player(history, model, tally if tally is not None else Tally())
    try:
        return player.play()
    finally:
        player.world.tally.seconds += player.world.now - START


def broken(history: History, model: StandIn) -> tuple[str, list[str]]:
    """Return which promise a history breaks, nothing if none, and what happened until then."""
    player = Player(history, model, Tally())
    try:
        player.play()
    except Violation as violation:
        return str(violation), player.world.lines
    return "", player.world.lines


def run_seeds(first: int, count: int, seconds: float, processes: int = 1) -> Outcome:
    """Play the histories of seeds from `first` on, for at most so many seconds, in several processes."""
    shares = [(seed, min(SHARE, first + count - seed)) for seed in range(first, first + count, SHARE)]
    outcome, began = Outcome(), time.perf_counter()
    if processes == 1:
        _gather(outcome, map(play_share, shares), began, seconds)
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            _gather(outcome, pool.imap_unordered(play_share, shares), began, seconds)
    if not outcome.failure:
        _fail_everywhere(outcome)
    return outcome


def _gather(outcome: Outcome, parts: Iterator[Outcome], began: float, seconds: float) -> None:
    for part in parts:
        outcome.tally.add(part.tally)
        outcome.histories += part.histories
        outcome.seconds = time.perf_counter() - began
        if part.failure or outcome.seconds > seconds:
            outcome.failure, outcome.history = part.failure, part.history
            return


def _fail_everywhere(outcome: Outcome) -> None:
    """Let the file operations that never failed in some way do so, in the history that first reached them."""
    with simulating() as model:
        for way, point in missing(outcome.tally):
            if point not in outcome.tally.reached:
                continue
            outcome.histories += 1
            if _breaks(with_fault(outcome.tally.reached[point], way), model, outcome):
                return


def with_fault(reached: Reached, way: str) -> History:
    """Return the history that came to a file operation, with one more fault there."""
    history, (number, which) = history_of(reached.seed), reached.step
    step = history.steps[number]
    many = [step, *step.beside]
    before, after = many[which].faults[: reached.faults], many[which].faults[reached.faults :]
    many[which] = replace(many[which], faults=(*before, Fault(reached.operation, way), *after))
    step = replace(many[0], beside=tuple(many[1:]))
    return replace(history, steps=(*history.steps[:number], step, *history.steps[number + 1 :]))


def play_share(share: tuple[int, int]) -> Outcome:
    """Play the histories of so many seeds from the first on, until one breaks a promise."""
    outcome = Outcome()
    with simulating() as model:
        for seed in range(share[0], sum(share)):
            history = history_of(seed)
            outcome.histories += 1
            if _breaks(history, model, outcome):
                break
    return outcome


def _breaks(history: History, model: StandIn, outcome: Outcome) -> bool:
    """Play a history; return whether it breaks a promise, which is then the outcome."""
    try:
        play(history, model, outcome.tally)
    except Violation as violation:
        short = shortest(history, str(violation), model)
        outcome.failure, outcome.history = told(history, short, model), short
        return True
    return False


def told(history: History, short: History, model: StandIn) -> str:
    """Return a failing history in words, with what happened in the shortest one that fails."""
    what, lines = broken(short, model)
    happened = "\n".join(lines)
    return f"seed {history.seed}: {what}\n\nthe shortest history that does it:\n{short.words}\n\n{happened}\n"


def kind_of(violation: str) -> str:
    """Return which promise was broken, without names and numbers."""
    return re.sub(r"[/\w.-]*\d[\w./-]*|/[\w./-]+", "…", violation)[:60]


def shortest(history: History, violation: str, model: StandIn) -> History:
    """Return a history that breaks the same promise with as few steps and faults as possible."""
    kind, found = kind_of(violation), True
    while found:
        found = False
        for shorter in _shorter(history):
            if kind_of(broken(shorter, model)[0]) == kind:
                history, found = shorter, True
                break
    return history


def _shorter(history: History) -> Iterator[History]:
    steps = history.steps
    for number in range(len(steps)):
        if len(steps) > 1:
            yield replace(history, steps=(*steps[:number], *steps[number + 1 :]))
    for number, step in enumerate(steps):
        for shorter in _shorter_steps(step):
            yield replace(history, steps=(*steps[:number], shorter, *steps[number + 1 :]))
    simple: dict[str, Any] = {"items": 1, "chunks": 1, "tokens": 1, "skews": (0, 0), "pace": 1, "until": 2}
    for name, value in simple.items():
        if getattr(history, name) != value:
            yield replace(history, **{name: value})


def _shorter_steps(step: Step) -> Iterator[Step]:
    for number in range(len(step.beside)):
        yield replace(step, beside=(*step.beside[:number], *step.beside[number + 1 :]))
    for number in range(len(step.faults)):
        yield replace(step, faults=(*step.faults[:number], *step.faults[number + 1 :]))
    for number, fault in enumerate(step.faults):
        if fault.much > 1:
            yield replace(step, faults=(*step.faults[:number], replace(fault, much=1), *step.faults[number + 1 :]))
    for number, other in enumerate(step.beside):
        for shorter in _shorter_steps(other):
            yield replace(step, beside=(*step.beside[:number], shorter, *step.beside[number + 1 :]))


def report(outcome: Outcome) -> str:
    """Return what happened as text."""
    tally = outcome.tally
    rate = outcome.histories / max(outcome.seconds, 1e-9) * 60
    lines = [
        f"{outcome.histories:,} histories in {outcome.seconds:,.0f} s, {rate:,.0f} a minute",
        f"{tally.seconds / 3600:,.0f} simulated hours, {tally.processes:,} processes, "
        f"{tally.operations:,} file operations",
        "faults: " + ", ".join(f"{count:,} {way}" for way, count in tally.faults.most_common()),
        "steps: " + ", ".join(f"{count:,} {act}" for act, count in tally.steps.most_common()),
        *coverage(tally),
        "",
        outcome.failure or "no promise was broken",
        "",
    ]
    return "\n".join(lines)


def coverage(tally: Tally) -> list[str]:
    """Return how many of the package's file operations failed in each way, and which did not, as lines of text."""
    points = [point for point in tally.points if point[0]]
    never = missing(tally)
    lines = [f"file operations of the package: {len(points)} places"]
    for way in WAYS:
        possible = sum(_possible(way, point) for point in points)
        lines.append(f"  {way}: {possible - sum(one == way for one, _ in never)} of {possible}")
    words = [f"{way} at {point[1]} in {point[0]}" for way, point in never]
    return lines + [f"  never: {', '.join(words[:12])}"] * bool(words)


def missing(tally: Tally) -> list[tuple[str, Point]]:
    """Return in which way which file operation of the package could have failed, and did not."""
    points = sorted((point, ways) for point, ways in tally.points.items() if point[0])
    return [(way, point) for way in WAYS for point, ways in points if way not in ways and _possible(way, point)]


def _possible(way: str, point: Point) -> bool:
    return point[1] in WRITES.get(way, (point[1],))


def history_from(values: dict[str, Any]) -> History:
    """Return a history from what `dataclasses.asdict` makes of it."""

    def step(one: dict[str, Any]) -> Step:
        faults = tuple(Fault(**fault) for fault in one["faults"])
        beside = tuple(step(other) for other in one["beside"])
        return Step(**{**one, "numbers": tuple(one["numbers"]), "faults": faults, "beside": beside})

    steps = tuple(step(one) for one in values["steps"])
    return History(**{**values, "steps": steps, "skews": tuple(values["skews"])})
