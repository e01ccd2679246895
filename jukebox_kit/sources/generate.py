"""Generating recordings with a source: checked first, then written as audio files with a JSON file beside each."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_kit._files import explain, kept_path, make_folder, shown_path, write_atomically
from jukebox_kit._values import checked
from jukebox_kit.errors import AudioError, RequestError, SongError
from jukebox_kit.song import audio_bytes
from jukebox_kit.sources.request import SourceRequest
from jukebox_kit.sources.source import OpenSource, Recording, SourceRun

FORMATS = ("wav", "flac", "mp3")

FACTS = ".json"  # after the whole name of the audio file, so that riff.wav and riff.flac have their own


@dataclass(frozen=True)
class SourceEntry:
    """A source that can be chosen by name.

    extra: of this package, with which it is installed.
    packages: the packages that it needs beyond this package's own, each with its lowest major version.
    load: imports it.
    """

    extra: str
    packages: Mapping[str, int]
    load: Callable[[], OpenSource]


def _musicgen() -> OpenSource:
    from jukebox_kit.sources.musicgen import open_musicgen

    return open_musicgen


SOURCES: Mapping[str, SourceEntry] = {"musicgen": SourceEntry("musicgen", {"transformers": 5}, _musicgen)}


def generate_recordings(
    out: str | Path, request: SourceRequest | None = None, source: str = "musicgen", run: SourceRun | None = None
) -> tuple[Path, ...]:
    """Generate recordings with a model of another library; returns their paths.

    out: an audio file, wav, flac or mp3; existing files are replaced. Several recordings are numbered: riff.wav becomes
        riff_0.wav, riff_1.wav. Each has a JSON file beside it, riff.wav.json, with everything that it was made of.
    source: one of SOURCES.

    Any of them can be the prompt of a song. Raises StoppedError or KeyboardInterrupt when the user stops, after saving
    what there is; RequestError for what cannot be asked; AudioError for the recording that is to be continued;
    CheckpointError for the model; SongError if a file cannot be written.
    """
    asked, settings = request or SourceRequest(), run or SourceRun()
    opened = _entry(source)
    place = _checked_place(out)
    missing = missing_packages(source)
    if missing:
        raise RequestError(missing, field="source")
    model = opened.load()(asked, settings)
    format = place.suffix[1:].lower()
    try:
        audio_bytes(np.zeros(1, np.float32), model.sr, format)
    except AudioError as error:
        raise AudioError(str(error), field="out") from None
    make_folder(place.parent)
    written: list[Path] = []
    for recording in model.recordings():
        path = place if asked.count == 1 else place.with_name(f"{place.stem}_{recording.number}{place.suffix}")
        _write(path, format, model.sr, source, recording)
        written.append(path)
        if settings.saved is not None:
            settings.saved(path)
    return tuple(written)


def missing_packages(source: str) -> str:
    """Return a sentence that says what to install for a source; empty if nothing is missing."""
    entry = _entry(source)
    install = f'install it with: pip install "jukebox_kit[{entry.extra}]"'
    for name, lowest in entry.packages.items():
        if find_spec(name) is None:
            return f"the source {source} needs the package {name}; {install}"
        installed = _version(name)
        if installed.split(".")[0].isdigit() and int(installed.split(".")[0]) < lowest:
            return f"the source {source} needs {name} {lowest} or newer, not {installed}; {install}"
    return ""


def _entry(source: str) -> SourceEntry:
    name = checked("source", source, str)
    if name not in SOURCES:
        raise RequestError(f"there is no source {name}; choose one of: {', '.join(SOURCES)}.", field="source")
    return SOURCES[name]


def _checked_place(out: str | Path) -> Path:
    """Return the absolute path of the audio file to write; RequestError if it cannot be one."""
    place = kept_path(checked("out", str(out) if isinstance(out, Path) else out, str))
    if place.suffix[1:].lower() not in FORMATS:
        raise RequestError(
            f"out must be an audio file ending in .wav, .flac or .mp3, such as riff.wav, not {place.name!r}.",
            field="out",
        )
    if place.is_dir():
        raise RequestError(f"{shown_path(place)} is a folder; choose a file's name, such as riff.wav.", field="out")
    return place


def _write(path: Path, format: str, sr: int, source: str, recording: Recording) -> None:
    """Write a recording and its JSON file; the JSON last, so that it never describes another recording."""
    content = audio_bytes(recording.audio, sr, format)
    facts: dict[str, Any] = {
        "source": source,
        **recording.facts,
        "seconds": round(len(recording.audio) / sr, 3),
        "complete": recording.complete,
        "sr": sr,
        "channels": 1 if recording.audio.ndim == 1 else recording.audio.shape[1],
        "sha256": hashlib.sha256(content).hexdigest(),
        "versions": _versions(source),
    }
    about = path.with_name(path.name + FACTS)
    try:
        about.unlink(missing_ok=True)
    except OSError as error:
        raise SongError(explain(about, error, "written")) from None
    write_atomically(path.parent, path.name, content)
    write_atomically(path.parent, about.name, f"{json.dumps(facts, indent=1, ensure_ascii=False)}\n".encode())


def _versions(source: str) -> dict[str, str]:
    names = ("jukebox_kit", "torch", *SOURCES[source].packages)
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown: not installed as a package"
