"""Values of arguments and settings: each is converted to the type of its field, or refused in one sentence.

Numbers of numpy and torch count as Python's numbers. True and False are not numbers, 5.0 is not a whole number, and no
number is infinite or NaN. A list of numbers may also be a tuple.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

import numpy as np

from jukebox_kit.errors import RequestError

LARGEST = 1e15  # no field means anything beyond, and this also excludes infinity and NaN

LONGEST = 128  # bits of a whole number: ranges are checked later, but no sentence should show thousands of digits

_WORDS = {
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    range: "a range",
}

_PLURALS = {str: "texts", float: "numbers", int: "whole numbers"}

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60


def checked(name: str, value: Any, kind: Any) -> Any:
    """Return the value of an argument as its type; RequestError about the field `name` if it has another type."""
    try:
        return of_type(value, kind)
    except TypeError:
        wanted = type_words(kind)
        if wanted == "text" and isinstance(value, str):  # as the shell passes a name that is not UTF-8
            wanted = "text in UTF-8 without a NUL"
        raise RequestError(f"{name} must be {wanted}, not {shown(value)}.", field=name) from None


def of_type(value: Any, kind: Any) -> Any:
    """Return a value as a type; TypeError if it has another one."""
    parts = get_args(kind)
    if kind is Any:
        return value
    if get_origin(kind) in (Union, types.UnionType):
        for part in parts:
            try:
                return of_type(value, part)
            except TypeError:
                continue
        raise TypeError(kind)
    if get_origin(kind) is tuple:
        return _sequence(value, parts)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise TypeError(kind)
        return value if parts[1] is Any else {name: of_type(one, parts[1]) for name, one in value.items()}
    value = _python_number(value)
    if kind is str:
        return as_text(value)
    if kind in (int, float):
        within = isinstance(value, int) and value.bit_length() <= LONGEST
        if kind is float:
            within = isinstance(value, int | float) and abs(value) < LARGEST
        if isinstance(value, bool) or not within:
            raise TypeError(kind)
        return kind(value)
    if type(value) is not kind:
        raise TypeError(kind)
    return value


def as_text(value: Any) -> str:
    """Return a value that is text; TypeError for others, and for text with half a character or a NUL."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise TypeError("not text")
    return str.__str__(value)  # of numpy's and other text the plain one


def type_words(kind: Any) -> str:
    """Return which values a type stands for: "a number", say."""
    parts = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(type_words(part) for part in parts if part is not types.NoneType)
    if get_origin(kind) is tuple:
        count = "" if parts[-1] is ... else f"{len(parts)} "
        return f"a list of {count}{_PLURALS.get(parts[0], 'mappings')}"
    return _WORDS.get(kind, "a mapping")


def shown(value: object) -> str:
    """Return a value of any kind in a few words, in one line."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python refuses to write out a whole number of more than 4300 digits
        return f"such a long {type(value).__name__}"


def _sequence(value: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a tuple of typed parts; where any number of them will do, of any collection."""
    if parts[-1] is not ...:
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise TypeError(parts)
        return tuple(of_type(one, part) for one, part in zip(value, parts, strict=True))
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise TypeError(parts)
    return tuple(of_type(one, parts[0]) for one in value)


def _python_number(value: Any) -> Any:
    """Return a scalar of numpy or torch as Python's own, and anything else as it is."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)) and value is not np.ma.masked:
        if getattr(getattr(value, "dtype", None), "kind", "f") not in "biufU":
            return value  # numpy's dates and durations
        try:
            value = value.item()
        except (RuntimeError, TypeError):  # a tensor without a value, on torch's meta device
            return value
    return float(value) if isinstance(value, np.floating) else value  # a long double has no type in Python
