"""The tree of a song's versions: what each was edited from, and which one is current."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from jukebox_kit.errors import SongError
from jukebox_kit.model import DOWNWARD, LEVELS, TOP
from jukebox_kit.song.history import RETURNS, Event
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.state import SongState
from jukebox_kit.song.versions import Levels, read_version, version_names

NOW = "now"


@dataclass(frozen=True)
class Node:
    """A state of the song.

    name: of the version, for `visit`; "now" for a present state that is not saved as a version.
    parent: the name of the node that it was edited from.
    label: the edit that led to it.
    seconds: how much of level 2 is sampled of every item.
    levels: the sampled share of levels 0, 1 and 2, of all items together.
    """

    name: str
    parent: str | None
    label: str
    seconds: float
    items: int
    is_now: bool
    levels: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Version:
    """A version, or the present state."""

    manifest: Manifest
    levels: Levels

    @property
    def content(self) -> tuple[object, ...]:
        """What identifies a state: the request and the given tokens; all sampled tokens follow from those."""
        given = (level.codes[item, :n] for level in self.levels.values() for item, n in enumerate(level.given))
        digests = tuple(hashlib.sha256(codes.tobytes()).digest() for codes in given)
        return self.manifest.request, digests, *(level.given for level in self.levels.values())

    @property
    def made(self) -> int:
        """Number of sampled or given tokens, of all levels and items together."""
        return sum(sum(level.done) for level in self.levels.values())


def tree(state: SongState) -> tuple[Node, ...]:
    """Return the past and present states of the song, parents first; a state reached again is the same node.

    So is a state that was sampled further; its node shows the version that got furthest. Versions that are missing or
    damaged are left out, and their children move to their parent. Raises SongError if the present state is damaged.
    """
    versions: dict[str, _Version] = {}
    for name in version_names(state):
        with suppress(SongError):
            versions[name] = _Version(*read_version(state, name))
    versions[NOW] = _Version(state.manifest, state.all_levels())
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, version in versions.items():
        groups.setdefault(version.content, []).append(name)
    known = {name: number for number, names in enumerate(groups.values()) for name in names}
    labels = [_furthest([n for n in names if n != NOW] or names, versions) for names in groups.values()]
    nodes: list[Node] = []
    for number, names in enumerate(groups.values()):
        # The undo stack leads to the parent; a state can only come from an earlier one.
        before = (known[v] for v in reversed(versions[names[0]].manifest.undo) if known.get(v, number) < number)
        parent = next((labels[earlier] for earlier in before), None)
        nodes.append(_node(state, labels[number], parent, versions, names))
    return tuple(nodes)


def _furthest(names: list[str], versions: Mapping[str, _Version]) -> str:
    return max(names, key=lambda name: versions[name].made)


def _node(state: SongState, name: str, parent: str | None, versions: Mapping[str, _Version], names: list[str]) -> Node:
    version = versions[NOW if NOW in names else name]
    made = min(version.levels[TOP].made) * state.definition.vqvae.hops[-1]
    fractions = tuple(sum(codes.done) / codes.codes.size for codes in (version.levels[level] for level in LEVELS))
    label = _label(versions[names[0]].manifest, versions)
    return Node(name, parent, label, made / state.sr, version.manifest.request.items, NOW in names, fractions)


def last_edit(manifest: Manifest, versions: Mapping[str, Manifest]) -> Event | None:
    """Return the last edit in a history, or how the song was created; None if it is empty.

    If it was a return to a version, the edit that had led to that version; the return itself if `versions`, by name,
    lacks it.
    """
    passed: set[str] = set()
    while True:
        origins = [event for event in manifest.history if event.is_edit or event.kind in ("created", "created_from")]
        if not origins or origins[-1].kind not in RETURNS:
            return origins[-1] if origins else None
        version = str(origins[-1].facts.get("version"))
        if version in passed or version not in versions:
            return origins[-1]
        passed.add(version)
        manifest = versions[version]


def _label(manifest: Manifest, versions: Mapping[str, _Version]) -> str:
    """Return the sentence of the last edit, or the name of a version that is lost."""
    event = last_edit(manifest, {name: version.manifest for name, version in versions.items()})
    if event is None:
        return ""
    return f"version {event.facts.get('version')}" if event.kind in RETURNS else event.sentence


def tree_text(nodes: Iterable[Node]) -> str:
    """Return the tree as lines of text, each node indented below its parent; a star marks the current version."""
    lines: list[str] = []
    for node, depth, _ in lay_out_tree(tuple(nodes)):
        levels = "  ".join(f"level_{level} {node.levels[level]:4.0%}" for level in DOWNWARD)
        mark = "*" if node.is_now else " "
        lines.append(f"{'  ' * depth}{mark} {node.name}  {node.label}, {node.seconds:.1f} s  {levels}")
    return "\n".join(lines)


def lay_out_tree(nodes: tuple[Node, ...]) -> list[tuple[Node, int, int]]:
    """Return each node with its depth and its row: a first child shares its parent's row, others start new rows."""
    children: dict[str | None, list[Node]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    placed: list[tuple[Node, int, int]] = []
    rows = 0
    waiting = [(node, 0, True) for node in reversed(children.get(None, []))]
    while waiting:
        node, depth, new_row = waiting.pop()
        rows += new_row
        placed.append((node, depth, rows - 1))
        below = children.get(node.name, [])
        waiting += [(child, depth + 1, number > 0) for number, child in reversed(list(enumerate(below)))]
    return placed
