"""YAML with its lines: what a file says and where it says it, so that each of its faults can be named there."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jukebox_kit.errors import ConfigurationError, RequestError

RENAMED = {"pieces": "chunks"}  # older albums use the names on the left


@dataclass
class Faults:
    """The faults of a file: (line, sentence), lines counted from 1. One that is met again counts once."""

    path: Path
    found: dict[tuple[int, str], None] = field(default_factory=dict[tuple[int, str], None])

    def add(self, line: int, sentence: object) -> None:
        """Take down a fault."""
        self.found[line, " ".join(str(sentence).splitlines())] = None

    def check(self) -> None:
        """Raise ConfigurationError where there are faults, with all of them in the order of the file."""
        faults = sorted(self.found, key=lambda fault: fault[0])
        if len(faults) == 1:
            raise ConfigurationError(f"{self.path}, line {faults[0][0]}: {faults[0][1]}")
        if faults:
            lines = [f"  line {line}: {sentence}" for line, sentence in faults]
            raise ConfigurationError("\n".join([f"{self.path} has {len(faults)} faults:", *lines]))


@dataclass(frozen=True)
class Entry:
    """A setting: the line of its key, the node of its value, and its name as the file writes it."""

    key_line: int
    node: yaml.Node
    written_as: str


class Reader:
    """One YAML file. Faults of form go to `faults`, and what has them is left out of what the methods return."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path, self.faults = path, faults
        self._loader = yaml.SafeLoader("")

    def root(self) -> yaml.Node:
        """Return what the file holds; keys that a mapping has twice are faults.

        Raises at once RequestError where there is no such file, ConfigurationError for one that is empty or no YAML.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            raise RequestError(f"there is no album file {self.path}; see configs/albums for some to copy.") from None
        except OSError as error:
            raise RequestError(f"{self.path} cannot be read ({error.strerror}); give a YAML file.") from None
        try:
            text = content.decode()
            root: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
            if root is None:
                self.faults.add(1, "the file holds nothing; an album needs songs.")
        except UnicodeDecodeError as error:
            self.faults.add(content.count(b"\n", 0, error.start) + 1, "this is no text; save the file as UTF-8.")
        except yaml.reader.ReaderError as error:
            self.faults.add(text.count("\n", 0, error.position) + 1, f"{error.character!r} may not stand in YAML.")
        except yaml.MarkedYAMLError as error:
            mark, parts = error.problem_mark or error.context_mark, (error.context, error.problem)
            self.faults.add(mark.line + 1 if mark else 1, f"this is not YAML: {', '.join(p for p in parts if p)}.")
        except RecursionError:
            self.faults.add(1, "lists and settings lie too deep within each other.")
        self.faults.check()
        assert root is not None  # else there is a fault
        self._refuse_doubles(root)
        return root

    def entries(self, node: yaml.Node, what: str, known: Sequence[str]) -> dict[str, Entry]:
        """Return the settings that a mapping holds, `<<` merged in; unknown ones are faults. what: "a song", say."""
        if not isinstance(node, yaml.MappingNode):
            self.faults.add(line_of(node), f"{what} must hold settings by name, not {self.said(node)}.")
            return {}
        try:
            self._loader.flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            self.faults.add(error.problem_mark.line + 1, "<< takes settings by name, or a list of such.")
        found: dict[str, Entry] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else self.said(key)
            current = RENAMED.get(name, name)
            if current in known:
                if current in found and name != found[current].written_as:
                    names = f"{found[current].written_as} and {name}"
                    self.faults.add(line_of(key), f"{names} are the same setting; keep {current} only.")
                found[current] = Entry(line_of(key), value, name)
                continue
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            self.faults.add(line_of(key), f"unknown setting {reprlib.repr(name)[1:-1]} of {what}; {hint}")
        return found

    def plain(self, node: yaml.Node) -> Any:
        """Return a node's value: what a scalar stands for, or a list of such; raises TypeError for anything else."""
        if isinstance(node, yaml.SequenceNode) and all(isinstance(part, yaml.ScalarNode) for part in node.value):
            return [self.plain(part) for part in node.value]
        if not isinstance(node, yaml.ScalarNode):
            raise TypeError("not a scalar nor a list of scalars")
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise TypeError("not what its tag says") from error  # such as !!int x, or a date that is none

    def text(self, node: yaml.Node, name: str) -> str | None:
        """Return a setting that is text; None where it is something else, which is a fault."""
        try:
            return as_text(self.plain(node))
        except TypeError:
            self.faults.add(line_of(node), f"{name} must be text, not {self.refused(node, text=True)}.")
            return None

    def refused(self, node: yaml.Node, text: bool) -> str:
        """Return in words a value that is of a wrong type, with how to write it where `text` is wanted."""
        quotes = text and isinstance(node, yaml.ScalarNode) and not is_null(node)
        return self.said(node) + ("; put it into quotes" if quotes else "")

    def said(self, node: yaml.Node) -> str:
        """Return a value in words, short."""
        if isinstance(node, yaml.MappingNode):
            return "settings by name"
        try:
            value = self.plain(node)
        except TypeError:
            return "a list of lists or settings" if isinstance(node, yaml.SequenceNode) else reprlib.repr(node.value)
        words = {None: "nothing", True: "true", False: "false"}
        return reprlib.repr(value) if not (value is None or isinstance(value, bool)) else words[value]

    def _refuse_doubles(self, root: yaml.Node) -> None:
        """Take down keys that a mapping has twice, of which the YAML library would keep the last."""
        for mapping in _mappings(root):
            lines: dict[tuple[str, str], int] = {}
            for key, _ in mapping.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name in lines:
                    shown = reprlib.repr(key.value)[1:-1]
                    self.faults.add(line_of(key), f"{shown} stands in line {lines[name]} already; take one away.")
                elif name is not None:
                    lines[name] = line_of(key)


def as_text(value: Any) -> str:
    """Return a value that is text; TypeError for others, and for half characters or a NUL, which YAML can write."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise TypeError("not text")
    return value


def is_null(node: yaml.Node) -> bool:
    """Return whether a setting is given without a value."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def line_of(node: yaml.Node) -> int:
    """Return the line that a node begins in, from 1."""
    return int(node.start_mark.line) + 1


def _mappings(root: yaml.Node) -> Iterator[yaml.MappingNode]:
    seen, left = set[int](), [root]
    while left:
        node = left.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue  # an alias stands for the very node, and may even lie within it
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            left += [part for pair in node.value for part in pair]
        else:
            left += node.value
