"""Uploads of whole folders, or of files, in pieces: a small widget in Jupyter, Colab's own callbacks on Colab."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit._files import explain, move_into_place
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.sections.recording import Html
from jukebox_kit.training.dataset import LYRICS, METADATA, SOUNDS

ZIP = ".zip"

LONGEST_PART = 100  # characters of a name: in UTF-8 hardly more bytes than a disk takes

_SCRIPT = Path(__file__).parents[1] / "web" / "upload.js"

_JUPYTER = """
export default {
  render({ model, el }) {
    el.classList.add("jk-upload");
    const waiting = new Map();
    const own = Math.random();
    model.on("msg:custom", (answer) => {
      waiting.get(`${answer.own} ${answer.number}`)?.(answer);
      waiting.delete(`${answer.own} ${answer.number}`);
    });
    let number = 0;
    uploadButtons(el, (facts, bytes) => new Promise((answered) => {
      number += 1;
      waiting.set(`${own} ${number}`, answered);
      model.send({ ...facts, own, number }, undefined, [bytes]);
    }));
  },
};
"""


class Uploads:
    """Saves what arrives below a folder; `arrived` then gets the folder or the zip file that was uploaded.

    loose: returns the name of the folder for files that come without one.
    """

    def __init__(self, folder: Path, loose: Callable[[], str], arrived: Callable[[Path], None]) -> None:
        self.folder, self.loose, self.arrived = folder, loose, arrived

    def receive(self, facts: dict[str, Any], content: bytes) -> dict[str, Any]:
        """Save a piece, see `web/upload.js`, and return the answer."""
        try:
            if "paths" in facts:
                return self._end([str(path) for path in facts["paths"]])
            return self._save(str(facts["path"]), int(facts["size"]), int(facts["at"]), content)
        except OSError as error:
            return {"error": explain(self.folder, error, "written")}

    def _save(self, path: str, size: int, at: int, content: bytes) -> dict[str, Any]:
        target = self._place(path)
        if at == 0 and target.is_file() and target.stat().st_size == size:
            return {"have": True}
        part = target.with_name(f".{target.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        if at and (not part.is_file() or part.stat().st_size != at):
            return {"error": "The upload was interrupted; upload the same again to continue."}
        with part.open("ab" if at else "wb") as file:
            file.write(content)
        if at + len(content) == size:
            move_into_place(part, target)
        return {}

    def _end(self, paths: list[str]) -> dict[str, Any]:
        if not paths:
            return {"error": f"There are no recordings in it; they may be {', '.join(k[1:] for k in SOUNDS)}."}
        first = self._place(paths[0])
        self.arrived(first if first.suffix.lower() == ZIP else self.folder / first.relative_to(self.folder).parts[0])
        return {}

    def _place(self, path: str) -> Path:
        """Return where a file is saved; never outside of the folder."""
        parts = [_plain(part) for part in path.split("/") if part not in ("", ".", "..")] or ["recording"]
        if len(parts) == 1 and not parts[0].lower().endswith(ZIP):
            parts.insert(0, _plain(self.loose()))
        return self.folder.joinpath(*parts)


def _plain(name: str) -> str:
    """Return a name without what disks refuse."""
    stem, dot, kind = re.sub(r'[\x00-\x1f/\\\\:*?"<>|]', "_", name).strip(" .").rpartition(".")
    return f"{stem[:LONGEST_PART]}{dot}{kind[:LONGEST_PART]}" or "recordings"


def upload_buttons(uploads: Uploads) -> Any:
    """Return a widget with buttons that upload a folder, or files."""
    kinds = json.dumps([*SOUNDS, *LYRICS, METADATA, ZIP])
    script = f"const KINDS = {kinds};\n{_SCRIPT.read_text(encoding='utf-8')}"
    if colab.on_colab():
        output = widgets.Output()
        output.append_display_data(Html(colab.uploader(script, uploads.receive)))
        return output
    created = _uploader()()
    created._esm = script + _JUPYTER

    def received(_widget: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        answer = uploads.receive(message, bytes(buffers[0]) if buffers else b"")
        created.send({**answer, "own": message["own"], "number": message["number"]})

    created.on_msg(received)
    return created


@cache
def _uploader() -> Any:
    """Return the class of the buttons; defined on first use, because Colab does not need it."""
    import anywidget

    class Uploader(anywidget.AnyWidget):
        """The upload buttons."""

    return Uploader
