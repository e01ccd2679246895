"""Projects of the Gradio web UI: trees of nodes, each a file, which become songs that know their parent.

PROJECT-3-1-2.z        a node; the name of its parent lacks the last number
PROJECT-parents.yaml   the parents of renamed nodes, without `PROJECT-`
PROJECT.yaml           artist, genre, lyrics, temperature
PROJECT.labels         labels, and the text that they were made from

A composed node has one row of codes; an upsampled one has three, for left, centre and right. A node that continues an
upsampled one takes over its lower levels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from jukebox_kit._settings import typed_settings
from jukebox_kit._yaml import read_yaml
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import read_pickle
from jukebox_kit.song.interop.code_lists import OldCodes, OldLevel
from jukebox_kit.song.interop.finding import NODES, OldSource, project_of
from jukebox_kit.song.interop.pickles import (
    WEB_UI,
    OldFile,
    OldLabels,
    check_sums,
    read_labels,
    read_old_file,
)
from jukebox_kit.song.interop.sampler2020 import Found, OldSong

MODEL = "5b_lyrics"  # the only model that the web UI composes with

CHANNELS = ("left", "centre", "right")

SETTINGS = {"artist": str | None, "genre": str | None, "lyrics": str | None, "temperature": float | None}

"""The settings of a project that a song keeps, with their types."""

RATES = (16, 4)  # tokens of levels 0 and 1 under one of level 2


@dataclass(frozen=True)
class Project:
    """A project's files: the folder, its name, and its nodes' files by their full names."""

    folder: Path
    name: str
    nodes: dict[str, Path]
    parents: dict[str, str | None]

    @classmethod
    def around(cls, node: Path, failed: list[str]) -> Project:
        """Return the project that a node belongs to; a fault in the file of parents is added to `failed`."""
        name, folder = project_of(node), node.parent
        files = sorted(p for p in folder.iterdir() if p.suffix in NODES and project_of(p) == name)
        written = _settings(folder / f"{name}-parents.yaml", None, failed)
        parents = {f"{name}-{child}": f"{name}-{parent}" if parent else None for child, parent in written.items()}
        return cls(folder, name, {p.stem: p for p in files}, parents)

    def ancestors(self, node: str) -> list[str]:
        """Return the ancestors of a node whose files exist, the nearest first."""
        nodes: list[str] = []
        seen = {node}
        parent = self._parent(node)
        while parent is not None and parent not in seen:
            seen.add(parent)
            nodes += [parent] if parent in self.nodes else []
            parent = self._parent(parent)
        return nodes

    def _parent(self, node: str) -> str | None:
        if node in self.parents:
            return self.parents[node]
        path = node[len(self.name) + 1 :].rpartition("-")[0]
        return f"{self.name}-{path}" if path else None


def read_project(source: OldSource) -> Found:
    """Read the nodes of a source into songs, parents first; none if a YAML file of the project is faulty."""
    failed: list[str] = []
    project = Project.around(source.paths[0], failed)
    settings = _settings(project.folder / f"{project.name}.yaml", SETTINGS, failed)
    if failed:
        return Found((), tuple(failed))  # a song without its settings would be another song
    labels, notes = _labels(project, settings, failed)
    files: dict[str, OldFile | None] = {}

    def file_of(node: str) -> OldFile | None:
        if node not in files:
            try:
                files[node] = read_old_file(project.nodes[node])
            except JukeboxKitError as error:
                files[node] = None
                failed.append(str(error))
        return files[node]

    wanted = sorted((p.stem for p in source.paths), key=lambda n: (len(project.ancestors(n)), _natural(n)))
    songs: list[OldSong] = []
    for node in wanted:
        file, ancestors = file_of(node), project.ancestors(node)
        if file is None:
            continue
        upsampled = [f for f in map(file_of, [] if _is_upsampled(file) else ancestors) if f and _is_upsampled(f)]
        codes = _with_lower(file.codes, upsampled[0].codes) if upsampled else file.codes
        items = CHANNELS if len(codes[2]) == 3 and _is_upsampled(codes) else _items(len(codes[2]))
        name, parent = (
            source.name + n[len(project.name) :] if n else None for n in (node, next(iter(ancestors), None))
        )
        assert name is not None
        songs.append(OldSong(name, WEB_UI, file.path, codes, labels, items, parent, (*notes, *file.notes)))
    return Found(tuple(songs), tuple(failed))


def _items(count: int) -> tuple[str, ...]:
    return tuple(f"item {number}" for number in range(count))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key for sorting that puts 10 after 9."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def _is_upsampled(of: OldFile | OldCodes) -> bool:
    codes = of.codes if isinstance(of, OldFile) else of
    return any(level.size > 0 for level in codes[:2])


def _with_lower(codes: OldCodes, upsampled: OldCodes) -> OldCodes:
    """Return composed codes with the lower levels of an ancestor, as far as both have the same top codes."""
    rows, length = len(upsampled[2]), min(codes[2].shape[1], upsampled[2].shape[1])
    top: OldLevel = np.repeat(codes[2], rows, 0) if len(codes[2]) == 1 else codes[2]
    if len(top) != rows:
        return codes
    differing = (top[:, :length] != upsampled[2][:, :length]).any(0)
    same = int(differing.argmax()) if differing.any() else length
    lower = [level[:, : same * rate] for level, rate in zip(upsampled[:2], RATES, strict=True)]
    return lower[0], lower[1], top


def _labels(project: Project, settings: Mapping[str, Any], failed: list[str]) -> tuple[OldLabels, tuple[str, ...]]:
    """Return the labels and temperature of a project, and notes for the user."""
    labels, notes = OldLabels(), tuple[str, ...]()
    path = project.folder / f"{project.name}.labels"
    try:
        if path.is_file():
            labels, notes = _labels_in(path)
    except JukeboxKitError as error:
        failed.append(str(error))
    return replace(labels, model=MODEL, **{name: v for name, v in settings.items() if v is not None}), notes


def _labels_in(path: Path) -> tuple[OldLabels, tuple[str, ...]]:
    """Return the labels of a `.labels` file, those of its first channel, and notes."""
    content = read_pickle(path)
    check_sums(path)
    pair = isinstance(content, list | tuple) and len(content) == 2
    channels = read_labels(cast("tuple[object, ...]", content)[0] if pair else content)
    genres = [channel.genre for channel in channels if channel.genre is not None]
    note = f"{path} has a genre for each channel, {', '.join(genres)}; here all items share one."
    return channels[0], (note,) if len(set(genres)) > 1 else ()


def _settings(path: Path, kinds: Mapping[str, Any] | None, failed: list[str]) -> dict[str, Any]:
    """Return settings of a YAML file by their types, empty if it does not exist; a fault is added to `failed`.

    kinds: None reads all settings, as the text in the file.
    """
    try:
        values = read_yaml(path, empty=True, texts=kinds is None) if path.exists() else {}
        return typed_settings(values, dict.fromkeys(values, str | None) if kinds is None else kinds, "", ignored=values)
    except JukeboxKitError as error:
        failed.append(str(error))
        return {}
