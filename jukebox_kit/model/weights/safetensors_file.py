"""A safetensors file, mapped: tensors that lie in the file until they are read, and reading one at a time.

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

# The dtypes that weights come in, by the names that the format has for them.
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
    """An open file's names, shapes and dtypes. Raises CheckpointError where it is damaged or holds an unknown dtype."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "pt"):  # the library checks the header, the offsets and the size of the whole
                pass
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header: dict[str, dict[str, Any]] = json.loads(file.read(length))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file ({error}); get it again.") from None
        self.start = 8 + length
        self.entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        odd = [entry["dtype"] for entry in self.entries.values() if entry["dtype"] not in DTYPES]
        if odd:
            raise CheckpointError(f"{path} holds numbers of the kind {odd[0]}; no checkpoint of a part does.")

    def mapped(self) -> dict[str, Tensor]:
        """Return every tensor, lying in the file; a copy-on-write mapping keeps the file safe from changes."""
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
        """Return one tensor, read into memory of its own."""
        entry = self.entries[name]
        begin, end = entry["data_offsets"]
        try:
            data = np.fromfile(self.path, np.uint8, end - begin, offset=self.start + begin)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read ({error.strerror}); get it again.") from None
        return torch.from_numpy(data).view(DTYPES[entry["dtype"]]).view(entry["shape"])
