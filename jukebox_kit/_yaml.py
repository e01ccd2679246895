"""The one reader of YAML files. It keeps their lines, so that each error can be reported at its line.

Numbers are read as YAML 1.2 has them: 010 is ten, 1e3 a thousand, and 1:30 is text. A date is not a value that any
setting takes, so it is refused as an impossible one is.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jukebox_kit._settings import Faults, Settings, Unreadable, described, refusal, unknown_setting
from jukebox_kit._values import as_text
from jukebox_kit.errors import RequestError

MAX_DEPTH = 50  # of lists and mappings within each other; the toolkit's own files have at most 5

_TAG = "tag:yaml.org,2002:"
_NULL, _INT, _FLOAT, _DATE, _MERGE = (f"{_TAG}{name}" for name in ("null", "int", "float", "timestamp", "merge"))
_SCALARS = {_NULL, _INT, _FLOAT, _DATE, _MERGE, f"{_TAG}bool", f"{_TAG}str"}
_NUMBERS = {
    _INT: re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$"),
    _FLOAT: re.compile(r"[-+]?((\.[0-9]+|[0-9][0-9_]*\.?[0-9]*)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"),
}

Resolvers = dict[str | None, list[tuple[str, re.Pattern[str]]]]


def _resolvers(standard: Resolvers, *left_out: str) -> Resolvers:
    """Return which plain scalars are not text, by first character: the standard ones without some tags, and numbers."""
    resolvers = {first: [pair for pair in pairs if pair[0] not in left_out] for first, pairs in standard.items()}
    for tag, pattern in _NUMBERS.items():
        for first in "-+.0123456789":
            resolvers.setdefault(first, []).append((tag, pattern))
    return resolvers


class _TooDeepError(Exception):
    """Lists and mappings are nested too deeply, from a line on."""

    def __init__(self, line: int) -> None:
        self.line = line


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # the YAML library has no types
    """Reads the toolkit's YAML."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeLoader.yaml_implicit_resolvers, _TAG + "value", *_NUMBERS)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Build the next node, unless it is nested too deeply."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeepError(self.peek_event().start_mark.line + 1)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # as above
    """Writes the toolkit's YAML; text that this reader or YAML 1.1 would take for something else is quoted."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeDumper.yaml_implicit_resolvers)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return a node of text; in double quotes, with escapes, if it has line breaks that YAML normalises."""
        return self.represent_scalar(f"{_TAG}str", data, '"' if re.search("[\r\x85\u2028\u2029]", data) else None)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text, 0 if re.match("[-+]?0[box]", text) else 10)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    return float(re.sub(r"\.(inf|nan)$", r"\1", text))


def _date(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> None:
    raise ValueError(f"{node.value} is a date")


for _tag, _construct in ((_INT, _whole_number), (_FLOAT, _number), (_DATE, _date)):
    Loader.add_constructor(_tag, _construct)
Dumper.add_representer(str, Dumper.represent_str)


@dataclass(frozen=True)
class Entry:
    """A setting: the line of its key, the node of its value, and its name as the file writes it."""

    key_line: int
    node: yaml.Node
    written_as: str


class Reader:
    """One YAML file. Faults of form go to `faults`, and values that have them are left out of what is returned.

    missing: the sentence about a file that does not exist.
    texts: whether each scalar but null is read as text, as it is written.
    """

    def __init__(self, path: Path, faults: Faults, missing: str = "", texts: bool = False) -> None:
        self.path, self.faults, self._texts = path, faults, texts
        self._missing = missing or f"there is no file {path}."
        self._loader = Loader("")
        self._merged: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = {}
        self._values: dict[int, Any] = {}

    def root(self) -> yaml.Node | None:
        """Return what the file contains, None if that is nothing; duplicate keys and unusual tags are faults.

        Raises RequestError if there is no such file, ConfigurationError for one that is not YAML.
        """
        try:
            content = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise RequestError(self._missing) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RequestError(f"{self.path} cannot be read ({reason}); give a YAML file.") from None
        root: yaml.Node | None = None
        try:
            text = content.decode()
            root = yaml.compose(text, Loader)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.faults.add(line, "the file is not valid UTF-8; save it as UTF-8.")
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self.faults.add(line, f"YAML does not allow the character {chr(error.character)!r}; remove it.")
        except _TooDeepError as error:
            self.faults.add(error.line, "nested too deeply.")
        except yaml.MarkedYAMLError as error:
            mark, parts = error.problem_mark or error.context_mark, (error.context, error.problem)
            self.faults.add(mark.line + 1 if mark else 1, f"this is not YAML: {', '.join(p for p in parts if p)}.")
        self.faults.check()
        if root is not None:
            self._check(root)
        return root

    def entries(
        self, node: yaml.Node, what: str, known: Sequence[str], older: Mapping[str, str] | None = None
    ) -> dict[str, Entry]:
        """Return the settings of a mapping, `<<` merged in; unknown ones are faults.

        what: what the mapping is, such as "a song". older: names of older files, and what each is called now.
        """
        if not isinstance(node, yaml.MappingNode):
            self.faults.add(line_of(node), f"{what} must be a mapping, not {described(self.value(node))}.")
            return {}
        entries: dict[str, Entry] = {}
        for name, (key, value) in self._pairs(node).items():
            current = (older or {}).get(name, name)
            if current not in known:
                self.faults.add(line_of(key), unknown_setting(name, known, what))
                continue
            if current in entries:
                names = f"{entries[current].written_as} and {name}"
                self.faults.add(line_of(key), f"{names} are the same setting; keep {current} only.")
            entries[current] = Entry(line_of(key), value, name)
        return entries

    def value(self, node: yaml.Node) -> Any:
        """Return a node's value, as Settings describes it; a list or mapping within itself is a fault."""
        return self._value(node, ())

    def text(self, node: yaml.Node, name: str) -> str | None:
        """Return a setting that is text; None if it is something else, which is a fault."""
        try:
            return as_text(self.value(node))
        except TypeError:
            self.faults.add(line_of(node), refusal(name, str, self.value(node)))
            return None

    def _value(self, node: yaml.Node, around: tuple[int, ...]) -> Any:
        if isinstance(node, yaml.ScalarNode):
            if self._texts and not is_null(node):
                return node.value
            try:
                return self._loader.construct_object(node)
            except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError):
                return Unreadable(node.value)  # such as !!int x
        if id(node) in around or len(around) > MAX_DEPTH:
            self.faults.add(line_of(node), "an alias makes this contain itself, or nests it too deeply.")
            return None
        if id(node) not in self._values:  # what many aliases stand for is read once
            around = (*around, id(node))
            if isinstance(node, yaml.MappingNode):
                pairs = self._pairs(node)
                values = {name: self._value(value, around) for name, (_, value) in pairs.items()}
                lines = {name: line_of(key) for name, (key, _) in pairs.items()}
                self._values[id(node)] = Settings(self.path, line_of(node), values, lines)
            else:
                self._values[id(node)] = [self._value(part, around) for part in node.value]
        return self._values[id(node)]

    def _pairs(self, node: yaml.MappingNode, around: tuple[int, ...] = ()) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's keys and values by name, with those of `<<` below its own.

        The YAML library would copy merged settings again for each alias, which grows without bound.
        """
        if id(node) in self._merged:
            return self._merged[id(node)]
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag != _MERGE:
                own[key.value if isinstance(key, yaml.ScalarNode) else described(self.value(key))] = (key, value)
                continue
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for part in reversed(parts):
                if not isinstance(part, yaml.MappingNode):
                    self.faults.add(line_of(part), "<< takes a mapping, or a list of mappings.")
                elif id(part) not in (*around, id(node)) and len(around) < MAX_DEPTH:
                    merged |= self._pairs(part, (*around, id(node)))
        self._merged[id(node)] = merged | own
        return self._merged[id(node)]

    def _check(self, root: yaml.Node) -> None:
        """Report duplicate keys, of which the YAML library would keep the last, and tags that no setting takes."""
        for node in _nodes(root):
            kinds = {yaml.ScalarNode: _SCALARS, yaml.SequenceNode: {f"{_TAG}seq"}, yaml.MappingNode: {f"{_TAG}map"}}
            if node.tag not in kinds[type(node)]:
                tag = node.tag.replace(_TAG, "!!")
                self.faults.add(line_of(node), f"the tag {reprlib.repr(tag)[1:-1]} is not supported; leave it out.")
            lines: dict[tuple[bool, str], int] = {}
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                name = (key.tag == _MERGE, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name in lines:
                    shown = reprlib.repr(key.value)[1:-1]
                    self.faults.add(line_of(key), f"duplicate key {shown} (first on line {lines[name]}); remove one.")
                elif name is not None:
                    lines[name] = line_of(key)


def read_yaml(path: Path, missing: str = "", empty: bool = False, texts: bool = False) -> Settings:
    """Return the mapping that a YAML file contains.

    Raises RequestError if the file does not exist (`missing` is its sentence) or cannot be read, ConfigurationError
    with the line if it contains anything but a mapping.
    empty: whether a file without content is an empty mapping. texts: as of Reader.
    """
    faults = Faults(path)
    reader = Reader(path, faults, missing, texts)
    root = reader.root()
    if root is None and empty:
        return Settings(path, 1, {}, {})
    value = None if root is None else reader.value(root)
    if not isinstance(value, Settings):
        faults.add(1 if root is None else line_of(root), f"the file must contain a mapping, not {described(value)}.")
    faults.check()
    assert isinstance(value, Settings)  # else there is a fault
    return value


def write_yaml(values: Mapping[str, Any]) -> bytes:
    """Return a YAML file that contains these settings, in their order."""
    text: str = yaml.dump(dict(values), Dumper=Dumper, allow_unicode=True, sort_keys=False)
    return text.encode()


def is_null(node: yaml.Node) -> bool:
    """Return whether a setting has no value."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def line_of(node: yaml.Node) -> int:
    """Return the line that a node begins in, from 1."""
    return int(node.start_mark.line) + 1


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    seen, left = set[int](), [root]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue  # an alias stands for the very node, and may even lie within it
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            left += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value
