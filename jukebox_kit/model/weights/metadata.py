"""The metadata of a safetensors file, read without torch."""

from __future__ import annotations

import json


def read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata in a safetensors file's bytes: 8 of header length, then the header as JSON."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata
