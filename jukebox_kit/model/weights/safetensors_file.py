"""Safetensors files: tensors mapped from the file, or read into memory one at a time.

The library's own `load_file` maps as well, but touches each tensor, which on some kernels maps megabytes around it; a
mapped page counts as memory of the process. Here nothing is touched before it is used.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from jukebox_kit.errors import CheckpointError

# The dtypes of weights, by their names in the format.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class SafetensorsFile:
    """The names, shapes and dtypes of a file. Raises CheckpointError if it is damaged or has an unknown dtype."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "pt"):  # the library checks the header, the offsets and the file's size
                pass
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, dict[str, Any]] = json.loads(file.read(length))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file ({error}); download it again.") from None
        self.start = 8 + length
        self.entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        odd = [entry["dtype"] for entry in self.entries.values() if entry["dtype"] not in DTYPES]
        if odd:
            raise CheckpointError(f"{path} contains numbers of type {odd[0]}, which no checkpoint of a component has.")

    def mapped(self) -> dict[str, Tensor]:
        """Return every tensor, mapped copy-on-write, so that changes never reach the file."""
        with self.path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        tensors: dict[str, Tensor] = {}
        for name, entry in self.entries.items():
            shape, dtype = entry["shape"], DTYPES[entry["dtype"]]
            begin, end = entry["data_offsets"]
            count = (end - begin) // dtype.itemsize
            lying = {"dtype": dtype, "count": count, "offset": self.start + begin}
            tensors[name] = torch.frombuffer(mapping, **lying).view(shape) if count else torch.empty(shape, dtype=dtype)
        return tensors

    def read(self, name: str) -> Tensor:
        """Return one tensor, read into memory."""
        entry = self.entries[name]
        begin, end = entry["data_offsets"]
        try:
            data = np.fromfile(self.path, np.uint8, end - begin, offset=self.start + begin)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read ({error.strerror}); download it again.") from None
        return torch.from_numpy(data).view(DTYPES[entry["dtype"]]).view(entry["shape"])
