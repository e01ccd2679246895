"""The models that can be used by name: those that ship, and the user's own in the folder `models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from jukebox_kit._files import shown_size
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights.definition import (
    PARTS,
    ModelDefinition,
    load_definition,
    model_source,
    own_models,
    shipped_models,
)

ADAPTER, WHOLE = "adapter", "whole"


@dataclass(frozen=True)
class ListedModel:
    """A model in a list.

    name: as `--model` takes it. source: likewise, but valid in any folder; see `model_source`.
    own: whether it is one of the user's.
    definition: None if its YAML file cannot be used; `problem` then says why.
    trained: of the user's own, by component: "adapter", or "whole" for weights of its own.
    size: bytes of these files. written: the time of its YAML file.
    """

    name: str
    source: str
    own: bool
    definition: ModelDefinition | None = None
    problem: str = ""
    trained: Mapping[str, str] = field(default_factory=dict[str, str])
    size: int = 0
    written: datetime | None = None

    @property
    def summary(self) -> str:
        """What one of the user's own models is: base, levels, size and date; empty for those that ship."""
        if self.definition is None or self.written is None:
            return ""
        made_from = self.definition.made_from
        facts = [] if made_from is None else [f"base {made_from.base}"]
        for kind, words in ((ADAPTER, "adapter for"), (WHOLE, "whole weights of")):
            parts = [part for part, its in self.trained.items() if its == kind]
            facts += [f"{words} {', '.join(parts)}"] if parts else []
        if made_from is not None and made_from.checkpoint is not None:
            step = "" if made_from.step is None else f" at step {made_from.step}"
            facts.append(f"imported from {made_from.checkpoint}{step}")
        return "; ".join([*facts, shown_size(self.size), f"{self.written:%Y-%m-%d}"])


def list_models() -> list[ListedModel]:
    """Return the models that ship and then the user's own, each in alphabetical order."""
    shipped = [ListedModel(name, name, False, load_definition(name)) for name in shipped_models()]
    return shipped + [_own(path) for path in own_models().values()]


def _own(path: Path) -> ListedModel:
    folder, source = path.parent, model_source(path)
    name = folder.name if folder.name not in shipped_models() else str(folder)
    try:
        definition = load_definition(path)
        trained = {part: kind for part in PARTS if (kind := _trained(definition, part))}
        files = [definition.adapter(part) if part in definition.adapters else definition.find(part) for part in trained]
        written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        size = sum(file.stat().st_size for file in files if file is not None)
    except (JukeboxKitError, OSError) as error:
        return ListedModel(name, source, True, problem=str(error))
    return ListedModel(name, source, True, definition, "", trained, size, written)


def _trained(definition: ModelDefinition, part: str) -> str:
    """Return whether a component was trained as an adapter or has weights of its own; "" for the base's."""
    adapter = definition.adapter(part)
    if adapter is not None:
        from jukebox_kit.model.weights.adapter import changes_layers  # imports torch, which is slow

        return ADAPTER if changes_layers(adapter) else ""
    folder = definition.folder.resolve()
    return WHOLE if (path := (folder / definition.files[part]).resolve()).is_file() and folder in path.parents else ""
