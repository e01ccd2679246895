"""What is asked of Colab, shown with a stand-in of the same names; and that nothing asks for it elsewhere."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jukebox_kit as jk
from jukebox_kit import notebook as nb
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.prepare import songs_folder
from jukebox_kit.notebook.sections.recording import record_button
from jukebox_kit.notebook.sections.upload import Uploads, upload_buttons
from jukebox_kit.notebook.sections.upsample import Finishing
from jukebox_kit.notebook.session import Session
from jukebox_kit.song.song import Song
from jukebox_kit.song.store.base import Safety


def test_without_colab_nothing_imports_it(tmp_path: Path) -> None:
    code = (
        "import sys, jukebox_kit.notebook as nb\n"
        f"nb.compose({str(tmp_path)!r}); nb.resume_overnight({str(tmp_path)!r}); nb.upload()\n"
        f"nb.finetune({str(tmp_path)!r})\n"
        "assert not [m for m in sys.modules if m.startswith('google')], 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not colab.on_colab()


def test_drive_is_for_colab_only(tmp_path: Path) -> None:
    assert songs_folder(tmp_path, None) == tmp_path
    with pytest.raises(JukeboxKitError, match="by Colab only"):
        songs_folder(tmp_path, True)


def test_drive_is_mounted_and_songs_are_kept_there(on_colab: Any, tmp_path: Path) -> None:
    assert colab.on_colab()
    assert songs_folder("songs", None) == tmp_path / "drive/MyDrive/jukebox_kit/songs"
    assert songs_folder("mine", True) == tmp_path / "drive/MyDrive/mine"
    assert songs_folder("songs", False) == Path("songs")
    assert on_colab("drive").calls == [("mount", str(tmp_path / "drive"))] * 2


def test_a_person_who_does_not_give_drive_is_told_what_to_do(on_colab: Any) -> None:
    on_colab("drive").root = None
    with pytest.raises(JukeboxKitError, match="run the cell again and allow access, or use drive=False"):
        songs_folder("songs", None)


def test_uploads_are_kept_where_they_belong(on_colab: Any, tmp_path: Path) -> None:
    assert nb.upload(tmp_path / "prompts") == [tmp_path / "prompts" / "riff.wav"]
    assert (tmp_path / "prompts" / "riff.wav").read_bytes() == b"RIFF"


def test_a_recording_comes_by_colabs_callback(on_colab: Any) -> None:
    recorded: list[bytes] = []
    button = record_button(recorded.append)
    shown = button.outputs[0]["data"]["text/html"]
    (name, function), *others = on_colab("output").callbacks.items()
    assert not others
    assert f'invokeFunction("{name}"' in shown
    assert "recorderButton" in shown
    function(base64.b64encode(b"RIFF").decode())
    assert recorded == [b"RIFF"]


def test_the_runtime_is_given_back_once_drive_has_everything(
    on_colab: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.3)
    (tmp_path / "drive").mkdir()
    waited: list[float] = []
    told = iter([Safety("segments", 3, 1), Safety("segments", 3, 2)])
    monkeypatch.setattr(song.store, "safety", lambda: next(told, Safety("segments", 3, 3)))
    colab.disconnect([song], waited.append)
    assert waited == [5.0, 5.0]
    assert on_colab("drive").calls == [("flush",)]
    assert on_colab("runtime").calls == [("unassign",)]


def test_the_runtime_is_kept_where_drive_does_not_take_it(
    on_colab: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.3)
    monkeypatch.setattr(song.store, "safety", lambda: Safety("segments", 3, 1))
    with pytest.raises(JukeboxKitError, match="so the runtime stays connected"):
        colab.disconnect([song], lambda _: None)
    assert on_colab("runtime").calls == []


def test_upsampling_can_give_the_runtime_back(on_colab: Any, tiny: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    finishing = Finishing(session)
    assert finishing.unassign.layout.display == ""
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, seconds=0.3))
    session.open(song.root)
    finishing.unassign.value = True
    finishing.upsample.click()
    state = session.worker.wait(60)
    assert (state.phase, state.message) == ("done", "All levels are done.")
    assert on_colab("runtime").calls == [("unassign",)]


def test_an_upload_comes_by_colabs_callback(on_colab: Any, tmp_path: Path) -> None:
    arrived: list[Path] = []
    buttons = upload_buttons(Uploads(tmp_path / "music", lambda: "mine", arrived.append))
    shown = buttons.outputs[0]["data"]["text/html"]
    (name, function), *others = on_colab("output").callbacks.items()
    assert not others
    assert f'invokeFunction("{name}"' in shown
    assert "uploadButtons" in shown
    facts = {"path": "band/1.wav", "size": 4, "at": 0}
    assert function(facts, base64.b64encode(b"RIFF").decode()).data == {}
    assert function({"paths": ["band/1.wav"]}, "").data == {}
    assert function({"paths": []}, "").data["error"].startswith("There are no recordings in it")
    assert arrived == [tmp_path / "music" / "band"]


def test_recordings_are_chosen_on_drive_and_models_are_there(on_colab: Any, tmp_path: Path) -> None:
    (tmp_path / "drive" / "MyDrive" / "My band").mkdir(parents=True)
    panel = nb.finetune(songs_folder("songs", None))
    assert panel.session.models == tmp_path / "drive/MyDrive/jukebox_kit/models"
    assert ("My band/", tmp_path / "drive/MyDrive/My band") in panel.music.browse.options
