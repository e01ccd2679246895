"""song.json: the request as asked and as resolved, with which weights, on what, and everything that was done."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jukebox_kit.engine import LevelPlan
from jukebox_kit.errors import SongError
from jukebox_kit.model import Labels
from jukebox_kit.song.request import Request, Resolved

if TYPE_CHECKING:
    from jukebox_kit.engine import Model

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What song.json holds.

    upsample: the items that levels below the top are made of, None for all. came_from: where codes made elsewhere came
    from. runs: by level, what the bits of the tokens being made depend on (see `steps.run_facts`). sounds: by level,
    sha256 of the codes whose audio was written last. undo, redo: the kept versions that those commands go to, the next
    one last. settling: the version whose files are on their way to their own names.
    """

    request: Request
    resolved: Resolved
    checkpoints: dict[str, str]
    licence: str
    history: tuple[dict[str, Any], ...] = ()
    upsample: tuple[int, ...] | None = None
    came_from: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict[str, dict[str, Any]])
    sounds: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    undo: tuple[str, ...] = ()
    redo: tuple[str, ...] = ()
    settling: str | None = None

    @classmethod
    def new(
        cls, request: Request, resolved: Resolved, model: Model, came_from: dict[str, Any] | None = None
    ) -> Manifest:
        """Return a new song's."""
        fresh = cls(request, resolved, model.fingerprints(), model.definition.licence, came_from=came_from or {})
        return fresh.noted("created" if not came_from else f"made from {came_from.get('path', 'codes')}")

    def noted(self, what: str, **facts: Any) -> Manifest:
        """Return it with a line more in its history."""
        return replace(self, history=(*self.history, {"when": _now(), "what": what, **facts}))

    def to_json(self) -> bytes:
        """Return song.json's content."""
        values: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self)}
        return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, folder: str) -> Manifest:
        """Read song.json; SongError where it is damaged or a newer version's."""
        try:
            values: dict[str, Any] = json.loads(content)
            made_by = values.pop("format")
            if made_by != FORMAT:
                raise SongError(f"{folder} was made by another version (format {made_by}); upgrade this package.")
            request, resolved = _request(values.pop("request")), _resolved(values.pop("resolved"))
            settled: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
            return cls(request=request, resolved=resolved, **settled)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SongError(f"{folder}/song.json is damaged ({error}); put back a copy of it.") from None


def _request(values: dict[str, Any]) -> Request:
    if "pieces" in values:  # the name of `chunks` in format 1
        values = {"chunks" if name == "pieces" else name: value for name, value in values.items()}
    settled: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    return Request(**settled)


def _resolved(values: dict[str, Any]) -> Resolved:
    labels = tuple(
        Labels(**{**v, "genres": tuple(v["genres"]), "tokens": tuple(v["tokens"])}) for v in values["labels"]
    )
    plans = tuple(LevelPlan(**{**v, "starts": tuple(v["starts"])}) for v in values["plans"])
    return Resolved(values["samples"], labels, plans, tuple(values["notes"]))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
