"""Presets: shipped ones are valid, saved ones are read as they were written, faulty ones are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.model.weights.definition import shipped_models
from jukebox_kit.song.presets import Preset, find_presets, load_preset, save_preset


def test_those_that_ship_can_be_used() -> None:
    found = [load_preset(path) for path in find_presets().values()]
    assert {bool(preset.request) for preset in found} == {True, False}
    for preset in found:
        assert preset.about
        assert preset.request.get("model", "demo") in shipped_models()


def test_ones_own_come_back_and_go_before_those_that_ship(tmp_path: Path) -> None:
    mine = Preset("wilder", "mine", {"lyrics": "ça: va\nla", "temperature": (0.9, 0.9, 1.2)}, {"batch": 2})
    path = save_preset(mine, tmp_path / "presets")
    assert load_preset(path) == Preset(
        "wilder", "mine", {"lyrics": "ça: va\nla", "temperature": [0.9, 0.9, 1.2]}, {"batch_size": 2}
    )
    assert find_presets(tmp_path / "presets")["wilder"] == path


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="use letters, digits"):
        save_preset(Preset(name), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request: {tempo: 3}", "line 1: request: unknown setting tempo"),
        ("options: {speed: 3}", "line 1: options: unknown setting speed"),
        ("options: {batch: many}", "options: batch must be a whole number, not 'many'"),
        ("request: {seconds: -1}", "line 1: request: seconds must be above 0"),
        ("request: {seconds: long}", "line 1: request: seconds must be a number, not 'long'"),
        ("style: {}", "unknown setting style"),
        ("request: [1]", r"line 1: request must be a mapping, not \[1\]"),
        ("request: {", "line 1: this is not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load_preset(tmp_path / "wrong.yaml")
