"""How to reproduce a song: the shell command, the Python call, and what they cannot reproduce."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import Any

from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.request import Request

REPRODUCIBLE = (
    "On the same machine, with the same versions and weights, this makes the same codes; elsewhere a token may differ, "
    "and with it all that follows."
)

NOT_UNIFORM = ("resumed_elsewhere", "replay_mismatch")  # events after which one run does not give the same codes


@dataclass(frozen=True)
class Recipe:
    """How to reproduce a song: commands, and remarks, sentences on whether they give the same song."""

    shell: str
    python: str
    remarks: tuple[str, ...]


def recipe_of(manifest: Manifest, name: str) -> Recipe:
    """Return how to reproduce a song in a new folder; name: the name of its present folder."""
    folder, request, items = f"{name}-again", manifest.request, manifest.upsample
    return Recipe(shell_command(request, folder, items), python_call(request, folder, items), _remarks(manifest))


def asked_fields(request: Request) -> dict[str, Any]:
    """Return the fields of a request that differ from their defaults."""
    values = {field.name: (getattr(request, field.name), field.default) for field in dataclasses.fields(request)}
    return {name: value for name, (value, default) in values.items() if value != default}


def shell_command(request: Request, folder: str, items: tuple[int, ...] | None = None) -> str:
    """Return the command for a POSIX shell; if only some items were upsampled, a second line upsamples those."""
    place = shlex.quote(f"./{folder}" if folder.startswith("-") else folder)
    command = [f"jukebox-kit sample {place}"]
    for name, value in asked_fields(request).items():
        command.append(_option(name, value))
    if items is None:
        return " ".join(command)
    return f"{' '.join(command)} --until level_2\njukebox-kit upsample {place} --items {','.join(map(str, items))}"


def python_call(request: Request, folder: str, items: tuple[int, ...] | None = None) -> str:
    """Return the same as Python code."""
    arguments = [repr(folder), *(f"{name}={value!r}" for name, value in asked_fields(request).items())]
    lines = ["import jukebox_kit as jk", "", f"song = jk.Song.create({', '.join(arguments)})"]
    return "\n".join([*lines, "jk.sample(song)"] if items is None else [*lines, "jk.level_2(song)", _upsampled(items)])


def edits_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the edits of a song since its creation, one phrase each; those that were undone are included."""
    return tuple(event.sentence for event in manifest.history if event.is_edit)


def _upsampled(items: tuple[int, ...]) -> str:
    return f"jk.upsample(song, items={items!r})"


def _option(name: str, value: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    if value is True:
        return option
    text = ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)
    # Joined by "=", a value that starts with a dash is not read as an option.
    return f"{option}={shlex.quote(text)}" if text.startswith("-") else f"{option} {shlex.quote(text)}"


def _remarks(manifest: Manifest) -> tuple[str, ...]:
    """Return whether the request alone reproduces this song, or why it does not, one sentence each."""
    remarks: list[str] = []
    origin = manifest.came_from
    if origin.get("kind") == "fork":
        at = "" if origin.get("at") is None else f" at {origin['at']:g} seconds"
        remarks.append(f"This song was forked from {origin.get('path')}{at}, and starts with codes of that song.")
    elif origin:
        remarks.append(f"Codes of this song were imported from {origin.get('path')} ({origin.get('kind')}).")
    if manifest.undo:
        remarks.append(f"This song was edited after it was created: {'; '.join(edits_of(manifest))}.")
    remarks.append("So the request alone makes another song, not this one." if remarks else REPRODUCIBLE)
    breaks = [event.sentence for event in manifest.history if event.kind in NOT_UNIFORM]
    if breaks:
        remarks.append(f"Not all of it was sampled under the same conditions: {'; '.join(breaks)}.")
    if manifest.request.prompt is not None:
        remarks.append(
            "The recording it starts with must be at the path in the request; prompt.wav is the part that was used."
        )
    return tuple(remarks)
