"""The events of a song's history, as data and as sentences."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

EventKind: TypeAlias = Literal[
    "created",
    "created_from",
    "extended",
    "trimmed",
    "item_chosen",
    "varied",
    "undone",
    "redone",
    "visited",
    "chunks_set",
    "started_in_chunks",
    "resumed_elsewhere",
    "replay_mismatch",
    "out_of_memory",
    "shard_merged",
    "note",
]
Facts: TypeAlias = Mapping[str, Any]

RETURNS = ("undone", "redone", "visited")  # these return to a saved version
# Every other event is an edit unless it has a level, including kinds that a later version of this package writes.
NOT_EDITS = ("created", "created_from", "chunks_set")
DETAILS = ("changed", "before", "run", "tokens", "tokens_of_chunks", "facts")  # too long for a sentence


def _place(facts: Facts) -> str:
    """Return the place of an event in a song: a level, or those of its rows that another worker sampled."""
    if "first_row" not in facts:
        return f"level {facts['level']}"
    first, last = facts["first_row"], facts["last_row"]
    return f"level {facts['level']}, {f'row {first}' if first == last else f'rows {first}-{last}'}"


def _resumed(facts: Facts) -> str:
    at = f" at token {facts['token']}" if "token" in facts else ""
    return f"{_place(facts)} resumed{at} on different hardware or settings"


def _merged(facts: Facts) -> str:
    were = "was" if facts["first_row"] == facts["last_row"] else "were"
    return f"{_place(facts)} {were} sampled by a separate worker"


SENTENCES: Mapping[str, Callable[[Facts], str]] = {
    "created": lambda _: "created",
    "created_from": lambda facts: f"created from {facts['path']}",
    "extended": lambda facts: f"extended by {facts['seconds']:g} seconds",
    "trimmed": lambda facts: f"trimmed to {facts['seconds']:g} seconds",
    "item_chosen": lambda facts: f"chose item {facts['item']}",
    "varied": lambda facts: f"new variations, seed {facts['seed']}",
    "undone": lambda facts: f"undo: back to version {facts['version']}",
    "redone": lambda facts: f"redo: back to version {facts['version']}",
    "visited": lambda facts: f"visit: back to version {facts['version']}",
    "chunks_set": lambda facts: f"chunks set to {facts['level_0']} for level 0 and {facts['level_1']} for level 1",
    "started_in_chunks": lambda facts: f"level {facts['level']} started in {facts['chunks']} chunks",
    "resumed_elsewhere": _resumed,
    "replay_mismatch": lambda facts: f"{_place(facts)}: tokens came out differently when replayed",
    "out_of_memory": lambda facts: (
        f"{_place(facts)}: out of memory with {facts['batch']} {facts['unit']}s in a batch, which was halved"
    ),
    "shard_merged": _merged,
    "note": lambda facts: str(facts["text"]),
}


@dataclass(frozen=True)
class Event:
    """Something that happened to a song.

    when: in ISO 8601. kind: one of `EventKind`, or a kind that a later version of this package writes. facts: further
    values, as in JSON; events during the sampling of a level have its `level`.
    """

    when: str
    kind: str
    facts: Facts

    @classmethod
    def now(cls, kind: EventKind, facts: Facts) -> Event:
        """Return an event with the present time."""
        return cls(datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), kind, facts)

    @classmethod
    def from_json(cls, values: Facts) -> Event:
        """Read an event of song.json; values missing from a hand-edited file stay empty."""
        facts = {name: value for name, value in values.items() if name not in ("when", "kind")}
        return cls(str(values.get("when", "")), str(values.get("kind", "note")), facts)

    def to_json(self) -> dict[str, Any]:
        """Return the event as song.json holds it."""
        return {"when": self.when, "kind": self.kind, **self.facts}

    @property
    def sentence(self) -> str:
        """The event as an English sentence; kind and facts for an unknown kind, or if a fact is missing."""
        try:
            return SENTENCES[self.kind](self.facts)
        except (KeyError, TypeError, ValueError):
            known = {name: value for name, value in self.facts.items() if name not in DETAILS}
            return self.kind.replace("_", " ") + (f" {json.dumps(known, ensure_ascii=False)}" if known else "")

    @property
    def details(self) -> dict[str, Any]:
        """The facts that the sentence leaves out."""
        return {name: value for name, value in self.facts.items() if name in DETAILS}

    @property
    def is_edit(self) -> bool:
        """Whether it is an edit of the song by the user, not part of sampling."""
        return self.kind not in NOT_EDITS and "level" not in self.facts
