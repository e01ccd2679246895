"""The tree of a song's versions: what was tried, what it came from, and where the song is now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from jukebox_kit.errors import SongError
from jukebox_kit.model import DOWNWARD, LEVELS, TOP
from jukebox_kit.song.edits import BACK_TO
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.page.tree_svg import _laid_out
from jukebox_kit.song.song import Song
from jukebox_kit.song.versions import Levels, read_version, version_names

NOW = "now"


@dataclass(frozen=True)
class Node:
    """A state of the song.

    name: the version to visit, "now" for a present state that is kept nowhere else. parent: the node that it was made
    from. label: what was done to get here. seconds: how much of level 2 every item has. levels: the share of levels 0,
    1 and 2 that is made, of all items together.
    """

    name: str
    parent: str | None
    label: str
    seconds: float
    items: int
    is_now: bool
    levels: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _State:
    """A version, or the present."""

    manifest: Manifest
    levels: Levels

    @property
    def content(self) -> tuple[object, ...]:
        """What makes two states the same one: what was asked for and given; all that is sampled follows from that."""
        given = (found.codes[item, :n] for found in self.levels.values() for item, n in enumerate(found.given))
        digests = tuple(hashlib.sha256(codes.tobytes()).digest() for codes in given)
        return self.manifest.request, digests, *(found.given for found in self.levels.values())

    @property
    def made(self) -> int:
        """Tokens that are made, of all levels and items together."""
        return sum(sum(found.done) for found in self.levels.values())


def tree(song: Song) -> tuple[Node, ...]:
    """Return the states that the song was and is in, parents first; a state reached again is one node.

    So is one that was sampled further; its node tells of the version that is furthest. Versions that are gone or
    damaged are left out, and what came of them goes to what was before. SongError where the present state is damaged.
    """
    states: dict[str, _State] = {}
    for name in version_names(song):
        with suppress(SongError):
            states[name] = _State(*read_version(song, name))
    states[NOW] = _State(song.manifest, {level: song.level(level) for level in LEVELS})
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, state in states.items():
        groups.setdefault(state.content, []).append(name)
    known = {name: number for number, names in enumerate(groups.values()) for name in names}
    called = [_furthest([n for n in names if n != NOW] or names, states) for names in groups.values()]
    nodes: list[Node] = []
    for number, names in enumerate(groups.values()):
        # The undo stack is followed to what came before; a state can only come of an earlier one.
        before = (known[v] for v in reversed(states[names[0]].manifest.undo) if known.get(v, number) < number)
        parent = next((called[earlier] for earlier in before), None)
        nodes.append(_node(song, called[number], parent, states, names))
    return tuple(nodes)


def _furthest(names: list[str], states: Mapping[str, _State]) -> str:
    return max(names, key=lambda name: states[name].made)


def _node(song: Song, name: str, parent: str | None, states: Mapping[str, _State], names: list[str]) -> Node:
    state = states[NOW if NOW in names else name]
    made = min(state.levels[TOP].made) * song.definition.vqvae.hops[-1]
    shares = tuple(sum(found.done) / found.codes.size for found in (state.levels[level] for level in LEVELS))
    label = _label(states[names[0]].manifest, states)
    return Node(name, parent, label, made / song.sr, state.manifest.request.items, NOW in names, shares)


def _label(manifest: Manifest, states: Mapping[str, _State]) -> str:
    """Return the last edit in a history; where it was a return to a version, what had led to that one."""
    passed: set[str] = set()
    while True:
        last = next((line["what"] for line in reversed(manifest.history) if not line["what"].startswith("level ")), "")
        _, back, version = last.partition(BACK_TO)
        if not back or version in passed or version not in states:
            return f"version {version}" if back else last
        passed.add(version)
        manifest = states[version].manifest


def tree_text(nodes: Iterable[Node]) -> str:
    """Return the tree in lines, one for each node, indented below its parent; the present one has a star."""
    lines: list[str] = []
    for node, depth, _ in _laid_out(tuple(nodes)):
        levels = "  ".join(f"level_{level} {node.levels[level]:4.0%}" for level in DOWNWARD)
        mark = "*" if node.is_now else " "
        lines.append(f"{'  ' * depth}{mark} {node.name}  {node.label}, {node.seconds:.1f} s  {levels}")
    return "\n".join(lines)
