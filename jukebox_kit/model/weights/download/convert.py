"""Converts weights to one safetensors file: written tensor by tensor and read back before it gets its name.

The linear layers of the transformers are converted to float16, in which the release computes: on a GPU the numbers
are the same, and the file is little more than half as large. Everything else keeps its dtype. The same tensors always
give the same bytes, from any source, so that a song started with one copy can resume with another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from jukebox_kit._files import explain, replacing
from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.blank import linear_names
from jukebox_kit.model.weights.checkpoint import matched, read_state
from jukebox_kit.model.weights.safetensors_file import DTYPES, SafetensorsFile

NAMES = {dtype: name for name, dtype in DTYPES.items()}


def converted_dtypes(part: nn.Module, state: Mapping[str, Tensor], keep: bool) -> dict[str, torch.dtype]:
    """Return the dtype that each tensor of a component is saved in; keep: do not convert linear layers.

    Weights that are tied to others are omitted: loading ties them again.
    """
    maps = set() if keep else linear_names(part)
    halved = {torch.float32, torch.float16, torch.bfloat16, torch.float64}
    tied = "prior.x_out.weight" if getattr(getattr(part, "config", None), "merged_decoder", True) is False else ""
    return {
        name: torch.float16 if name in maps and value.dtype in halved else value.dtype
        for name, value in state.items()
        if name != tied
    }


def converted_size(part: nn.Module, keep: bool) -> int:
    """Return the bytes of a component's converted file without its header, if the original is in float32."""
    blank = {name: torch.empty(value.shape, device="meta") for name, value in part.state_dict().items()}
    dtypes = converted_dtypes(part, blank, keep)
    return sum(blank[name].numel() * dtype.itemsize for name, dtype in dtypes.items())


def convert(part: nn.Module, state: Mapping[str, Tensor], path: Path, keep: bool) -> tuple[int, str]:
    """Write a component's weights to `path` and return the file's bytes and sha256.

    state: the component's weights; of mapped ones only one tensor at a time is in memory.
    keep: do not convert linear layers to another dtype.

    The file is written as `.part`, flushed to the disk, read back and opened as the component before it gets its name;
    CheckpointError if it differs from what was written, or if the disk cannot hold it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            written = _write(beside, state, converted_dtypes(part, state, keep))
            if _read_back(beside) != written:
                raise CheckpointError(f"{path} read back differently from what was written; the disk may be failing.")
            matched(part, SafetensorsFile(beside).mapped(), str(path))
            size = beside.stat().st_size
        return size, written
    except OSError as error:
        raise CheckpointError(explain(path, error, "written")) from None


def _write(path: Path, state: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> str:
    """Write the container: 8 bytes of header length, the header as JSON, the tensors. Return the sha256."""
    # The widest elements first, so that each tensor starts at a multiple of its element's size.
    order = sorted(dtypes, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        begin, end = end, end + state[name].numel() * dtypes[name].itemsize
        header[name] = {
            "dtype": NAMES[dtypes[name]],
            "shape": list(state[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            digest.update(piece)
            file.write(piece)
        for name in order:
            data = state[name].to(dtypes[name]).contiguous().reshape(-1).view(torch.uint8).numpy().data
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _read_back(path: Path) -> str:
    """Return the sha256 of a file as it is on the disk, not in the system's cache."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def opens_as(part: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return a file's mapped weights; CheckpointError if it is not a checkpoint of this component."""
    return matched(part, read_state(path), str(path))
