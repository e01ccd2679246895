"""Segments: a song's history as small immutable files, each naming the one before by its hash.

A mount such as Google Drive may deliver a written file late, truncated, twice, out of order or never, and may restore a
deleted one. So no file there is ever overwritten: each save is a new file that holds what changed, and a reader uses
the longest chain of complete segments, starting at the first, and ignores other files. What is read is therefore always
a state that the song once had. A segment is a safetensors file: bytes of the changed ranges, and JSON metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jukebox_kit.model.weights import read_metadata, with_sorted_metadata

Bytes = NDArray[np.uint8]

_GAP = 256  # bytes: changes closer than this are merged


@dataclass(frozen=True)
class Change:
    """What a save changed in a file of `size` bytes. whole: the old content is dropped. ranges: offsets and bytes."""

    name: str
    size: int
    whole: bool
    ranges: tuple[tuple[int, bytes], ...]

    @classmethod
    def between(cls, name: str, old: bytes | None, new: bytes) -> Change:
        """Return the change from one content to another; a file whose length changed is saved as a whole."""
        if old is None or len(old) != len(new):
            return cls(name, len(new), True, ((0, new),))
        differs = np.flatnonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8))
        breaks = np.flatnonzero(np.diff(differs) > _GAP) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(differs, breaks) if len(run)]
        return cls(name, len(new), False, tuple((first, new[first:last]) for first, last in runs))

    def applied(self, old: bytes | None) -> bytes:
        """Return the file's content after the change."""
        content = bytearray(self.size) if self.whole or old is None else bytearray(old)
        for offset, piece in self.ranges:
            content[offset : offset + len(piece)] = piece
        return bytes(content)


@dataclass(frozen=True)
class Segment:
    """One save of a song. index: counted from 1. previous: the digest of the save before it, empty for the first."""

    song: str
    index: int
    previous: str
    changes: tuple[Change, ...]

    @property
    def name(self) -> str:
        """The file's name; readers ignore it, so a renamed copy is as good."""
        return f"{self.index:06d}-{self.digest[:16]}.safetensors"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole segment."""
        digest = hashlib.sha256(self._header().encode())
        for change in self.changes:
            for _, piece in change.ranges:
                digest.update(piece)
        return digest.hexdigest()

    def _header(self) -> str:
        changes = [
            {"name": c.name, "size": c.size, "whole": c.whole, "ranges": [(at, len(piece)) for at, piece in c.ranges]}
            for c in self.changes
        ]
        return json.dumps({"song": self.song, "index": self.index, "previous": self.previous, "changes": changes})

    def packed(self) -> bytes:
        """Return the segment as a file's content."""
        pieces = [piece for change in self.changes for _, piece in change.ranges]
        tensors: dict[str, Bytes] = {str(i): np.frombuffer(piece, np.uint8) for i, piece in enumerate(pieces)}
        return with_sorted_metadata(save(tensors, {"segment": self._header(), "sha256": self.digest}))

    @classmethod
    def parse(cls, content: bytes) -> Segment | None:
        """Return the segment in a file's content; None if it is not a complete one."""
        try:
            metadata = read_metadata(content)
            header: dict[str, Any] = json.loads(metadata["segment"])
            tensors = load(content)
            pieces = iter([tensors[str(i)].tobytes() for i in range(len(tensors))])
            changes = tuple(
                Change(c["name"], c["size"], c["whole"], tuple((at, next(pieces)) for at, _ in c["ranges"]))
                for c in header["changes"]
            )
            segment = cls(header["song"], header["index"], header["previous"], changes)
            return segment if segment.digest == metadata["sha256"] else None
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, StopIteration):
            return None


def longest_chain(segments: Iterable[Segment]) -> list[Segment]:
    """Return the longest chain that starts with a first segment; of two as long, the one with the greater last digest.

    Empty if there is no first segment.
    """
    linked: dict[str, Segment] = {}
    for segment in sorted(segments, key=lambda s: s.index):
        before = linked.get(segment.previous)
        follows = before is not None and (before.index, before.song) == (segment.index - 1, segment.song)
        if follows or (segment.index == 1 and not segment.previous):
            linked[segment.digest] = segment
    chain: list[Segment] = []
    last = max(linked.values(), key=lambda s: (s.index, s.digest), default=None)
    while last is not None:
        chain.append(last)
        last = linked.get(last.previous)
    return chain[::-1]


def replayed(chain: Iterable[Segment], files: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return every file's content after a chain's changes to `files`, by name."""
    contents = dict(files or {})
    for segment in chain:
        for change in segment.changes:
            contents[change.name] = change.applied(contents.get(change.name))
    return contents
