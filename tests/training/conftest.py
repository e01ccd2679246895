"""Datasets that the tests of training share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jukebox_kit.training.dataset import Dataset, Preparation, prepare
from tests.conftest import TESTS
from tests.own_music import ORGAN, write_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with six clips of an unknown artist, with lyrics and a metadata.csv."""
    return write_clips(tmp_path_factory.mktemp("music") / "clips", [ORGAN], 6, 3, (9.0, 12.0))


@pytest.fixture(scope="session")
def small_data(clips: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return a dataset of these clips for the tiny model."""
    return prepare(clips, tmp_path_factory.mktemp("data") / "mine", Preparation(str(tiny), 0.2))


def torchrun(count: int, *words: object, code: int = 0) -> str:
    """Run a command in several processes, which end with `code`; returns what it reported."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(
        [*command, "-m", "jukebox_kit", *map(str, words)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr
