"""What the kernels take of a GPU, told by the assembler that Triton brings: no GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.kernels
SHARED = 99 * 1024  # bytes of shared memory that the smallest GPU from sm_80 on gives a program


def compiled(capability: int) -> list[dict[str, Any]]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.kernels.resources", str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("capability", [75, 80, 90])
def test_kernels_of_the_released_parts_compile_and_do_not_spill(capability: int) -> None:
    rows = compiled(capability)
    assert {row["N_IN"] for row in rows if "N_IN" in row} >= {480, 1920, 1200, 4800}
    for row in rows:
        assert row["spills"] == 0, row
        assert row["shared"] <= SHARED, row
        if row["kernel"] == "map_by_products":
            assert row["products"] > 0, row
    assert any(row["kernel"] == "map_by_products" for row in rows) == (capability >= 80)
