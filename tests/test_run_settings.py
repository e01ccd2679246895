"""Settings of a run are checked as fields of a request are: numbers of any library, and one sentence for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jukebox_kit.errors import RequestError
from jukebox_kit.jobs.album.schedule import AlbumSettings
from jukebox_kit.steps import RunSettings
from tests.conftest import shell

SECONDS = ("save_every", "preview_every")
NO_NUMBERS: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    -float("inf"),
    -1,
    -1e-9,
    True,
    None,
    "10",
    b"1",
    [1.0],
    1 + 0j,
)
NO_COUNTS: tuple[Any, ...] = (0, -1, 2.5, 2.0, True, None, "2", float("inf"), float("nan"), np.float32(2), (2,))
NO_TEXTS: tuple[Any, ...] = (5, 0.5, True, b"cpu", ["cpu"], "cpu\0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in SECONDS for value in (*NO_NUMBERS, np.float64("nan"), torch.tensor(-1.0))),
        *(("batch_size", value) for value in NO_COUNTS),
        *((name, value) for name in ("device", "precision", "engine") for value in NO_TEXTS),
        *((name, None) for name in ("precision", "engine")),
        *((name, value) for name in ("progress", "stop") for value in (1, True, "print", [1])),
    ],
)
def test_what_is_not_a_setting_is_refused_with_its_name(name: str, value: Any) -> None:
    wanted = r"the device .* is not supported; choose" if name == "device" else f"{name} must be"
    with pytest.raises(RequestError, match=rf"^{wanted} [^\n]*\.$") as caught:
        RunSettings(**{name: value})
    assert caught.value.field == name


NUMBERS: tuple[Any, ...] = (0, 2, 2.5, np.float32(2.5), np.int64(2), np.array(2.0), torch.tensor(2))


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_of_any_library_are_numbers(value: Any) -> None:
    run = RunSettings(save_every=value, preview_every=value)
    assert type(run.save_every) is type(run.preview_every) is float
    assert run.save_every == float(value)


COUNTS: tuple[Any, ...] = (2, np.int64(2), np.array(2), torch.tensor(2))


@pytest.mark.parametrize("value", COUNTS)
def test_counts_of_any_library_are_counts(value: Any) -> None:
    assert type(RunSettings(batch_size=value).batch_size) is int


def test_a_device_may_be_one_of_torch() -> None:
    assert RunSettings(device=torch.device("cpu")).device == "cpu"  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0])
def test_an_albums_patience_is_checked_likewise(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^patience must be .*\.$"):
        AlbumSettings(patience=value)


@pytest.mark.parametrize("command", ["sample", "album", "overnight"])
@pytest.mark.parametrize("value", ["nan", "-1", "inf"])
def test_the_shell_names_the_option_and_writes_nothing(
    command: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell(monkeypatch, command, "somewhere", "--save-every", value) == 1
    assert capsys.readouterr().err.startswith("jukebox-kit: --save-every must be ")
    assert not list(tmp_path.iterdir())
