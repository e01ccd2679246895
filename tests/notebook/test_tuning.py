"""The panel for your own model without a browser: recordings, plan, training, Stop, Resume, and what it says."""

from __future__ import annotations

import html
import io
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from jukebox_kit import notebook as nb
from jukebox_kit.model.weights.definition import own_models
from jukebox_kit.notebook.background import Worker
from jukebox_kit.notebook.sections import training as form_section
from jukebox_kit.notebook.sections.upload import Uploads, upload_buttons
from jukebox_kit.notebook.tuning import TuningPanel
from jukebox_kit.training.runs import read_run
from jukebox_kit.training.settings import FineTuning

QUICK = FineTuning(
    steps=8, warm_up=1, evaluate_every=2, windows=1, replay_windows=2, samples=2, sample_seconds=0.3, learning_rate=0.02
)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Return a folder of two artists with five recordings, one of them silent, one too short, one with lyrics."""
    rate, folder = 16000, tmp_path / "band"
    for number, (artist, seconds) in enumerate((("ann", 7.0), ("ann", 7.5), ("bob", 8.0), ("bob", 7.0), ("bob", 1.0))):
        (folder / artist).mkdir(parents=True, exist_ok=True)
        wave = np.sin(np.arange(int(seconds * rate)) * (0.05 + 0.01 * number)) * (0.5 if number != 3 else 0)
        soundfile.write(folder / artist / f"{number}.wav", wave, rate)
    (folder / "ann" / "0.txt").write_text("la la la")
    return folder


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Worker:
    """Give panels a worker of their own, quick settings, and the folder that they are in as the current one."""
    own = Worker()
    monkeypatch.setattr("jukebox_kit.notebook.session.worker", lambda: own)
    monkeypatch.setattr(form_section, "FineTuning", lambda: QUICK)
    monkeypatch.chdir(tmp_path)
    return own


@pytest.fixture
def panel(own: Worker, tiny: Path, tmp_path: Path) -> TuningPanel:
    """A new panel whose base is the tiny model."""
    return with_base(TuningPanel(tmp_path / "songs"), tiny)


def with_base(panel: TuningPanel, model: Path) -> TuningPanel:
    panel.music.base.widget.options = [("tiny", str(model))]
    panel.music.base.widget.value = str(model)
    return panel


def words(widget: Any) -> str:
    return html.unescape(re.sub("<[^>]*>", "", widget.value))


def done(panel: TuningPanel) -> str:
    """Wait for the work's end and return what the panel says of it."""
    state = panel.session.worker.wait(120)
    assert not state.busy
    return words(panel.status.ended)


def prepared(panel: TuningPanel, music: Path) -> None:
    panel.music.folder.widget.value = str(music)
    panel.music.prepare.click()
    assert done(panel) == "The recordings are encoded; make the plan next."


def planned(panel: TuningPanel) -> None:
    panel.form.plan.click()
    assert done(panel).startswith("Nothing is loaded yet")


def hidden(widget: Any) -> bool:
    return bool(widget.layout.display == "none")


def test_from_a_folder_to_a_model_with_stop_and_resume_in_a_new_kernel(
    panel: TuningPanel, own: Worker, music: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hidden(panel.form.box)
    prepared(panel, music)
    text = words(panel.music.found)
    assert "ann (2), bob (1)" in text
    assert "1 songs with lyrics" in text
    assert "2 recordings refused" in text
    assert "3.wav is silent" in text
    assert "4.wav is 1.0 s long" in text

    assert not hidden(panel.form.box)
    assert panel.form.start.disabled
    planned(panel)
    plan = words(panel.form.facts)
    assert all(one in plan for one in ("new artists", "ann, bob", "memory", "time", "disk", "batch size"))
    assert not (tmp_path / "models").exists(), "nothing is written before training starts"
    panel.form.steps.widget.value = "6"
    assert panel.form.start.disabled, "the plan was for other steps"
    planned(panel)

    own.watch(lambda state: panel.status.stop.click() if state.training and state.training.step == 2 else None)
    panel.form.start.click()
    assert done(panel) == "Stopped. Everything is saved; resume to continue."
    saved = read_run(tmp_path / "models" / "mine", 2)
    assert saved is not None
    assert 0 < saved.progress.step < 6
    assert not saved.finished

    # The kernel is gone; a new panel lists the run, shows what it has measured, and resumes it.
    again = Worker()
    monkeypatch.setattr("jukebox_kit.notebook.session.worker", lambda: again)
    panel = TuningPanel(tmp_path / "songs")
    labels = [label for label, _ in panel.runs.options]
    assert labels == ["new model", f"mine, level 2: {saved.progress.step} of 6 steps"]
    panel.runs.value = panel.runs.options[1][1]
    assert hidden(panel.music.box)
    assert not hidden(panel.status.resume)
    assert panel.status.bar.value == saved.progress.step
    assert bytes(panel.curves.picture.value).startswith(b"<?xml")
    panel.status.resume.click()
    assert done(panel) == "models/mine is trained."
    assert panel.status.bar.value == 6
    assert hidden(panel.status.resume)
    assert words(panel.curves.bits).startswith("After 6 steps: training ")
    assert len(panel.curves.takes) == 1, "one song is held out"
    first = panel.curves.takes[0]
    assert bytes(first.base.audio.value)[:4] == b"fLaC"
    assert [value for _, value in panel.curves.steps.options] == [6, 4, 2]
    panel.curves.steps.value = 2
    tuned, _ = soundfile.read(io.BytesIO(bytes(first.tuned.audio.value)))
    assert np.array_equal(tuned, soundfile.read(tmp_path / "models/mine/samples/level_2_step_000002_0.wav")[0])
    assert list(own_models()) == ["mine"]
    assert 'model="mine"' in words(panel.outcome.facts)
    panel.runs.value = None
    assert not hidden(panel.music.box)


def test_a_panel_opened_again_shows_the_training_that_is_running(
    panel: TuningPanel, own: Worker, music: Path, tmp_path: Path
) -> None:
    prepared(panel, music)
    planned(panel)
    at_first_measurement, go_on = threading.Event(), threading.Event()

    def hold(state: Any) -> None:
        if threading.current_thread() is not threading.main_thread() and state.training and state.training.measured:
            at_first_measurement.set()
            go_on.wait(60)

    own.watch(hold)
    panel.form.start.click()
    assert at_first_measurement.wait(60)
    other = TuningPanel(tmp_path / "songs")
    assert other.session.opened == (tmp_path / "models" / "mine", 2)
    assert "Nothing is measured" not in words(other.curves.bits)
    assert other.runs.disabled
    assert not hidden(other.status.stop)
    other.status.stop.click()
    go_on.set()
    assert done(other) == done(panel) == "Stopped. Everything is saved; resume to continue."
    assert not hidden(other.status.resume)


def test_what_is_wrong_is_said_below_its_field(panel: TuningPanel, music: Path, tmp_path: Path) -> None:
    panel.music.prepare.click()
    assert words(panel.music.folder.said) == "Choose the folder with your recordings, or upload it."
    (tmp_path / "empty").mkdir()
    panel.music.folder.widget.value = str(tmp_path / "empty")
    panel.music.prepare.click()
    assert done(panel) == "Nothing was encoded; the message below the folder says why."
    assert words(panel.music.folder.said).startswith("empty contains no recordings")
    (music / "metadata.csv").write_text("file,artist\nnone.wav,x\n")
    panel.music.folder.widget.value = str(music)
    panel.music.prepare.click()
    done(panel)
    assert "band/metadata.csv, line 2: there is no file none.wav" in words(panel.music.folder.said)
    (music / "metadata.csv").unlink()
    prepared(panel, music)
    form = panel.form
    for name, value, sentence in (
        ("name", "a/b", "Enter a name for the model"),
        ("steps", "many", "'many' is not a whole number"),
        ("steps", "0", "steps must be at least 1, not 0."),
        ("rank", "0", "rank must be at least 1, not 0."),
        ("batch", "-1", "batch must be at least 1, not -1."),
    ):
        before = form.fields[name].value
        form.fields[name].widget.value = value
        form.plan.click()
        assert words(form.fields[name].said).startswith(sentence)
        assert form.start.disabled
        form.fields[name].widget.value = before
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "notes.txt").write_text("x")
    form.plan.click()
    assert done(panel) == "This cannot be trained; the message above says why."
    assert words(form.said) == "models/mine contains other files; choose another name."
    form.name.widget.value = "other"
    planned(panel)
    assert words(form.said) == ""


def test_a_prepared_dataset_is_listed_and_folders_are_walked_by_clicks(
    panel: TuningPanel, music: Path, tiny: Path, tmp_path: Path
) -> None:
    panel.music.folder.widget.value = str(tmp_path)
    assert [label for label, _ in panel.music.browse.options] == ["..", "band/"]
    panel.music.browse.value = music
    assert panel.music.folder.value == str(music)
    assert words(panel.music.folder.said) == "Directly in it: 0 files, 2 folders."
    prepared(panel, music)
    again = with_base(TuningPanel(tmp_path / "songs"), tiny)
    (name, path) = again.music.dataset.widget.options[1]
    assert name == "data/band-tiny"
    again.music.dataset.widget.value = path
    assert "ann (2), bob (1)" in words(again.music.found)
    assert hidden(again.music.choosing)
    (path / "dataset.json").write_text("{")
    again.music.dataset.widget.value = None
    again.music.dataset.widget.value = path
    assert "dataset.json is damaged" in words(again.music.dataset.said)


def send(uploads: Uploads, path: str, content: bytes, piece: int = 1000) -> list[dict[str, Any]]:
    """Send a file as the browser does, and return the answers."""
    answers: list[dict[str, Any]] = []
    for at in range(0, max(1, len(content)), piece):
        facts = {"path": path, "size": len(content), "at": at}
        answers.append(uploads.receive(facts, content[at : at + piece]))
        if answers[-1]:
            break
    return answers


def test_a_folder_is_uploaded_in_pieces_and_resumed(tmp_path: Path) -> None:
    arrived: list[Path] = []
    uploads = Uploads(tmp_path / "music", lambda: "mine", arrived.append)
    content = bytes(range(256)) * 10
    assert uploads.receive({"path": "My band/a/1.wav", "size": 2560, "at": 0}, content[:1000]) == {}
    assert not (tmp_path / "music" / "My band" / "a" / "1.wav").exists()
    assert "interrupted" in uploads.receive({"path": "My band/a/1.wav", "size": 2560, "at": 2000}, b"x")["error"]
    assert send(uploads, "My band/a/1.wav", content) == [{}, {}, {}]
    assert (tmp_path / "music" / "My band" / "a" / "1.wav").read_bytes() == content
    assert send(uploads, "My band/a/1.wav", content) == [{"have": True}]
    assert uploads.receive({"paths": ["My band/a/1.wav"]}, b"") == {}
    send(uploads, "../../../etc/x.wav", content)
    send(uploads, "riff.mp3", b"")
    assert uploads.receive({"paths": ["riff.mp3"]}, b"") == {}
    send(uploads, "all.ZIP", content)
    assert uploads.receive({"paths": ["all.ZIP"]}, b"") == {}
    assert "no recordings" in uploads.receive({"paths": []}, b"")["error"]
    assert arrived == [tmp_path / "music" / name for name in ("My band", "mine", "all.ZIP")]
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        "music/My band/a/1.wav",
        "music/all.ZIP",
        "music/etc/x.wav",
        "music/mine/riff.mp3",
    ]


def test_an_uploaded_zip_becomes_a_dataset(panel: TuningPanel, music: Path, tmp_path: Path) -> None:
    archive = tmp_path / "band.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in music.rglob("*.*"):
            opened.write(path, Path("The band") / path.relative_to(music))
        opened.writestr("__MACOSX/The band/._0.wav", "x")
        opened.writestr("../outside.wav", "x")
    uploads = Uploads(tmp_path / "music", lambda: "mine", panel.music._arrived)
    send(uploads, "band.zip", archive.read_bytes(), 2**20)
    uploads.receive({"paths": ["band.zip"]}, b"")
    assert panel.music.folder.value == str(tmp_path / "music" / "band.zip")
    panel.music.prepare.click()
    assert done(panel) == "The recordings are encoded; make the plan next."
    assert "ann (2), bob (1)" in words(panel.music.found)
    assert not (tmp_path / "music" / "outside.wav").exists()
    archive.write_bytes(b"no zip")
    panel.music.folder.widget.value = str(archive)
    panel.music.prepare.click()
    done(panel)
    assert words(panel.music.folder.said) == "band.zip cannot be unpacked (File is not a zip file); pack it again."


def test_uploads_come_by_anywidget_messages(tmp_path: Path) -> None:
    arrived: list[Path] = []
    buttons = upload_buttons(Uploads(tmp_path, lambda: "mine", arrived.append))
    answers: list[dict[str, Any]] = []
    buttons.send = answers.append
    facts = {"path": "band/1.wav", "size": 4, "at": 0, "own": 0.5, "number": 1}
    buttons._handle_custom_msg(facts, [memoryview(b"RIFF")])
    buttons._handle_custom_msg({"paths": ["band/1.wav"], "own": 0.5, "number": 2}, [])
    assert answers == [{"own": 0.5, "number": 1}, {"own": 0.5, "number": 2}]
    assert arrived == [tmp_path / "band"]
    assert (tmp_path / "band" / "1.wav").read_bytes() == b"RIFF"


def test_finetune_shows_a_panel(own: Worker, tmp_path: Path) -> None:
    panel = nb.finetune(tmp_path / "songs")
    assert panel.session.models == tmp_path / "models"
    panel.wait()
