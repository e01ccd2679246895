"""Reads weights: the release's torch pickles and safetensors, memory-mapped and never unpickled unsafely.

Every reader gives the state dict as the file has it (names without `module.`, dtypes kept: the 5b parts hold fp16).
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jukebox_kit.errors import CheckpointError
from jukebox_kit.model.weights.adapter import Adapter
from jukebox_kit.model.weights.safetensors_file import SafetensorsFile

Weights = NDArray[np.float32]

_MULTIARRAY: Any = getattr(np, "_core", None) or getattr(np, "core")  # noqa: B009  # its names in numpy 2 and numpy 1

_SCALAR = _MULTIARRAY.multiarray.scalar

# Metrics beside the weights are numpy scalars; only these, tensors and plain values may be constructed.
ALLOWED: list[Any] = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "float16", "int64", "int32", "bool")),
]


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a `.safetensors` file or of a torch pickle, on the CPU, mapped if the format allows it.

    Raises CheckpointError for a file that is missing, damaged, not a checkpoint, or asks for code to be run.
    """
    return _state(path, "cpu")


def read_shapes(path: Path) -> dict[str, Tensor]:
    """Return what `read_state` returns, but tensors of a legacy file, which cannot be mapped, on the meta device."""
    return _state(path, "meta")


def _state(path: Path, unmapped: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}.")
    if path.suffix == ".safetensors":
        return SafetensorsFile(path).mapped()
    return weights_in(read_pickle(path, unmapped), path)


def weights_in(content: object, path: Path) -> dict[str, Tensor]:
    """Return the state dict in what `read_pickle` returned for a file; CheckpointError if there is none."""
    state = cast("dict[str, Any]", content).get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise CheckpointError(
            f"{path} contains no model weights; a checkpoint of the 2020 release has them under `model`."
        )
    tensors = cast("dict[str, Any]", state)
    odd = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if odd:
        raise CheckpointError(
            f"{path} has something other than a tensor under {odd[0]}; it is not a checkpoint of a component."
        )
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def brought(
    path: Path,
    state: dict[str, Tensor],
    dtypes: Mapping[str, torch.dtype],
    device: torch.device,
    mapped: bool = True,
    adapter: Adapter | None = None,
) -> dict[str, Tensor]:
    """Return a file's weights on a device, each in its dtype of `dtypes`; state: what `read_state` returned for it.

    A tensor that needs no conversion stays mapped, unless `mapped` is false. Others are read from a safetensors file
    instead of copied from the mapping, whose pages would count as memory too: no component is in memory twice.

    adapter: of the component; its changes are added after the conversion.
    """
    file = SafetensorsFile(path) if path.suffix == ".safetensors" else None
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        stays = mapped and value.dtype == dtypes[name] and device.type == "cpu"
        placed = (file.read(name) if file and not stays else value).to(device, dtypes[name])
        found[name] = adapter.changed(name, placed) if adapter else placed
    return found


def read_pickle(path: Path, unmapped: str = "cpu") -> object:
    """Return the content of a torch pickle, read with weights_only and an allow-list of numpy scalars.

    Zip files are mapped, so that 10 GB need no 10 GB of memory; the tensors of the legacy container are read to the
    device `unmapped`. Raises CheckpointError for a file that is damaged, is not a torch pickle, or asks for code to be
    run.
    """
    try:
        mapped = zipfile.is_zipfile(path)
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu" if mapped else unmapped, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported global" in reason or "GLOBAL" in reason:
            name = reason.split("GLOBAL ", 1)[-1].split(" ")[0]
            raise CheckpointError(
                f"{path} asks for {name}, which no checkpoint needs; it was not run and not read."
            ) from None
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged; download it again.") from None
    except Exception as error:  # damaged bytes can make any step of the reader fail in its own way
        short = " ".join(str(error).split()).split(". ")[0][:120] or "it ends too early"
        raise CheckpointError(f"{path} is not a whole checkpoint ({short}); download it again.") from None


def assign(module: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Make `state` the module's weights: its tensors, without copies, replace parameters on the meta device.

    Raises CheckpointError as `matched` does. Tied weights stay tied.
    """
    module.load_state_dict(matched(module, state, what), assign=True)
    if _tied(module):
        module.prior.x_out.weight = module.prior.x_emb.weight  # type: ignore[union-attr]  # _tied found both


def matched(module: nn.Module, state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return the state dict, completed with tied weights that a file may omit.

    Raises CheckpointError if names or shapes belong to another component. what: the file, in errors.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = dict(state)
    if "prior.x_out.weight" in wanted and "prior.x_out.weight" not in given and _tied(module):
        given["prior.x_out.weight"] = given.get("prior.x_emb.weight", torch.empty(0))
    missing, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or extra:
        kind, name = ("lacks", missing[0]) if missing else ("has", extra[0])
        raise CheckpointError(
            f"{what} is the checkpoint of another component or model: it {kind} {name}; pass this component's file."
        )
    for name, shape in wanted.items():
        if tuple(given[name].shape) != shape:
            raise CheckpointError(
                f"{what} is the checkpoint of another component or model: {name} is {tuple(given[name].shape)}, but "
                f"the definition requires {shape}."
            )
    return given


def _tied(module: nn.Module) -> bool:
    config = getattr(module, "config", None)
    return hasattr(module, "prior") and not getattr(config, "merged_decoder", True)


def recipe_tensor(name: str, shape: tuple[int, ...]) -> Weights:
    """Return float32 weights that depend only on a parameter's name and shape, so that anyone can reproduce them.

    They are no use for music, but for numbers to compare, and for files of the released sizes.
    """
    generator = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    values: Weights = generator.standard_normal(shape, dtype=np.float32)
    parts = name.split(".")
    scale, shift = 0.25, 0.0  # embeddings and start tokens
    if parts[-1] == "k":  # codebooks
        scale = 1.0
    elif len(shape) == 1:  # the gains of norms are called `weight`, every other vector is a bias
        scale, shift = (0.1, 1.0) if parts[-1] == "weight" else (0.02, 0.0)
    elif len(shape) == 3:  # convolutions
        scale, values = 1.0, values / np.float32(np.sqrt(shape[1] * shape[2]))
    elif parts[-1] == "w":
        scale = (0.1 if "c_proj" in parts else 1.0) / float(np.sqrt(shape[0]))
    scaled: Weights = np.float32(shift) + np.float32(scale) * values
    return scaled


def recipe_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a component's weights by `recipe_tensor`; tied weights take the alphabetically first name's values."""
    tied = {"prior.x_out.weight": "prior.x_emb.weight"} if _tied(module) else {}
    return {
        name: torch.from_numpy(recipe_tensor(tied.get(name, name), tuple(value.shape)))
        for name, value in module.state_dict().items()
    }


def fingerprint(path: Path) -> str:
    """Return a short fingerprint of a weights file: sha256 over its size and 64 spread samples of 64 KiB.

    Reading gigabytes for a full hash would take longer than sampling a second of music; changes
    that keep the size and fall between the samples are not noticed.
    """
    size, digest = path.stat().st_size, hashlib.sha256()
    digest.update(str(size).encode())
    with path.open("rb") as file:
        for i in range(64):
            file.seek(max(0, size - 65536) * i // 63)
            digest.update(file.read(65536))
    return digest.hexdigest()[:16]
