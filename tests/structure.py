"""Print how a package is put together: `python tests/structure.py [FOLDER]`; FOLDER is a checkout, this one by default.

Counts what anyone can count again: modules, rooms (top-level folders and files), the longest chain of imports, arrows
between rooms, circles, and the rooms that the four files named in README import from. Imports inside functions count,
those under TYPE_CHECKING do not. A name from a room's surface is followed through its `.pyi` to its definition.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = "jukebox_kit"
ENTRANCES = (  # what README names as the way in, in this layout and in the one before it
    ("model/prior.py", "engine/sampling.py", "song/song.py", "steps/steps.py"),
    ("model/prior.py", "sampling.py", "song.py", "steps.py"),
)

Graph = dict[str, set[str]]


def imported(node: ast.AST, modules: Mapping[str, Path]) -> Iterator[str | None]:
    """Yield the modules that one statement imports, None for those of other packages."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from (defined(node.module, alias.name, modules) for alias in node.names)


def defined(module: str, name: str, modules: Mapping[str, Path]) -> str | None:
    """Return where `from module import name` finds its name, None outside the package."""
    if f"{module}.{name}" in modules:
        return f"{module}.{name}"
    stub = modules[module].with_suffix(".pyi") if module in modules else Path()
    for node in ast.parse(stub.read_text(encoding="utf-8")).body if stub.is_file() else ():
        if isinstance(node, ast.ImportFrom) and any(name in (alias.name, alias.asname) for alias in node.names):
            return defined(f"{module}.{node.module}", name, modules)
    return module if module in modules else None


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below one, without what only a type checker sees."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from run_time(child)


def read(root: Path) -> Graph:
    """Return every module of the package below `root`, by dotted name, with the modules that it imports."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    modules = {".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}
    graph: Graph = {}
    for name, path in modules.items():
        nodes = run_time(ast.parse(path.read_text(encoding="utf-8")))
        graph[name] = {other for node in nodes for other in imported(node, modules) if other} - {name, PACKAGE}
    return graph


def room(module: str, root: Path) -> str:
    """Return the room of a module: the folder or the file just below the package."""
    first = module.split(".")[1]
    return f"{first}/" if (root / PACKAGE / first).is_dir() else f"{first}.py"


def reachable(graph: Graph, start: str) -> set[str]:
    """Return all that `start` imports, directly or not."""
    seen, added = set[str](), graph[start]
    while added:
        seen |= added
        added = set[str]().union(*(graph[module] for module in added)) - seen
    return seen


def circles_of(graph: Graph) -> set[frozenset[str]]:
    """Return the groups of nodes that import each other in a circle."""
    below = {node: reachable(graph, node) for node in graph}
    return {frozenset(n for n in below[node] if node in below[n]) for node in graph if node in below[node]}


def layers(graph: Graph) -> int:
    """Return the number of nodes in the longest chain of imports, where a circle counts as one node."""
    whole = {node: group for group in circles_of(graph) for node in group}

    @cache
    def height(group: frozenset[str]) -> int:
        below = {whole.get(other, frozenset({other})) for node in group for other in graph[node]} - {group}
        return 1 + max(map(height, below), default=0)

    return max(height(whole.get(node, frozenset({node}))) for node in graph)


def report(root: Path) -> Iterator[str]:
    """Yield lines that describe the structure of the package below `root`."""
    graph = read(root)
    inside = {module: found for module, found in graph.items() if module not in (PACKAGE, f"{PACKAGE}.__main__")}
    rooms: Graph = {room(module, root): set() for module in inside}
    for module, found in inside.items():
        rooms[room(module, root)] |= {room(other, root) for other in found} - {room(module, root)}
    yield f"modules, rooms      {len(graph)}, {len(rooms)}"
    yield f"layers of imports   {layers(graph)} between modules, {layers(rooms)} between rooms"
    yield f"arrows              {sum(map(len, rooms.values()))} between rooms"
    for what, circles in (("modules", circles_of(inside)), ("rooms", circles_of(rooms))):
        yield f"circles of {what:<8} {len(circles)}  {'; '.join(' '.join(sorted(one)) for one in circles)}".rstrip()
    files = next((one for one in ENTRANCES if all((root / PACKAGE / path).is_file() for path in one)), ())
    used: set[str] = set()
    for path in files:
        found = graph[".".join((PACKAGE, *Path(path).with_suffix("").parts))]
        used |= (own := {room(other, root) for other in found})
        yield f"{path:<19} imports {len(found)} modules of {len(own)} rooms: {' '.join(sorted(own))}"
    yield f"the four together   import from {len(used)} of {len(rooms)} rooms"


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    sys.stdout.writelines(f"{line}\n" for line in report(root))
