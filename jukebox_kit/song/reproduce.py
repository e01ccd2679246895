"""How to make a song again: the shell's command, the Python call, and the honest word on what they do not bring."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import Any

from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.request import Request

SAME = (
    "On the same machine, with the same versions and weights, this makes the same codes; elsewhere a token may come "
    "out differently, and the song goes another way from there."
)

SEAMS = ("on something else", "came out differently when replayed")  # how `steps` says it in the history


@dataclass(frozen=True)
class Again:
    """How to make a song again; `words` are sentences on what comes out of it."""

    shell: str
    python: str
    words: tuple[str, ...]


def again(manifest: Manifest, name: str) -> Again:
    """Return how to make a song again in a folder called after `name`, the song's own."""
    folder, request, items = f"{name}-again", manifest.request, manifest.upsample
    return Again(shell_command(request, folder, items), python_call(request, folder, items), _words(manifest))


def asked_fields(request: Request) -> dict[str, Any]:
    """Return the fields of a request that are not what they are by default."""
    values = {field.name: (getattr(request, field.name), field.default) for field in dataclasses.fields(request)}
    return {name: value for name, (value, default) in values.items() if value != default}


def shell_command(request: Request, folder: str, items: tuple[int, ...] | None = None) -> str:
    """Return the command for a POSIX shell that asks for this, a second line where only some items are upsampled."""
    place = shlex.quote(f"./{folder}" if folder.startswith("-") else folder)
    words = [f"jukebox-kit sample {place}"]
    for name, value in asked_fields(request).items():
        words.append(_option(name, value))
    if items is None:
        return " ".join(words)
    return f"{' '.join(words)} --until level_2\njukebox-kit upsample {place} --items {','.join(map(str, items))}"


def python_call(request: Request, folder: str, items: tuple[int, ...] | None = None) -> str:
    """Return the same as Python."""
    arguments = [repr(folder), *(f"{name}={value!r}" for name, value in asked_fields(request).items())]
    lines = ["import jukebox_kit as jk", "", f"song = jk.Song.create({', '.join(arguments)})"]
    return "\n".join([*lines, "jk.sample(song)"] if items is None else [*lines, "jk.level_2(song)", _upsampled(items)])


def edits_of(manifest: Manifest) -> tuple[str, ...]:
    """Return what a person did to a song since it was begun, undone or not, as its history says it."""
    made = ("created", "made from", "level ")
    return tuple(line["what"] for line in manifest.history if not line["what"].startswith(made))


def _upsampled(items: tuple[int, ...]) -> str:
    return f"jk.upsample(song, items={items!r})"


def _option(name: str, value: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    if value is True:
        return option
    text = ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)
    # Joined by "=", a value that begins with a dash is not taken for an option.
    return f"{option}={shlex.quote(text)}" if text.startswith("-") else f"{option} {shlex.quote(text)}"


def _words(manifest: Manifest) -> tuple[str, ...]:
    """Return whether the request alone makes this song, and if not why, one sentence each."""
    found: list[str] = []
    came = manifest.came_from
    if came.get("kind") == "fork":
        at = "" if came.get("at") is None else f" at {came['at']:g} seconds"
        found.append(f"This song was forked from {came.get('path')}{at}, and begins with what was made there.")
    elif came:
        found.append(f"Codes of this song were brought from {came.get('path')} ({came.get('kind')}).")
    if manifest.undo:
        found.append(f"This song was edited since it was begun: {'; '.join(edits_of(manifest))}.")
    found.append("So the request alone makes another song from its start, and not this one." if found else SAME)
    seams = tuple(line["what"] for line in manifest.history if line["what"].endswith(SEAMS))
    if seams:
        found.append(f"Not all of it was made in one way: {'; '.join(seams)}.")
    if manifest.request.prompt is not None:
        found.append("The recording it starts with must lie where the request says; prompt.wav is what was used of it.")
    return tuple(found)
