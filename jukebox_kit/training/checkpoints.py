"""The state of a training run on disk, from which it resumes exactly.

Each save is new files, which are never overwritten: tensors in pieces, NUMBER-INDEX.safetensors, and last NUMBER.json,
which lists the pieces with their hashes. The newest save that is whole is used, so a disk that delays, truncates or
drops a file, as a mounted Drive may, costs one save at most. The last two are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from jukebox_kit._files import explained, read_file, shown_path, write_atomically

log = logging.getLogger(__name__)

KEPT = 2  # saves

PIECE_BYTES = 2**28  # of tensors in a file, which is in memory twice while it is written

_NAME = re.compile(r"(\d{6})(?:-\d+\.safetensors|\.json)")


@dataclass(frozen=True)
class RunState:
    """What a run depends on: its tensors by name, and facts that JSON can hold, such as the step."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, which later steps do not change."""
    return {name: torch.clone(value.detach()) for name, value in tensors.items()}


class Checkpoints:
    """The saves in an existing folder, which one process uses at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, state: RunState) -> None:
        """Save a state; SongError if the disk refuses, with the saves before it still there."""
        number = max(self._numbers(), default=0) + 1
        digests: list[str] = []
        for index, tensors in enumerate(_pieces(state.tensors)):
            content = save(tensors)
            write_atomically(self.root, f"{number:06d}-{index}.safetensors", content)
            digests.append(hashlib.sha256(content).hexdigest())
        facts = {"facts": dict(state.facts), "pieces": digests}
        text = json.dumps(facts)
        signed = {**facts, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        write_atomically(self.root, f"{number:06d}.json", json.dumps(signed).encode())
        self._delete(number - KEPT)

    def read(self) -> RunState | None:
        """Return the newest state that is whole, None if there is none."""
        for number in sorted(self._numbers(), reverse=True):
            state = self._read(number)
            if state is not None:
                return state
            log.warning("%s: save %d is not whole; trying the one before.", shown_path(self.root), number)
        return None

    def facts(self) -> Mapping[str, Any] | None:
        """Return the facts of the newest state without reading its tensors, None if there is none."""
        listed = (self._listed(number) for number in sorted(self._numbers(), reverse=True))
        return next((one["facts"] for one in listed if one is not None), None)

    def _listed(self, number: int) -> dict[str, Any] | None:
        """Return what the list of a save contains, None if it is not whole."""
        try:
            listed: dict[str, Any] = json.loads(read_file(self.root / f"{number:06d}.json") or b"{}")
            digest = listed.pop("sha256", "")
        except ValueError:
            return None
        return listed if hashlib.sha256(json.dumps(listed).encode()).hexdigest() == digest else None

    def _read(self, number: int) -> RunState | None:
        listed = self._listed(number)
        if listed is None:
            return None
        tensors: dict[str, Tensor] = {}
        for index, wanted in enumerate(listed["pieces"]):
            content = read_file(self.root / f"{number:06d}-{index}.safetensors")
            if content is None or hashlib.sha256(content).hexdigest() != wanted:
                return None
            tensors |= load(content)
        return RunState(tensors, listed["facts"])

    def _numbers(self) -> set[int]:
        with explained(self.root, "read"):
            names = [path.name for path in self.root.iterdir()]
        return {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}

    def _delete(self, last: int) -> None:
        """Delete the saves up to a number; a disk that refuses is no reason to stop."""
        with suppress(OSError):
            for path in list(self.root.iterdir()):
                match = _NAME.fullmatch(path.name)
                if match and int(match[1]) <= last:
                    path.unlink()


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors in groups of up to PIECE_BYTES, on the CPU; a larger tensor is a group of its own."""
    group, size = dict[str, Tensor](), 0
    for name, value in tensors.items():
        grown = size + value.numel() * value.element_size()
        if group and grown > PIECE_BYTES:
            yield group
            group, grown = {}, grown - size
        group[name], size = value.detach().to("cpu").contiguous(), grown
    if group:
        yield group
