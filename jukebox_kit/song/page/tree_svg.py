"""The tree of a song's versions as a picture."""

from __future__ import annotations

from collections.abc import Iterable

from jukebox_kit.model import DOWNWARD
from jukebox_kit.song.page.html import WEB, render_template
from jukebox_kit.song.version_tree import Node, lay_out_tree

# Measures of the picture, in pixels.
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 204, 46, 34, 14, 8

LABEL_CHARACTERS = 27  # as many as fit into a box, in wide fonts too


def tree_svg(nodes: Iterable[Node]) -> str:
    """Return the tree as an SVG element to be put into a page, roots on the left.

    It has its own colours, which are legible on light and on dark backgrounds. Each node is a group with its name as
    `data-version`; the current one has the class `now`.
    """
    placed = {node.name: (node, *_corner(depth, row)) for node, depth, row in lay_out_tree(tuple(nodes))}
    values = {
        "width": MARGIN + max((x + BOX_WIDTH for _, x, _ in placed.values()), default=0),
        "height": MARGIN + max((y + BOX_HEIGHT for _, _, y in placed.values()), default=0),
        "box_width": BOX_WIDTH,
        "box_height": BOX_HEIGHT,
        "edges": [_edge(*placed[node.parent][1:], x, y) for node, x, y in placed.values() if node.parent is not None],
        "boxes": [_box(node, x, y) for node, x, y in placed.values()],
    }
    return render_template(WEB, "tree.svg", values)


def _corner(depth: int, row: int) -> tuple[int, int]:
    return MARGIN + depth * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y)


def _edge(parent_x: int, parent_y: int, x: int, y: int) -> str:
    """Return the path of a curve from the right side of a parent's box to the left side of a child's."""
    start, end, bend = parent_x + BOX_WIDTH, x, x - GAP_X / 2
    from_y, to_y = parent_y + BOX_HEIGHT / 2, y + BOX_HEIGHT / 2
    return f"M{start} {from_y} C{bend} {from_y} {bend} {to_y} {end} {to_y}"


def _box(node: Node, x: int, y: int) -> dict[str, object]:
    """Return what the template shows of a node."""
    levels = ", ".join(f"level {level} {node.levels[level]:.0%}" for level in DOWNWARD)
    place = "current" if node.is_now else f"version {node.name}"
    items = f"{node.items} item{'s' if node.items > 1 else ''}"
    short = node.label if len(node.label) <= LABEL_CHARACTERS else f"{node.label[: LABEL_CHARACTERS - 1]}…"
    return {
        "name": node.name,
        "is_now": node.is_now,
        "x": x,
        "y": y,
        "title": f"{node.label} ({place}; {levels})",
        "label": short,
        "facts": f"{place} · {node.seconds:.1f} s · {items}",
    }
