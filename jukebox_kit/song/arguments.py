"""Arguments that name levels and items, and numbers written as text, as the shell and the panel take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin

from jukebox_kit._values import checked, of_type
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import LEVELS

_TEXT_WORDS = {
    "temperature": "one number, or three for levels 0,1,2",
    "hop_fraction": "three numbers for levels 0,1,2",
    "chunks": "one whole number, or two for levels 0,1",
}


def parsed(name: str, text: str, kind: Any) -> Any:
    """Return the numbers of a text, separated by commas, as their type; RequestError about the field `name`."""
    try:
        values = tuple(_number(part) for part in text.split(","))
        return of_type(values[0] if len(values) == 1 and get_origin(kind) is not tuple else values, kind)
    except (ValueError, TypeError):
        field = name.replace("-", "_")
        wanted = _TEXT_WORDS.get(field, "whole numbers")
        raise RequestError(f"{name} takes {wanted}, separated by commas, not {text!r}.", field=field) from None


def level_number(value: Any, name: str = "level") -> int:
    """Return the number of a level, which is one of 0, 1, 2 or such text as "level_1"; else RequestError."""
    if isinstance(value, str):
        named = {f"level_{level}": level for level in reversed(LEVELS)}
        if value not in named:
            raise RequestError(f"there is no {value}; {name} takes {', '.join(named)}.", field=name)
        return named[value]
    level: int = checked(name, value, int)
    if level not in LEVELS:
        raise RequestError(f"there is no level {level}; {name} takes 2, 1 or 0.", field=name)
    return level


def item_number(song: str | Path, count: int, item: Any) -> int:
    """Return the number of one of a song's `count` items; song: its folder, as messages show it.

    RequestError for another type, SongError if the song lacks that item.
    """
    return chosen_items(song, count, (checked("item", item, int),))[0]


def chosen_items(song: str | Path, count: int, items: Any) -> tuple[int, ...]:
    """Return the chosen ones of a song's `count` items, each once; items: one number, or any collection of numbers.

    RequestError for another type, SongError if the song lacks one of them, or for none.
    """
    numbers = checked("items", items, int | tuple[int, ...])
    chosen = tuple(dict.fromkeys((numbers,) if isinstance(numbers, int) else numbers))
    wrong = [item for item in chosen if not 0 <= item < count]
    if wrong or not chosen:
        raise SongError(f"{song} has items 0 to {count - 1}, not {wrong or 'none'}; choose of those.", field="items")
    return chosen


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
