"""Reads songs saved in format 1, in which the history was sentences and chunks were called pieces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ROWS = r"rows (?P<first_row>\d+) to (?P<last_row>\d+)"
_LEVEL = rf"level (?P<level>\d): (?:{_ROWS}: )?"
_SECONDS = r"(?P<seconds>\d+(?:\.\d+)?(?:e[+-]\d+)?) seconds"

# Every sentence that format 1 wrote, and the kind of its event.
_SENTENCES = (
    (r"created", "created"),
    (r"made from (?P<path>.*)", "created_from"),
    (rf"extended by {_SECONDS}", "extended"),
    (rf"trimmed to {_SECONDS}", "trimmed"),
    (r"chose item (?P<item>\d+)", "item_chosen"),
    (r"other variations, seed (?P<seed>\d+)", "varied"),
    (r"undo: back to version (?P<version>.+)", "undone"),
    (r"redo: back to version (?P<version>.+)", "redone"),
    (r"visit: back to version (?P<version>.+)", "visited"),
    (
        r"level 0 is to be made with pieces (?P<level_0>\d+), level 1 with pieces (?P<level_1>\d+)",
        "chunks_set",
    ),
    (r"level (?P<level>\d) is made in (?P<chunks>\d+) pieces", "started_in_chunks"),
    (r"level (?P<level>\d) goes on at token (?P<token>\d+) on something else", "resumed_elsewhere"),
    (rf"{_LEVEL}goes on on something else", "resumed_elsewhere"),
    (rf"{_LEVEL}tokens came out differently when replayed", "replay_mismatch"),
    (rf"{_LEVEL}out of memory, (?P<batch>\d+) (?P<unit>item|piece)s at once were halved", "out_of_memory"),
    (rf"level (?P<level>\d): {_ROWS} were made by themselves", "shard_merged"),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _SENTENCES)
_TEXTS = ("path", "version", "unit")
_RENAMED = {"tokens_of_pieces": "tokens_of_chunks"}

LATER = {"lora_scale": 1.0}  # fields of a request that came later, with the values that change nothing


def read_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a line of the history, as format 2 saves it.

    An unknown sentence becomes a note, which keeps its text and the line's other facts.
    """
    sentence = str(line.get("what", ""))
    when = {"when": line["when"]} if "when" in line else {}
    facts = {_RENAMED.get(name, name): value for name, value in line.items() if name not in ("when", "what")}
    for pattern, kind in _PATTERNS:
        if (matched := pattern.fullmatch(sentence)) is not None and "kind" not in facts:
            named = {name: _value(name, text) for name, text in matched.groupdict().items() if text is not None}
            return {**when, "kind": kind, **facts, **named}
    level = re.match(r"level (\d)\b", sentence)  # sentences that begin so are about sampling, not edits
    where = {"level": int(level[1])} if level else {}
    return {**when, "kind": "note", "text": sentence, **where, **({"facts": facts} if facts else {})}


def format_1_note(note: Mapping[str, Any], level: int, rows: range) -> dict[str, Any]:
    """Return the event of a note in a shard's `share.json`; rows: the shard's."""
    return read_line({**note, "what": f"level {level}: rows {rows.start} to {rows.stop - 1}: {note['what']}"})


def read_request(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's fields under their present names."""
    return {"chunks" if name == "pieces" else name: value for name, value in values.items()}


def format_1_request(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's fields under their names in format 1, which the marks of shards are still computed from.

    Fields that requests did not have then are left out while they change nothing, so that older shards fit.
    """
    then = {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}
    return {"pieces" if name == "chunks" else name: value for name, value in then.items()}


def _value(name: str, text: str) -> Any:
    if name == "unit":
        return "chunk" if text == "piece" else text
    if name in _TEXTS:
        return text
    return float(text) if name == "seconds" else int(text)
