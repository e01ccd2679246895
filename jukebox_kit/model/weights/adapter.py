"""What fine-tuning adds to a component: low-rank changes of its linear layers, and rows of its label tables.

A file of an adapter has, for each linear layer NAME that it changes, `NAME.a` (in, rank) and `NAME.b` (rank, out): the
change of its weights is a·b; and for each table NAME that it extends, `NAME.rows` and `NAME.rows_before`
(new rows, width), the rows after and before training. All are float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.metadata import with_sorted_metadata
from jukebox_kit.model.weights.safetensors_file import SafetensorsFile

A, B, ROWS, ROWS_BEFORE = ".a", ".b", ".rows", ".rows_before"


@dataclass(frozen=True)
class Adapter:
    """An adapter at a strength.

    source: its file, for errors.
    tensors: as the file has them.
    strength: from 0, the base model, to 1, the fine-tuned one, and beyond.
    """

    source: str
    tensors: Mapping[str, Tensor]
    strength: float = 1.0

    @classmethod
    def read(cls, path: Path, strength: float = 1.0) -> Adapter:
        """Read a file; CheckpointError if it is missing, damaged or not an adapter."""
        file = _opened(path)
        adapter = cls(str(path), {name: file.read(name) for name in file.entries}, strength)
        suffixes = {A: B, B: A, ROWS: ROWS_BEFORE, ROWS_BEFORE: ROWS}
        for name in adapter.tensors:
            stem, suffix = _split(name)
            if suffix not in suffixes or stem + suffixes[suffix] not in adapter.tensors:
                raise CheckpointError(f"{path} is not an adapter: {name} has no counterpart.")
        return adapter

    def to_bytes(self, metadata: Mapping[str, str]) -> bytes:
        """Return the content of the file, with some metadata."""
        tensors = {name: value.detach().cpu().float().contiguous() for name, value in self.tensors.items()}
        return with_sorted_metadata(save(tensors, dict(metadata)))

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Raise CheckpointError if a component's state dict lacks what the adapter changes, or has other shapes."""
        for name, value in self.tensors.items():
            stem, suffix = _split(name)
            base = state.get(f"{stem}.w" if suffix in (A, B) else f"{stem}.weight")
            axis = {A: (0, 0), B: (1, 1)}.get(suffix, (1, 1))
            if base is None or base.shape[axis[0]] != value.shape[axis[1]]:
                raise CheckpointError(f"{self.source} belongs to another model: {stem} is not as it expects.")

    def with_rows(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with the tables' new rows: these tables are new tensors. CheckpointError as `check`."""
        self.check(state)
        extended = dict(state)
        for name in self.tensors:
            stem, suffix = _split(name)
            if suffix == ROWS:
                key = f"{stem}.weight"
                extended[key] = self.changed(key, state[key])
        return extended

    def changed(self, name: str, value: Tensor) -> Tensor:
        """Return a tensor of the component as fine-tuned, on the same device and in the same dtype.

        The sum is computed in float32.
        """
        stem, _, own = name.rpartition(".")
        if own == "w" and stem + A in self.tensors:
            a, b = (self.tensors[stem + suffix].to(value.device) for suffix in (A, B))
            return (value.float() + self.strength * (a @ b)).to(value.dtype) if self.strength else value
        if own == "weight" and stem + ROWS in self.tensors:
            return torch.cat([value, self.rows(stem).to(value.device, value.dtype)])
        return value

    def rows(self, table: str) -> Tensor:
        """Return the new rows of a table (by its name without `.weight`) at this strength."""
        after, before = self.tensors[table + ROWS], self.tensors[table + ROWS_BEFORE]
        return before + self.strength * (after - before)


def changes_layers(path: Path) -> bool:
    """Return whether an adapter was trained; others have nothing but rows of new names. Errors as `Adapter.read`."""
    return any(name.endswith(A) for name in _opened(path).entries)


def _opened(path: Path) -> SafetensorsFile:
    if not path.is_file():
        raise CheckpointError(f"there is no adapter {path}; put it back beside the model's YAML file.")
    return SafetensorsFile(path)


def _split(name: str) -> tuple[str, str]:
    stem, _, suffix = name.rpartition(".")
    return stem, f".{suffix}"
