"""One seed, one history: what is kept survives whatever happens to disks, clocks and processes."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulate.history import history_of
from tests.simulate.mutants import MUTANTS, PACKAGE
from tests.simulate.run import broken, history_from, missing, play_share, report, run_seeds, simulating
from tests.simulate.standin import StandIn

PAST = json.loads((Path(__file__).parent / "past.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model() -> Iterator[StandIn]:
    with simulating() as standing_in:
        yield standing_in


@pytest.mark.parametrize("one", PAST, ids=[one["found"] for one in PAST])
def test_a_history_that_once_broke_a_promise_keeps_it(one: dict[str, object], model: StandIn) -> None:
    history = history_from(one["history"])  # type: ignore[arg-type]
    what, lines = broken(history, model)
    assert not what, "\n".join([history.words, *lines])


def test_a_seed_tells_the_same_history_byte_for_byte(model: StandIn) -> None:
    for seed in range(700, 712):
        assert history_of(seed) == history_of(seed)
        first = "\n".join(broken(history_of(seed), model)[1])
        assert first.encode() == "\n".join(broken(history_of(seed), model)[1]).encode()
        assert first


def test_each_sabotage_is_of_one_line_that_exists() -> None:
    for mutant in MUTANTS:
        assert (PACKAGE / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1, mutant.why
        assert mutant.new.count("\n") <= mutant.old.count("\n")


def test_a_few_histories() -> None:
    outcome = play_share((0, 60))
    assert not outcome.failure, outcome.failure


@pytest.mark.histories
def test_histories_of_a_new_seed_each_day(capsys: pytest.CaptureFixture[str]) -> None:
    seed = datetime.datetime.now(datetime.timezone.utc).date().toordinal() * 100_000
    outcome = run_seeds(seed, 100_000, 90.0)
    with capsys.disabled():
        sys.stdout.write(f"\nhistories from seed {seed} on\n{report(outcome)}")
    assert not outcome.failure, outcome.failure
    spared = [one for one in missing(outcome.tally) if one[1] in outcome.tally.reached]
    assert not spared, "each file operation that a step came to fails in each way"
