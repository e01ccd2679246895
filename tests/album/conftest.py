"""What the tests of albums share: a file is written, and its faults are taken apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.jobs.album.album import load_album

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes an album's file; songs would go below the same folder."""
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        (tmp_path / "album.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "album.yaml"

    return written


def faults_of(path: Path) -> list[tuple[int, str]]:
    """Return the faults of a file, (line, sentence)."""
    with pytest.raises(ConfigurationError) as raised:
        load_album(path)
    first, *others = str(raised.value).split("\n")
    if not others:
        only = re.fullmatch(rf"{re.escape(str(path))}, line (\d+): (.+)", first)
        assert only, first
        return [(int(only[1]), only[2])]
    assert first == f"{path} has {len(others)} faults:"
    found = [re.fullmatch(r"  line (\d+): (.+)", line) for line in others]
    return [(int(match[1]), match[2]) for match in found if match]
