"""Settings by name, as YAML and JSON files contain them: unknown names, types, and dataclasses built of them."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import types
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from jukebox_kit._values import of_type, type_words
from jukebox_kit.errors import ConfigurationError, JukeboxKitError

T = TypeVar("T")


class Settings(dict[str, Any]):
    """A mapping in a YAML file, which knows the line of each of its settings.

    Values are text, numbers, true or false, None, lists, Settings, or Unreadable.
    """

    def __init__(self, path: Path, line: int, values: Mapping[str, Any], lines: Mapping[str, int]) -> None:
        super().__init__(values)
        self.path, self.line, self.lines = path, line, lines

    def place(self, name: str | None = None) -> str:
        """Return where a setting is, or the mapping if it is not in it: "model.yaml, line 3"."""
        return f"{self.path}, line {self.lines.get(name or '', self.line)}"


@dataclasses.dataclass
class Faults:
    """The faults of a file: (line, sentence), lines counted from 1. The same one is reported once."""

    path: Path
    sentences: dict[tuple[int, str], None] = dataclasses.field(default_factory=dict[tuple[int, str], None])

    def add(self, line: int, sentence: object) -> None:
        """Report a fault."""
        self.sentences[line, " ".join(str(sentence).splitlines())] = None

    def check(self) -> None:
        """Raise ConfigurationError if there are faults, with all of them in the order of the file."""
        faults = sorted(self.sentences, key=lambda fault: fault[0])
        if len(faults) == 1:
            raise ConfigurationError(f"{self.path}, line {faults[0][0]}: {faults[0][1]}")
        if faults:
            lines = [f"  line {line}: {sentence}" for line, sentence in faults]
            raise ConfigurationError("\n".join([f"{self.path} has {len(faults)} faults:", *lines]))


class Unreadable:
    """A scalar that is not what its form or its tag says, such as an impossible date; of no type that is wanted."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return repr(self.text)


def from_mapping(
    cls: type[T],
    values: Mapping[str, Any],
    where: str,
    ignored: Collection[str] = (),
    extra: Mapping[str, Any] = types.MappingProxyType({}),
) -> T:
    """Build a dataclass from a mapping of a YAML or JSON file; lists become tuples.

    ConfigurationError for an unknown or missing setting, a value of another type than its field, and whatever the
    dataclass refuses; with the line if `values` are Settings.
    where: what the mapping is, such as "vqvae", with its file if `values` are not Settings.
    ignored: names that are skipped.
    extra: fields that are not in the file.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # T is always a dataclass here
    hints = get_type_hints(cls)
    kinds = {name: hints[name] for name in fields if name not in extra}
    built = {**typed_settings(values, kinds, where, ignored), **extra}
    missing = [
        n
        for n, f in fields.items()
        if n not in built and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise setting_error(values, where, f"missing {', '.join(missing)}.")
    with located(values, where):
        return cls(**built)


def typed_settings(
    values: Mapping[str, Any], kinds: Mapping[str, Any], where: str, ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Return settings, each as its type in `kinds`; lists become tuples.

    ConfigurationError for an unknown setting and for a value of another type, with the line if `values` are Settings.
    ignored: names that are skipped unless they have a type.
    """
    typed = dict[str, Any]()
    for name, value in values.items():
        if name in kinds:
            try:
                typed[name] = of_type(value, kinds[name])
            except TypeError:
                raise setting_error(values, where, refusal(name, kinds[name], value), name) from None
        elif name not in ignored:
            raise setting_error(values, where, unknown_setting(name, list(kinds)), name)
    return typed


@contextmanager
def located(values: Mapping[str, Any], where: str = "") -> Iterator[None]:
    """Turn an error about one of these settings into a ConfigurationError that names its line."""
    try:
        yield
    except JukeboxKitError as error:
        raise setting_error(values, where, error, error.field) from None


def setting_error(
    values: Mapping[str, Any], where: str, sentence: object, name: str | None = None
) -> ConfigurationError:
    """Return an error about a setting, or about the mapping; with the line if `values` are Settings."""
    place = f"{values.place(name)}: " if isinstance(values, Settings) else ""
    return ConfigurationError(f"{place}{where}: {sentence}" if where else f"{place}{sentence}", field=name)


def unknown_setting(name: str, known: Collection[str], what: str = "") -> str:
    """Return the sentence about a setting that does not exist; what: where it is, such as "a song"."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
    return f"unknown setting {reprlib.repr(name)[1:-1]}{what and f' of {what}'}; {hint}"


def refusal(name: str, kind: Any, value: Any) -> str:
    """Return the sentence about a value of another type than its setting."""
    quotes = str in (kind, *get_args(kind)) and value is not None and not isinstance(value, list | Mapping)
    return f"{name} must be {type_words(kind)}, not {described(value)}{'; put it into quotes' if quotes else ''}."


def described(value: Any) -> str:
    """Return a value of a file in a few words."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list) and any(isinstance(part, list | Mapping) for part in value):
        return "a list of lists or mappings"
    words = {None: "nothing", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else reprlib.repr(value)
