"""Everything that uses Colab's own modules; they are imported on Colab only."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.song import Song

log = logging.getLogger(__name__)

MOUNT = Path("/content/drive")
DRIVE_TIMEOUT_SECONDS = 600.0  # for Drive to upload what was written
_RECORD, _UPLOAD = "jukebox_kit.recorded", "jukebox_kit.uploaded"
# The callback gets the WAV file in base64.
_RECORDER = """
<button id="jk-record"></button>
<script>
SCRIPT
recorderButton(document.querySelector("#jk-record"), (wav) => {
  let text = "";
  new Uint8Array(wav).forEach((byte) => { text += String.fromCharCode(byte); });
  google.colab.kernel.invokeFunction("NAME", [btoa(text)], {});
});
</script>
"""

# The callback gets the facts of a piece and its bytes in base64, and answers with JSON.
_UPLOADER = """
<div id="jk-upload"></div>
<script>
SCRIPT
uploadButtons(document.querySelector("#jk-upload"), async (facts, bytes) => {
  const piece = new Uint8Array(bytes);
  let text = "";
  for (let at = 0; at < piece.length; at += 32768) {
    text += String.fromCharCode(...piece.subarray(at, at + 32768));
  }
  const answer = await google.colab.kernel.invokeFunction("NAME", [facts, btoa(text)], {});
  return answer.data["application/json"];
});
</script>
"""


def on_colab() -> bool:
    """Return whether this runs on Colab."""
    try:
        return importlib.util.find_spec("google.colab") is not None
    except ModuleNotFoundError:  # no google package at all
        return False


def mount_drive() -> Path:
    """Mount Google Drive, which asks the user, and return its folder; JukeboxKitError if that fails."""
    try:
        _colab("drive").mount(str(MOUNT))
    except Exception as error:  # Colab raises plain ValueError and others
        raise JukeboxKitError(
            f"Drive was not mounted ({error}); run the cell again and allow access, or use drive=False."
        ) from None
    return MOUNT / "MyDrive"


def upload(folder: Path) -> list[Path]:
    """Ask for files with Colab's upload dialogue and save them in `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    for name, content in _colab("files").upload().items():
        path = folder / Path(name).name
        path.write_bytes(content)
        saved.append(path)
    return saved


def recorder(script: str, recorded: Callable[[bytes], None]) -> str:
    """Return HTML with a button that records the microphone; `recorded` gets a WAV file.

    script: JavaScript with `recorderButton`, see `web/recorder.js`.
    """
    _colab("output").register_callback(_RECORD, lambda text: recorded(base64.b64decode(text)))
    return _RECORDER.replace("SCRIPT", script).replace("NAME", _RECORD)


def uploader(script: str, receive: Callable[[dict[str, Any], bytes], dict[str, Any]]) -> str:
    """Return HTML with buttons that upload files; `receive` gets each piece and answers, see `web/upload.js`.

    script: JavaScript with `uploadButtons`.
    """
    from IPython.display import JSON

    def called(facts: dict[str, Any], text: str) -> Any:
        return JSON(receive(facts, base64.b64decode(text)))  # type: ignore[no-untyped-call]  # IPython leaves it so

    _colab("output").register_callback(_UPLOAD, called)
    return _UPLOADER.replace("SCRIPT", script).replace("NAME", _UPLOAD)


def disconnect(songs: list[Song], wait: Callable[[float], None] = time.sleep) -> None:
    """Disconnect the runtime once every save of the songs has been read back from Drive.

    JukeboxKitError if Drive has not taken them within ten minutes; the runtime then stays connected.
    """
    waited = 0.0
    while late := [song for song in songs if not _safe(song)]:
        if waited >= DRIVE_TIMEOUT_SECONDS:
            raise JukeboxKitError(
                f"{late[0].root} is not all on Drive yet, so the runtime stays connected; check Drive's free space."
            )
        wait(5.0)
        waited += 5.0
    if MOUNT.is_dir():
        _colab("drive").flush_and_unmount()
    log.info("all songs are on Drive; disconnecting the runtime")
    _colab("runtime").unassign()


def _safe(song: Song) -> bool:
    safety = song.store.safety()
    return safety.there >= safety.here


def _colab(name: str) -> Any:
    """Return one of Colab's modules."""
    return importlib.import_module(f"google.colab.{name}")
