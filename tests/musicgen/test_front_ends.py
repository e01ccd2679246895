"""The shell and the panel: recordings that become prompts, the hub's cache without a network, and Ctrl-C."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jukebox_kit.notebook.background import Worker
from jukebox_kit.notebook.panel import Panel
from tests.conftest import TESTS, shell
from tests.musicgen.conftest import facts_of, samples_of
from tests.notebook.test_panel import words

pytestmark = pytest.mark.musicgen

REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_a_recording_is_generated_and_becomes_a_prompt(
    mono: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--text", "slow jazz", "--seconds", 1, "--model", mono, "--device", "cpu"]
    assert shell(monkeypatch, "generate", "riff.wav", "--source", "musicgen", *options, "--seed", 4) == 0
    shown = capsys.readouterr()
    assert shown.out == "riff.wav\n"
    assert "start a song with it: jukebox-kit sample songs/NAME --prompt riff.wav" in shown.err
    assert facts_of(tmp_path / "riff.wav")["seed"] == 4
    begin = ["--model", tiny, "--seconds", 3, "--prompt", "riff.wav", "--prompt-seconds", 0.8, "--until", "level_2"]
    assert shell(monkeypatch, "sample", "song", *begin, "--device", "cpu") == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--guidance", 3], "--guidance needs a text to follow"),
        (["--text", "a", "--seconds", 0], "--seconds must be from 0.5 to 600"),
        (["--model", "models/none"], "there is no folder models/none; choose"),
        (["--audio", "none.wav"], "there is no recording none.wav"),
        (["--device", "tpu"], "the device tpu is not supported"),
        (["--precision", "float16", "--device", "cpu"], "--precision float16 needs a GPU"),
    ],
)
def test_what_cannot_be_asked_ends_in_one_sentence(
    options: list[Any],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert shell(monkeypatch, "generate", "riff.wav", *options) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"jukebox-kit: {sentence}")
    assert shown.err.count("\n") == 1


def generated(target: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: the hub's library reads its environment when it is imported."""
    command = [sys.executable, "-m", "jukebox_kit", "generate", str(target), "--text", "jazz", "--seconds", "1"]
    return subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, cwd=TESTS.parent, check=False)


def test_the_hub_s_cache_is_enough_and_the_licence_is_said_before_a_download(
    mono: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    empty = generated(tmp_path / "riff.wav")
    assert empty.returncode == 1
    assert empty.stderr.count("MusicGen's weights are for noncommercial use only (licence CC-BY-NC-4.0).") == 1
    assert "facebook/musicgen-small is not on this machine and could not be downloaded" in empty.stderr
    repository = tmp_path / "hub" / "hub" / "models--facebook--musicgen-small"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in mono.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        (repository / "blobs" / digest).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{digest}")
    there = generated(tmp_path / "riff.wav")
    assert there.returncode == 0, there.stderr
    assert "noncommercial" not in there.stderr
    facts = facts_of(tmp_path / "riff.wav")
    assert (facts["model"], facts["revision"]) == ("facebook/musicgen-small", REVISION)
    assert facts["licence"] == "CC-BY-NC-4.0"
    digest = hashlib.sha256((mono / "model.safetensors").read_bytes()).hexdigest()
    assert facts["weights_sha256"] == {"model.safetensors": digest}


def test_ctrl_c_in_the_shell_saves_within_seconds(mono: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jukebox_kit", "generate", str(tmp_path / "riff.wav"), "--seconds", "500"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [*command, "--model", str(mono), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=TESTS.parent,
    )
    assert started.stderr is not None
    while started.stderr.read(7) != "tokens:":  # the bar begins with the first token
        assert started.poll() is None
    time.sleep(3)
    asked = time.monotonic()
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert time.monotonic() - asked < 20
    assert out == f"{tmp_path / 'riff.wav'}\n"
    assert err.endswith("jukebox-kit: stopped. What had been generated is saved.\n")
    assert "Traceback" not in err
    assert facts_of(tmp_path / "riff.wav")["complete"] is False
    assert len(samples_of(tmp_path / "riff.wav")) > 0


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    own = Worker()
    monkeypatch.setattr("jukebox_kit.notebook.session.worker", lambda: own)
    monkeypatch.setattr("jukebox_kit.notebook.sections.estimate.EstimateLine.ask", lambda *_: None)
    panel = Panel(tmp_path / "songs")
    panel.form.prompt.kind.value = "by text"
    return panel


def test_the_panel_generates_a_prompt(panel: Panel, mono: Path, tmp_path: Path) -> None:
    prompt, fields = panel.form.prompt, panel.form.prompt.generating
    assert panel.form.request() is None  # there is no recording yet
    fields.text.widget.value, fields.seconds.widget.value = "slow jazz", "one"
    fields.start.click()
    assert words(fields.seconds.said) == "'one' is not a number; enter digits, such as 12."
    fields.seconds.widget.value, fields.model.widget.value = "1", str(mono)
    fields.start.click()
    state = panel.session.worker.wait(120)
    assert state.message == "The recording is ready: listen to it and choose the seconds to use."
    assert state.speed.endswith("tokens/s") or "left" in state.speed or "measuring" in state.speed
    assert words(prompt.said) == "musicgen-1.wav: 1.0 seconds"
    file = tmp_path / "songs" / "prompts" / "musicgen-1.wav"
    assert facts_of(file)["text"] == "slow jazz"
    assert (panel.form.request() or {})["prompt"] == str(file)


def test_stop_in_the_panel_keeps_what_there_is(panel: Panel, mono: Path, tmp_path: Path) -> None:
    fields = panel.form.prompt.generating
    fields.seconds.widget.value, fields.model.widget.value = "300", str(mono)
    fields.start.click()
    while not panel.session.worker.state.speed:
        assert panel.session.worker.state.busy
        time.sleep(0.1)
    time.sleep(1)
    panel.session.worker.stop()
    assert panel.session.worker.wait(60).phase == "stopped"
    assert facts_of(tmp_path / "songs" / "prompts" / "musicgen-1.wav")["complete"] is False
    assert "musicgen-1.wav: " in words(panel.form.prompt.said)
