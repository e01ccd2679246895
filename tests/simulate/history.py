"""A history: who does what to a song, and what goes wrong. It follows from one number, and can be told in words."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.simulate.machines import Fault

EDITS = ("extend", "trim", "choose", "vary", "undo", "redo", "visit")

OTHERS = ("train", "fetch", "task")

PLACES = ("home", "home", "home", "drive", "shared")  # a local disk, a mount like Google Drive, a network disk

LITTER = (".DS_Store", "desktop.ini", ".ipynb_checkpoints/song-checkpoint.json", "level_2/.DS_Store", "level_1/._codes")

TOKEN_SECONDS = 0.008  # of the top level


@dataclass(frozen=True)
class Step:
    """Something that a process does, beside others or alone.

    act: see `Player`. machine: the number of the one that it runs on. numbers: what the act depends on. beside: steps
    that run at the same time. delay: seconds after which it starts.
    """

    act: str
    machine: int = 0
    numbers: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = ()
    beside: tuple[Step, ...] = ()
    delay: int = 0

    @property
    def words(self) -> str:
        """The step as a line of text."""
        numbers = " ".join(map(str, self.numbers))
        faults = "".join(f", {f.way} ({f.much}) at operation {f.at}" for f in self.faults)
        late = f", {self.delay} s later" if self.delay else ""
        beside = "".join(f"\n      beside it: {step.words}" for step in self.beside)
        return f"{self.act} {numbers} on machine {self.machine}{late}{faults}{beside}"


@dataclass(frozen=True)
class History:
    """A song's history. place: the disk. tokens: of the top level. skews: seconds by which each machine's clock is off.

    locks: whether a network disk has locks. lossy: whether the mount may lose files for good. pace: seconds of work
    that a token takes. until: the level down to which the song is finished at the end.
    """

    seed: int
    place: str
    tokens: int
    items: int
    chunks: int
    steps: tuple[Step, ...]
    skews: tuple[int, ...] = (0, 0)
    locks: bool = True
    lossy: bool = False
    pace: int = 1
    until: int = 0

    @property
    def everyone(self) -> tuple[Step, ...]:
        """All steps, also those beside others."""
        return tuple(one for step in self.steps for one in (step, *step.beside))

    @property
    def alone(self) -> bool:
        """Whether only one machine works on the song, so that it sees all that was ever saved."""
        return all(step.machine == 0 for step in self.everyone)

    @property
    def words(self) -> str:
        """The history as text."""
        where = self.place + ("" if self.locks else " without locks") + (", lossy" if self.lossy else "")
        head = f"seed {self.seed}: {self.items} items of {self.tokens} tokens on {where}, clocks off by {self.skews}"
        return "\n".join([head, *(f"  {n}. {step.words}" for n, step in enumerate(self.steps, 1))])


def history_of(seed: int) -> History:
    """Return the history of a seed."""
    chance = random.Random(seed)
    kind = chance.random()
    if kind < 0.18:
        return _two_at_once(seed, chance) if kind < 0.12 else _handed_over(seed, chance)
    place = chance.choice(PLACES)
    steps = [_step(chance, place) for _ in range(chance.choice((1, 1, 1, 2, 2, 3)))]
    if steps[0].act in EDITS:
        steps.insert(0, Step("sample", 0, (2, 9, 0, 2)))
    return History(
        seed,
        place,
        tokens=chance.choice((1, 1, 2, 2, 3)),
        items=chance.choice((1, 1, 2)),
        chunks=chance.choice((1, 1, 1, 2)),
        steps=tuple(steps),
        skews=(0, chance.choice((0, 0, 45, -45, 500, -500))),
        locks=chance.random() < 0.7,
        lossy=place == "drive" and chance.random() < 0.3,
        pace=chance.choice((1, 1, 1, 1, 1, 1, 1, 40)),
        until=chance.choice((0, 1, 2, 2, 2, 2, 2)),
    )


def _two_at_once(seed: int, chance: random.Random) -> History:
    """Return a history in which one process sleeps while another one comes to the song."""
    place, locks = chance.choice((("drive", True), ("shared", False), ("shared", True), ("home", True)))
    asleep = chance.choice((1, 20, 50, 70, 200, 4000))
    sleeps = Fault(int(2 ** chance.uniform(5, 8.5)), chance.choice(("pause", "suspend")), asleep)
    others = (0, chance.choice((2, 20, 60, 100, 160)), chance.choice((2, 20, 60, 100, 160)))
    machines = [0 if place == "home" else chance.choice((0, 1)) for _ in others]

    def step(number: int, *faults: Fault) -> Step:
        save_every = chance.choice((0, 3, 9))
        return Step("sample", machines[number], (0, save_every, 0, 2), faults, delay=others[number])

    more = () if chance.random() < 0.6 else (step(2),)
    steps = (Step("sample", 0, (2, 9, 1, 2)), replace(step(0, sleeps), beside=(step(1), *more)))
    return History(seed, place, 3, 1, 1, steps, (0, chance.choice((0, 45, -45, 500))), locks, until=1)


def _handed_over(seed: int, chance: random.Random) -> History:
    """Return a history in which work on a mount is carried on by another machine, while files are on their way."""
    act, steps = chance.choice(("sample", "shard", "train")), list[Step]()
    for number in range(chance.choice((2, 2, 3))):
        steps.append(replace(_alone(chance, "drive", act), machine=1 - number % 2))
        steps += [Step("exchange", 0, (0,))] * chance.choice((1, 1, 2))
    return History(seed, "drive", chance.choice((1, 2, 3)), 1, 1, tuple(steps), until=2)


def _step(chance: random.Random, place: str) -> Step:
    act = chance.choice(("sample",) * 4 + ("edit", "edit", "shard", "litter", "fork", "upsample") + OTHERS)
    if place == "drive" and chance.random() < 0.2:
        act = "exchange"
    step = _alone(chance, place, act)
    crowded = chance.random() < (0.05 if place == "home" else 0.3)
    if not crowded or act in ("litter", "exchange", "train", "fetch"):
        return step
    acts = [chance.choice(("sample", "sample", "edit", "shard")) for _ in range(chance.choice((1, 1, 2)))]
    others = [_alone(chance, place, other) for other in acts]
    return replace(step, beside=tuple(replace(one, delay=chance.choice((0, 0, 1, 5, 70))) for one in others))


def _alone(chance: random.Random, place: str, act: str) -> Step:
    machine = 0 if place == "home" or act == "fetch" else chance.choice((0, 0, 1))
    numbers: tuple[int, ...] = ()
    if act == "edit":
        act = chance.choice(EDITS)
    if act == "sample":
        until, stop = chance.choice((0, 1, 1, 2, 2, 2, 2, 2)), chance.choice((0, 0, 0, chance.choice((1, 2, 5, 20))))
        numbers = until, chance.choice((0, 3, 9, 30)), stop, chance.choice((1, 2))
    elif act in ("extend", "trim", "choose", "visit", "fork", "upsample", "litter", "exchange", *OTHERS):
        numbers = (chance.randint(0, 999),)
    elif act == "shard":
        numbers = chance.choice((0, 1, 2)), chance.randint(0, 9), chance.choice((0, 3, 30))
    return Step(act, machine, numbers, _faults(chance, place) if act not in ("litter", "exchange") else ())


def _faults(chance: random.Random, place: str) -> tuple[Fault, ...]:
    count = chance.choice((0, 1, 1, 1, 2))
    ways = ["kill", "kill", "torn", "power", "power", "ENOSPC", "EIO", "EROFS"]
    if place != "home":
        ways += ["pause", "suspend", "jump", "EDQUOT", "ENOTCONN"]
    faults: list[Fault] = []
    for _ in range(count):
        at = int(2 ** chance.uniform(0, 9.5))
        way = chance.choice(ways)
        much = chance.choice((1, 1, 3, 100000))
        if way in ("pause", "suspend"):
            much = chance.choice((1, 20, 50, 70, 200, 4000))
        elif way == "jump":
            much = chance.choice((1, 20, 70, 600))
        faults.append(Fault(at, way, much))
    return tuple(sorted(faults, key=lambda fault: fault.at))
