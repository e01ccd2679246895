"""song.json: the request as asked and as resolved, the weights and hardware used, and the history."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jukebox_kit.engine import LevelPlan
from jukebox_kit.errors import SongError
from jukebox_kit.model import Labels
from jukebox_kit.song.format_1 import read_line, read_request
from jukebox_kit.song.history import Event, EventKind
from jukebox_kit.song.request import Request, Resolved

if TYPE_CHECKING:
    from jukebox_kit.engine import Model

FORMAT = 2  # 1 is read, see `format_1`


@dataclass(frozen=True)
class Manifest:
    """What song.json holds.

    id: 32 hex digits, by which files made from the song name it; empty in songs from before there were ids.
    checkpoints: by component of the model, the fingerprint of its weights. history: what happened, the first event
    first. upsample: the items that are upsampled below the top level, None for all. came_from: the source of codes
    that were not sampled here. runs: by level, everything that can change the sampled tokens, such as the device, the
    precision and the batch size (see `steps.run_facts`). sounds: by level, SHA-256 of the codes whose audio was
    written last. undo, redo: the saved versions that those commands go to, the next one last. settling: the version
    whose files are being moved to the song's own file names, None when no edit is in progress.
    """

    request: Request
    resolved: Resolved
    checkpoints: dict[str, str]
    licence: str
    history: tuple[Event, ...] = ()
    upsample: tuple[int, ...] | None = None
    came_from: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict[str, dict[str, Any]])
    sounds: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    undo: tuple[str, ...] = ()
    redo: tuple[str, ...] = ()
    settling: str | None = None
    id: str = ""

    @classmethod
    def new(
        cls, request: Request, resolved: Resolved, model: Model, came_from: dict[str, Any] | None = None
    ) -> Manifest:
        """Return the manifest of a new song."""
        fresh = cls(request, resolved, model.fingerprints(), model.definition.licence, came_from=came_from or {})
        fresh = replace(fresh, id=uuid.uuid4().hex)
        return fresh.noted("created_from", path=came_from.get("path", "codes")) if came_from else fresh.noted("created")

    @property
    def song_id(self) -> str:
        """The song's id; one from before there were ids has that of its first event and its weights."""
        if self.id:
            return self.id
        first = [event.to_json() for event in self.history[:1]]
        text = json.dumps([first, self.checkpoints, self.came_from], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]

    def noted(self, kind: EventKind, **facts: object) -> Manifest:
        """Return the manifest with an event added to its history; facts: values that JSON can hold."""
        return replace(self, history=(*self.history, Event.now(kind, facts)))

    def to_json(self) -> bytes:
        """Return the content of song.json."""
        values: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self), "resolved": self.resolved.fields()}
        values["history"] = [event.to_json() for event in self.history]
        text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")  # what is not text in a file name is escaped, as JSON reads it

    @classmethod
    def from_json(cls, content: bytes, folder: str) -> Manifest:
        """Read song.json; raises SongError if it is damaged or was written by a newer version."""
        try:
            values: dict[str, Any] = json.loads(content)
            written_in = values.pop("format")
            if written_in not in (1, FORMAT):
                raise SongError(f"{folder} was made by another version (format {written_in}); upgrade this package.")
            request, resolved = _request(values.pop("request")), _resolved(values.pop("resolved"))
            lines: list[dict[str, Any]] = values.pop("history", [])
            history = tuple(Event.from_json(read_line(line) if written_in == 1 else line) for line in lines)
            others: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
            return cls(request=request, resolved=resolved, history=history, **others)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SongError(f"{folder}/song.json is damaged ({error}); put back a copy of it.") from None


def _request(values: dict[str, Any]) -> Request:
    fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in read_request(values).items()}
    return Request(**fields)


def _resolved(values: dict[str, Any]) -> Resolved:
    labels = tuple(
        Labels(**{**v, "genres": tuple(v["genres"]), "tokens": tuple(v["tokens"]), "due": _due(v.get("due", ()))})
        for v in values["labels"]
    )
    plans = tuple(LevelPlan(**{**v, "starts": tuple(v["starts"])}) for v in values["plans"])
    return Resolved(values["samples"], labels, plans, tuple(values["notes"]))


def _due(stretches: list[list[int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((first, begin, end) for first, begin, end in stretches)
