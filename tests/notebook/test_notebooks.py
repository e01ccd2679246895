"""The notebooks from top to bottom without a person, with the demo model; and what they leave is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import soundfile
from nbclient import NotebookClient

from jukebox_kit.song.song import Song
from jukebox_kit.training.runs import read_run
from tests.conftest import TESTS

NOTEBOOKS = TESTS.parent / "notebooks"


def run_notebook(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Any:
    """Run a notebook in a folder and return it as it then is; `changes` are made to its cells before."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    notebook = _read(name)
    for before, after in changes.items():
        found = [cell for cell in notebook.cells if before in cell.source]
        assert found, before
        for cell in found:
            cell.source = cell.source.replace(before, after)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(notebook, folder / name)  # type: ignore[no-untyped-call]  # nbformat leaves it so
    text = (folder / name).read_text()
    assert "Traceback" not in text
    return notebook


def _read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)  # type: ignore[no-untyped-call]  # as above


@pytest.mark.parametrize("name", ["compose.ipynb", "finetune.ipynb", "resume_overnight.ipynb"])
def test_they_hold_words_and_calls_and_no_output(name: str) -> None:
    notebook = _read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert not any(word in cell.source for word in ("def ", "class ", "for ", "if ", "while ", "lambda"))


def test_compose_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run_notebook("compose.ipynb", tmp_path, monkeypatch)
    song = Song.open(tmp_path / "songs" / "from-code")
    assert all(status.done == status.total for status in song.status())
    assert (song.root / "index.html").exists()
    assert sum(len(output.get("text", "")) for cell in notebook.cells for output in cell.get("outputs", [])) < 500
    assert (tmp_path / "compose.ipynb").stat().st_size < 2_000_000


def test_resume_overnight_finishes_what_is_there(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    songs = tmp_path / "songs"
    for name in ("a", "b"):
        Song.create(songs / name, model=tiny, seconds=0.3)
    (songs / "broken").mkdir()
    (songs / "broken" / "song.json").write_text("{")
    run_notebook("resume_overnight.ipynb", tmp_path, monkeypatch, **{"start=False": "start=True"})
    for name in ("a", "b"):
        assert all(status.done == status.total for status in Song.open(songs / name).status())
    text = (tmp_path / "resume_overnight.ipynb").read_text()
    assert "2 finished, 1 failed" in text
    assert "song.json is damaged" in text
    assert len(text) < 100_000


DRIVEN = """tuning = nb.finetune(songs)
tuning.music.base.widget.options = [("tiny", "{tiny}")]
tuning.music.folder.widget.value = "band"
tuning.music.prepare.click()
tuning.wait()
tuning.form.steps.widget.value = "2"
tuning.form.plan.click()
tuning.wait()
tuning.form.start.click()"""


def test_finetune_leaves_a_model_to_sample_from(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.sin(np.arange(16000 * 8) * 0.05)
    (tmp_path / "band").mkdir()
    for number in range(2):
        soundfile.write(tmp_path / "band" / f"{number}.wav", wave * (0.5 + 0.1 * number), 16000)
    driven = DRIVEN.replace("{tiny}", str(tiny))
    changes = {"songs = nb.setup()": "songs = 'songs'", "tuning = nb.finetune(songs)": driven}
    run_notebook("finetune.ipynb", tmp_path, monkeypatch, **changes)  # setting up is measured with compose.ipynb
    run = read_run(tmp_path / "models" / "mine", 2)
    assert run is not None
    assert run.finished
    assert (tmp_path / "models" / "mine" / "index.html").is_file()
    assert (tmp_path / "finetune.ipynb").stat().st_size < 2_000_000
