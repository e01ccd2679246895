"""Speed, time left and the clock."""

from __future__ import annotations

import time

from jukebox_kit.steps.progress import Progress, Speed, duration


def test_speed_and_time_left_are_those_of_late() -> None:
    speed = Speed()
    assert (speed.rate, speed.left) == (None, None)
    assert speed.summary() == "measuring the speed …"
    for second in range(100):  # ten tokens a second, then a hundred
        done = 10 * second if second < 50 else 500 + 100 * (second - 50)
        speed.note(Progress(1, done, 6400), float(second))
    assert speed.rate == 100
    assert speed.left == (6400 - 5400) / 100
    wall = time.mktime((2026, 1, 1, 23, 59, 55, 0, 0, -1))
    assert speed.summary(wall) == "100 tokens/s, 10 s left, done at 00:00"


def test_a_new_level_and_a_level_begun_again_start_anew() -> None:
    speed = Speed()
    for level, done in ((2, 0), (2, 50), (1, 0)):
        speed.note(Progress(level, done, 100), float(done))
    assert speed.rate is None
    speed.note(Progress(1, 20, 100), 2.0)
    assert speed.rate == 10
    speed.note(Progress(1, 5, 100), 3.0)
    assert speed.rate is None


def test_lengths_of_time_are_told_as_people_do() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3599, 3600, 9000)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "59 min 59 s",
        "1 h 00 min",
        "2 h 30 min",
    ]
