"""Files of features: .npy or .safetensors, written row by row beside their name, and the table of all recordings.

OUT/features.json     what all features of the folder are, see `Extractor.facts`
OUT/manifest.csv      a row for each recording, added when its file is complete
OUT/PATH.npy          of the recording PATH: (frames, W), (layers, frames, W), or without frames if pooled;
                      or PATH.safetensors, with layer_N for each and the facts in its header
OUT/PATH.codes.safetensors  with level_0, level_1, level_2, (tokens,) int16
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from jukebox_kit._files import explain, make_folder, move_into_place, read_file, write_atomically
from jukebox_kit.errors import RequestError, SongError

FACTS, MANIFEST = "features.json", "manifest.csv"

DONE, FAILED = "done", "failed"

ROWS = 512  # written in one call

_DTYPES = {"float32": "F32", "float16": "F16"}  # in safetensors


class FeatureFile:
    """A file of features that is being written; `publish` gives it its name."""

    def __init__(
        self, path: Path, layers: tuple[int, ...], shape: tuple[int, ...], dtype: str, facts: Mapping[str, Any]
    ) -> None:
        """Begin a file. path: its name, by which its format is chosen. shape: of each layer's features."""
        self.path, self.part, self.dtype = path, part_of(path), np.dtype(dtype)
        self.width, self.layer_bytes = shape[-1], int(np.prod(shape)) * self.dtype.itemsize
        make_folder(path.parent)
        if path.suffix == ".npy":
            header = _npy_header(shape if len(layers) == 1 else (len(layers), *shape), self.dtype)
        else:
            header = _safetensors_header(layers, shape, dtype, self.layer_bytes, facts)
        self.start = len(header)
        try:
            self.file: IO[bytes] = self.part.open("wb")
            self.file.write(header)
        except OSError as error:
            raise SongError(explain(path, error, "written")) from None

    def write(self, layer: int, row: int, values: NDArray[np.floating[Any]]) -> None:
        """Write rows (n, W) of a layer, counted from 0; row: the number of the first. SongError if the disk refuses."""
        try:
            self.file.seek(self.start + layer * self.layer_bytes + row * self.width * self.dtype.itemsize)
            for first in range(0, len(values), ROWS):  # converted a few at a time
                with np.errstate(over="ignore"):
                    self.file.write(np.ascontiguousarray(values[first : first + ROWS], self.dtype).tobytes())
        except OSError as error:
            raise SongError(explain(self.path, error, "written")) from None

    def close(self) -> None:
        """Flush the part to the disk."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
        except OSError as error:
            raise SongError(explain(self.path, error, "written")) from None


def part_of(path: Path) -> Path:
    """Return the name of a file while it is written."""
    return path.with_name(f".{path.name}.part")


def publish(path: Path) -> None:
    """Give a complete file its name."""
    try:
        move_into_place(part_of(path), path)
    except OSError as error:
        raise SongError(explain(path, error, "written")) from None


def codes_bytes(codes: Mapping[int, NDArray[np.int16]]) -> bytes:
    """Return the content of a file of codes, by level (tokens,) int16."""
    return save({f"level_{level}": np.ascontiguousarray(values) for level, values in sorted(codes.items())})


def _npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    buffer = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def _safetensors_header(
    layers: tuple[int, ...], shape: tuple[int, ...], dtype: str, layer_bytes: int, facts: Mapping[str, Any]
) -> bytes:
    content: dict[str, Any] = {"__metadata__": {name: json.dumps(value) for name, value in facts.items()}}
    for number, layer in enumerate(layers):
        offsets = [number * layer_bytes, (number + 1) * layer_bytes]
        content[f"layer_{layer}"] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": offsets}
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text


@dataclass(frozen=True)
class Row:
    """What became of a recording.

    file: its path below the folder of recordings. bytes: its size. status: done or failed.
    output: its features' file below OUT. seconds: of audio with features. frames: of them; 1 if pooled.
    note: what the user should know, or why it failed.
    """

    file: str
    bytes: int
    status: str
    output: str = ""
    seconds: float = 0.0
    frames: int = 0
    note: str = ""


class Manifest:
    """The table of a folder, by recording. A row is added on disk at once; a row that was cut short is forgotten."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / MANIFEST
        self.rows: dict[str, Row] = {}
        content = read_file(self.path) or b""
        whole = content[: content.rfind(b"\n") + 1].decode("utf-8", "surrogateescape")
        for values in csv.DictReader(io.StringIO(whole, newline="")):
            try:
                row = Row(
                    values["file"],
                    int(values["bytes"]),
                    values["status"],
                    values["output"],
                    float(values["seconds"]),
                    int(values["frames"]),
                    values["note"],
                )
            except (KeyError, TypeError, ValueError):
                continue  # the recording is done again
            self.rows[row.file] = row
        self.save()

    def add(self, row: Row) -> None:
        """Add the row of a recording, or replace it; SongError if the disk refuses."""
        self.rows[row.file] = row
        try:
            with self.path.open("ab") as file:
                file.write(_line(asdict(row).values()))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SongError(explain(self.path, error, "written")) from None

    def forget(self, file: str) -> None:
        """Remove the row of a recording, if it has one."""
        if self.rows.pop(file, None) is not None:
            self.save()

    def save(self) -> None:
        """Write the table again, one row a recording, in the order of their names."""
        rows = [_line(asdict(self.rows[name]).values()) for name in sorted(self.rows)]
        header = _line(field.name for field in fields(Row))
        write_atomically(self.root, MANIFEST, b"".join([header, *rows]))


def _line(values: Any) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def check_facts(root: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts of a folder, or compare them; RequestError if it holds other features, or other files."""
    content = read_file(root / FACTS)
    if content is None:
        write_atomically(root, FACTS, json.dumps(facts, indent=1).encode() + b"\n")
        return
    before = read_facts(root)
    changed = [name for name in facts if name != "made_with" and before.get(name) != facts[name]]
    if changed:
        name = changed[0]
        raise RequestError(
            f"{root} holds features with {name} {before.get(name)}, not {facts[name]}; use the same, or choose another "
            f"folder."
        )


def read_facts(root: Path) -> dict[str, Any]:
    """Return the facts of a folder, empty if it has none; SongError if they are damaged."""
    content = read_file(root / FACTS)
    try:
        facts: dict[str, Any] = {} if content is None else dict(json.loads(content))
    except (ValueError, TypeError):
        raise SongError(f"{root / FACTS} is damaged; choose another folder.") from None
    return facts
