"""The tree of a song's versions: what was tried, what it came from, and where the song is now."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jukebox_kit.song.song import LEVELS

if TYPE_CHECKING:
    from jukebox_kit.song.version_tree import Node

# Measures of the picture, in pixels.
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 204, 46, 34, 14, 8

LETTERS = 27  # as many as fit into a box, in wide fonts too

PLAIN, MARKED = ("#f6f3ec", "#262626", "#8a8a8a"), ("#1f5f8b", "#ffffff", "#8a8a8a")  # box, words, rim


def tree_svg(nodes: Iterable[Node]) -> str:
    """Return the tree as an SVG element, roots at the left, to be put into a page.

    It brings its own colours, which can be read on light and on dark. Each node is a group with its name as
    `data-version`, the present one has the class `now`.
    """
    placed = {node.name: (node, *_corner(depth, row)) for node, depth, row in _laid_out(tuple(nodes))}
    width = MARGIN + max((x + WIDTH for _, x, _ in placed.values()), default=0)
    height = MARGIN + max((y + HEIGHT for _, _, y in placed.values()), default=0)
    lines = [_edge(*placed[node.parent][1:], x, y) for node, x, y in placed.values() if node.parent is not None]
    boxes = [_box(node, x, y) for node, x, y in placed.values()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="versions of the song" font-family="system-ui, sans-serif" font-size="12">',
            *lines,
            *boxes,
            "</svg>",
        ]
    )


def _laid_out(nodes: tuple[Node, ...]) -> list[tuple[Node, int, int]]:
    """Return each node with its depth and its row: a first child goes on in its parent's, others begin new ones."""
    children: dict[str | None, list[Node]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    found: list[tuple[Node, int, int]] = []
    rows = 0
    waiting = [(node, 0, True) for node in reversed(children.get(None, []))]
    while waiting:
        node, depth, fresh = waiting.pop()
        rows += fresh
        found.append((node, depth, rows - 1))
        below = children.get(node.name, [])
        waiting += [(child, depth + 1, number > 0) for number, child in reversed(list(enumerate(below)))]
    return found


def _corner(depth: int, row: int) -> tuple[int, int]:
    return MARGIN + depth * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def _edge(parent_x: int, parent_y: int, x: int, y: int) -> str:
    begin, end, bend = parent_x + WIDTH, x, x - GAP_X / 2
    from_y, to_y = parent_y + HEIGHT / 2, y + HEIGHT / 2
    path = f"M{begin} {from_y} C{bend} {from_y} {bend} {to_y} {end} {to_y}"
    return f'<path d="{path}" fill="none" stroke="#8a8a8a" stroke-width="1.5"/>'


def _box(node: Node, x: int, y: int) -> str:
    fill, ink, rim = MARKED if node.is_now else PLAIN
    label = node.label if len(node.label) <= LETTERS else f"{node.label[: LETTERS - 1]}…"
    levels = ", ".join(f"level {level} {node.levels[level]:.0%}" for level in reversed(LEVELS))
    place = "here now" if node.is_now else f"version {node.name}"
    group = ' class="now"' if node.is_now else ""
    items = f"{node.items} item{'s' if node.items > 1 else ''}"
    return (
        f'<g data-version="{html.escape(node.name)}"{group}>'
        f"<title>{html.escape(f'{node.label} ({place}; {levels})')}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="{fill}" stroke="{rim}"/>'
        f'<text x="{x + 9}" y="{y + 19}" fill="{ink}">{html.escape(label)}</text>'
        f'<text x="{x + 9}" y="{y + 36}" fill="{ink}" font-size="11">'
        f"{html.escape(f'{place} · {node.seconds:.1f} s · {items}')}</text></g>"
    )
