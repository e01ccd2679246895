"""Sources of recordings, without their extras: what is said then, what is imported, and which requests are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jukebox_kit.errors import RequestError
from jukebox_kit.song.audio import read_recording, save_audio
from jukebox_kit.sources import SourceRequest, SourceRun, generate_recordings, missing_packages
from jukebox_kit.sources import generate as generating
from tests.conftest import TESTS, shell


@pytest.fixture
def _no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed


@pytest.mark.usefixtures("_no_extra")
def test_without_the_extra_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell(monkeypatch, "generate", tmp_path / "riff.wav", "--source", "musicgen", "--text", "slow jazz") == 1
    assert capsys.readouterr().err == (
        "jukebox-kit: the source musicgen needs the package transformers; install it with: "
        'pip install "jukebox_kit[musicgen]"\n'
    )
    assert not (tmp_path / "riff.wav").exists()


def test_an_older_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "find_spec", lambda _: True)
    monkeypatch.setattr(generating, "_version", lambda _: "4.57.1")
    assert missing_packages("musicgen").startswith("the source musicgen needs transformers 5 or newer, not 4.57.1; ")
    monkeypatch.setattr(generating, "_version", lambda _: "5.0.0rc1")
    assert missing_packages("musicgen") == ""


def test_nothing_of_a_source_s_library_is_imported() -> None:
    program = (
        "import sys; import jukebox_kit as jk; from jukebox_kit.cli import app; import jukebox_kit.notebook.panel\n"
        "from jukebox_kit.sources.musicgen import open_musicgen; jk.SourceRequest('jazz'); jk.generate_recordings\n"
        "print(sorted({'transformers', 'huggingface_hub', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=TESTS.parent
    )
    assert done.stdout == "[]\n", done.stderr


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"text": " "}, "text must not be empty; describe the music, or leave it out."),
    ({"text": 3}, "text must be text or a list of texts, not 3."),
    ({"seconds": 0.1}, "seconds must be from 0.5 to 600, not 0.1; 12 is usual."),
    ({"items": 0}, "items must be from 1 to 100, not 0."),
    ({"items": 1.5}, "items must be a whole number, not 1.5."),
    ({"seed": -1}, "seed must be a whole number from 0 to 2^63 - 1, not -1."),
    ({"audio_seconds": 2.0}, "audio-seconds needs audio; pass a recording as well."),
    ({"audio": "a.wav", "audio_seconds": 12}, "audio-seconds must be above 0 and below seconds, which is 12, not 12."),
    ({"temperature": 0}, "temperature must be above 0 and at most 10, not 0; 1 is usual."),
    ({"top_k": 5, "top_p": 0.5}, "top-k cannot be combined with top-p; set only one of them."),
    ({"top_k": 0}, "top-k must be at least 1, not 0."),
    ({"top_p": 1.5}, "top-p must be above 0 and at most 1, not 1.5."),
    ({"greedy": True, "top_k": 5}, "top-k cannot be combined with greedy, which does not sample."),
    ({"greedy": True, "items": 2}, "items must be 1 with greedy, which plays the same each time."),
    ({"guidance": 0.5, "text": "a"}, "guidance must be from 1 (none) to 100, not 0.5; 3 is usual."),
    ({"guidance": 3}, "guidance needs a text to follow; pass one, or leave guidance out."),
    ({"model": 5}, "model must be text, not 5."),
]


@pytest.mark.parametrize(("fields", "sentence"), WRONG, ids=lambda value: str(value)[:30])
def test_a_request_that_makes_no_sense_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as error:
        SourceRequest(**fields)
    assert str(error.value) == sentence
    assert (error.value.field or "") in fields


def test_a_request_takes_text_as_it_comes() -> None:
    assert SourceRequest("jazz", items=2).texts == ("jazz",)
    assert SourceRequest(["jazz", "rock"], items=2).count == 4  # type: ignore[arg-type]  # a list will do
    assert (SourceRequest().texts, SourceRequest().count) == (("",), 1)
    assert SourceRequest(audio=Path("~/a.wav")).audio == Path.home() / "a.wav"


def test_a_run_and_a_place_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    cases: list[tuple[Any, str]] = [
        (lambda: SourceRun(precision="int8"), "precision must be one of auto, float32, float16, not int8."),
        (lambda: SourceRun(batch_size=0), "batch-size must be at least 1, not 0."),
        (lambda: SourceRun(stop=5), "stop must be a function or None, not 5."),  # type: ignore[arg-type]
        (lambda: generate_recordings("a.wav", source="x"), "there is no source x; choose one of: musicgen."),
        (lambda: generate_recordings("a.ogg"), "out must be an audio file ending in .wav, .flac or .mp3"),
        (lambda: generate_recordings(tmp_path / "b.wav"), "b.wav is a folder; choose a file's name"),
    ]
    (tmp_path / "b.wav").mkdir()
    for call, sentence in cases:
        with pytest.raises(RequestError, match=sentence.replace(".", r"\.")):
            call()


def test_a_recording_is_read_in_stereo(tmp_path: Path) -> None:
    left, right = np.linspace(-0.5, 0.5, 800), np.linspace(0.9, 0.1, 800)
    save_audio(np.stack([left, right], 1), tmp_path / "two.wav", 8000)
    save_audio(left, tmp_path / "one.wav", 8000)
    two = read_recording(tmp_path / "two.wav", 8000, stereo=True)
    np.testing.assert_allclose(two, np.stack([left, right], 1), atol=2**-15)
    one = read_recording(tmp_path / "one.wav", 8000, stereo=True)
    np.testing.assert_allclose(one, np.stack([left, left], 1), atol=2**-15)
    assert (two.sr, read_recording(tmp_path / "two.wav", 8000).shape) == (8000, (800,))
    assert read_recording(tmp_path / "two.wav", 4000, stereo=True).shape == (400, 2)
