"""The page of a fine-tuned model: which values are the model, and how far a run is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jukebox_kit.training.curves import Measured, best_step, curves_svg
from jukebox_kit.training.page import RunProgress, Trained, write_curves, write_page, write_takes
from jukebox_kit.training.settings import FineTuning

ROWS = [Measured(0, None, 6.0, None), Measured(10, 4.0, 5.0, None), Measured(20, 3.0, 5.5, None)]


def test_the_model_is_the_best_measurement() -> None:
    assert best_step([]) is None
    assert best_step(ROWS[:1]) is None
    assert best_step(ROWS) == 10
    assert best_step([ROWS[0], replace(ROWS[1], held_out=6.5)]) is None
    assert best_step([replace(row, held_out=None) for row in ROWS]) == 20


@pytest.mark.parametrize(
    ("step", "ended", "stopped", "summary"),
    [
        (50, False, False, "training: step 50 of 100, about 1 min 40 s left"),
        (100, True, True, "finished: 100 steps"),
        (50, True, False, "stopped early: after step 50 of 100: held-out songs got no better"),
        (50, False, True, "stopped: at step 50 of 100; run the same command again to resume"),
    ],
)
def test_the_state_of_a_run(step: int, ended: bool, stopped: bool, summary: str) -> None:
    progress = RunProgress.of(step, FineTuning(steps=100), ended, stopped, 2.0)
    assert f"{progress.state}: {progress.summary}" == summary
    assert RunProgress.of(0, FineTuning(steps=100), False, False, None).summary == "step 0 of 100"


def test_curves_are_the_same_bytes_each_time_in_two_schemes() -> None:
    dark, light = (curves_svg(ROWS, scheme) for scheme in ("dark", "light"))
    assert dark == curves_svg(ROWS, "dark") != light


def test_names_are_text_and_files_are_there(tmp_path: Path) -> None:
    write_takes(tmp_path, "level_1", 0, [np.zeros(800, np.float32)], 16000)
    write_takes(tmp_path, "level_1", 10, [np.zeros(800, np.float32)], 16000)
    write_curves(tmp_path, Trained("level_1"), ROWS)
    progress = RunProgress.of(20, FineTuning(steps=100), False, False, None)
    write_page(tmp_path, "<b>", Trained("level_1"), [("base", "<i>")], ROWS, ["<script>x</script>"], progress)
    page = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt; after 10 steps: the model" in page
    assert "<i>" not in page
    assert "<script>x" not in page
    files = re.findall(r'(?:src|srcset)="([^"]+)"', page)
    assert len(files) == 6
    assert all((tmp_path / file).is_file() for file in files)
