"""The prompt: a recording that a song starts with; uploaded, named by its path, recorded or generated, and trimmed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit._files import make_folder, user_path, write_atomically
from jukebox_kit.errors import AudioError, JukeboxKitError
from jukebox_kit.notebook.sections.generate import Generating
from jukebox_kit.notebook.sections.recording import record_button
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import LABEL, WIDE, Field, reachable
from jukebox_kit.song import Audio, audio_bytes, is_silent, read_recording, wav_bytes

PREVIEW_RATE = 44100  # samples a second of the preview; the song itself reads the file at its own rate

STEM, SUFFIX = 60, 12  # characters of a file name that are kept: in UTF-8 no more bytes than a disk takes


class PromptField(Field):
    """Where the recording comes from, and how much of it is used; uploads and cuts are saved in `folder`."""

    def __init__(self, folder: Path, session: Session) -> None:
        self.folder = folder
        self.source: Path | None = None
        self.audio: Audio | None = None
        self.notes: list[str] = []  # on the recording
        self.kind = widgets.ToggleButtons(
            options=["none", "upload", "path", "record", "by text"],
            description="prompt",
            style={**LABEL, "button_width": "auto"},
        )
        super().__init__("prompt", self.kind)
        self.upload = widgets.FileUpload(accept="audio/*,.wav,.flac,.mp3,.ogg,.m4a", multiple=False)
        self.upload.add_class("jk-upload")
        self.path = widgets.Text(
            placeholder="path of a recording on the kernel's machine", continuous_update=False, layout=WIDE
        )
        self.path.add_class("jk-prompt-path")
        self.generating = Generating(folder, session, self._generated)
        self.trim = widgets.FloatRangeSlider(
            min=0.0, max=1.0, step=0.1, description="Use seconds", continuous_update=False, style=LABEL, layout=WIDE
        )
        self.trim.add_class("jk-trim")
        self.preview = widgets.Audio(value=b"", format="flac", autoplay=False, loop=False)
        self.inputs = widgets.VBox([])
        self.box.children = (self.kind, self.inputs, self.said)
        self.kind.observe(lambda _: self._choose(), "value")
        self.upload.observe(lambda change: self.take_upload(change.new), "value")
        self.path.observe(lambda _: self._typed(self.path.value.strip()), "value")
        self.trim.observe(lambda _: self._cut(), "value")

    def ready(self) -> bool:
        """Return whether a recording is chosen if one is wanted; shows a message if not."""
        if self.kind.value == "none" or self.source is not None:
            return True
        if not self.said.value:
            self.say("Add a recording, or choose none.", "note")
        return False

    def take(self) -> str | None:
        """Return the path of the recording as trimmed, None for no prompt.

        AudioError if the chosen seconds are silent, SongError if they cannot be saved.
        """
        if self.source is None:
            return None
        start, end = self.trim.value
        if start <= 0 and end >= self.trim.max:
            return str(self.source.absolute())
        if is_silent(self._chosen()):
            raise AudioError(self._heard(), field="prompt")
        name = f"{self.source.stem[:STEM]}-{start:g}-{end:g}.wav"
        self._save(name, wav_bytes(self._chosen(), PREVIEW_RATE))
        return str((self.folder / name).absolute())

    def _choose(self) -> None:
        kind = self.kind.value
        self.source = self.audio = None
        self.say()
        inputs: dict[str, tuple[Any, ...]] = {"none": (), "upload": (self.upload,), "path": (self.path,)}
        inputs["by text"] = (self.generating.box,)
        self.inputs.children = inputs[kind] if kind in inputs else (record_button(self.take_recording),)
        reachable(self.inputs)

    def take_upload(self, value: Any) -> None:
        """Save an upload: a dict by name from ipywidgets 7 (Colab), or a tuple of dicts from ipywidgets 8."""
        named = list(value.items()) if isinstance(value, dict) else [(one["name"], one) for one in value]
        for name, file in named[-1:]:
            self._receive(str(name), bytes(file["content"]))

    def take_recording(self, wav: bytes) -> None:
        """Save a recording."""
        self._receive("recording.wav", wav)

    def _generated(self, path: Path) -> None:
        if self.kind.value == "by text":
            self._open(path)

    def _receive(self, name: str, content: bytes) -> None:
        path = Path(re.sub(r"[^\w.-]+", "_", Path(name).name).strip(".") or "prompt")
        number, stem, suffix = 1, path.stem[:STEM], path.suffix[:SUFFIX]
        plain = stem + suffix
        while (self.folder / plain).exists() and (self.folder / plain).read_bytes() != content:
            number += 1
            plain = f"{stem}-{number}{suffix}"
        try:
            self._save(plain, content)
        except JukeboxKitError as error:
            self.say(str(error))
            return
        self._open(self.folder / plain)

    def _typed(self, path: str) -> None:
        if path:
            self._open(user_path(path))
        else:
            self._choose()

    def _open(self, path: Path) -> None:
        self.notes = []
        try:
            self.audio = read_recording(path, PREVIEW_RATE, note=self.notes.append)
        except JukeboxKitError as error:
            self.source = self.audio = None
            self.say(str(error))
            return
        self.source = path
        self.trim.max = max(round(len(self.audio) / PREVIEW_RATE, 2), 0.1)
        self.trim.value = (0.0, self.trim.max)
        self._cut()
        shown = {"upload": self.upload, "path": self.path}.get(self.kind.value, self.inputs.children[0])
        self.inputs.children = (shown, self.trim, self.preview)
        reachable(self.inputs)

    def _cut(self) -> None:
        if self.audio is not None:
            chosen = self._chosen()
            self.preview.value = audio_bytes(chosen, PREVIEW_RATE, "flac")
            self.say(self._heard(), "error" if is_silent(chosen) else "note" if self.notes else "good")

    def _heard(self) -> str:
        """Return what is to be said of the recording and of the chosen seconds."""
        assert self.audio is not None
        assert self.source is not None
        if is_silent(self._chosen()):
            start, end = self.trim.value
            return f"Seconds {start:g} to {end:g} of {self.source.name} are silent; choose some with sound in them."
        return " ".join([f"{self.source.name}: {len(self.audio) / PREVIEW_RATE:.1f} seconds", *self.notes])

    def _chosen(self) -> Audio:
        assert self.audio is not None
        start, end = (int(second * PREVIEW_RATE) for second in self.trim.value)
        return self.audio[start : max(end, start + 1)]

    def _save(self, name: str, content: bytes) -> None:
        make_folder(self.folder)
        write_atomically(self.folder, name, content)
