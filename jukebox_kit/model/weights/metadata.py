"""The metadata of a safetensors file, read and put in order without torch."""

from __future__ import annotations

import json
from typing import Any


def read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata in a safetensors file's bytes: 8 of header length, then the header as JSON."""
    metadata: dict[str, str] = _header(content)[0].get("__metadata__", {})
    return metadata


def with_sorted_metadata(content: bytes) -> bytes:
    """Return a safetensors file's bytes with its metadata sorted by name, so that equal files have equal bytes.

    The library writes metadata in random order.
    """
    header, end = _header(content)
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8, as the library puts them
    return len(text).to_bytes(8, "little") + text + content[end:]


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """Return the header, and where the tensors begin."""
    end = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:end])
    return header, end
