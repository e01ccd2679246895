"""The hub's mirrors: all components in one file or a few, under the transformers library's parameter names.

That library's `JukeboxModel` (up to 4.57, at last under `models.deprecated`) calls the VQ-VAE `vqvae`, the top prior
`priors.0`, and the upsamplers of levels 1 and 0 `priors.1` and `priors.2`. The numbers are the release's, in the same
shapes and orientation; only the names differ, as `mirror_name` describes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from jukebox_kit._files import user_path
from jukebox_kit.model.weights.checkpoint import matched, read_pickle
from jukebox_kit.model.weights.download.http import PlaceError
from jukebox_kit.model.weights.safetensors_file import SafetensorsFile

# The possible names of a repository's weights: safetensors before pickles, one file or many with an index.
SINGLE = ("model.safetensors", "pytorch_model.bin")

# Our names on the left; the numbers on the right count convolutions and stacks together.
_PLACES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    # encoders: model.i.0 is a convolution, model.i.1 the stack after it, the last model.i the output layer
    (r"(encoders\.\d+\.level_blocks\.\d+)\.model\.(\d+)\.0\.", lambda m: f"{m[1]}.downsample_block.{2 * int(m[2])}."),
    (
        r"(encoders\.\d+\.level_blocks\.\d+)\.model\.(\d+)\.1\.model\.(\d+)\.model\.",
        lambda m: f"{m[1]}.downsample_block.{2 * int(m[2]) + 1}.resnet_block.{m[3]}.model.",
    ),
    (r"(encoders\.\d+\.level_blocks\.\d+)\.model\.\d+\.(?=weight|bias)", lambda m: f"{m[1]}.proj_out."),
    # decoders: model.0 is the input layer, then model.i.0 a stack and model.i.1 the convolution after it
    (r"(decoders\.\d+\.level_blocks\.\d+)\.model\.0\.(?=weight|bias)", lambda m: f"{m[1]}.proj_in."),
    (
        r"(decoders\.\d+\.level_blocks\.\d+)\.model\.(\d+)\.0\.model\.(\d+)\.model\.",
        lambda m: f"{m[1]}.upsample_block.{2 * int(m[2]) - 2}.resnet_block.{m[3]}.model.",
    ),
    (r"(decoders\.\d+\.level_blocks\.\d+)\.model\.(\d+)\.1\.", lambda m: f"{m[1]}.upsample_block.{2 * int(m[2]) - 1}."),
    # the conditioner of an upsampler, which has the structure of a decoder
    (
        r"conditioner_blocks\.0\.cond\.model\.(\d+)\.0\.blocks\.(\d+)\.model\.",
        lambda m: f"conditioner_blocks.upsampler.upsample_block.{2 * int(m[1]) - 2}.resnet_block.{m[2]}.model.",
    ),
    (
        r"conditioner_blocks\.0\.cond\.model\.(\d+)\.1\.",
        lambda m: f"conditioner_blocks.upsampler.upsample_block.{2 * int(m[1]) - 1}.",
    ),
]

_WORDS = [
    (r"(resnet_block\.\d+)\.model\.1\.", r"\1.conv1d_1."),
    (r"(resnet_block\.\d+)\.model\.3\.", r"\1.conv1d_2."),
    (r"^conditioner_blocks\.0\.cond\.model\.0\.", "conditioner_blocks.upsampler.proj_in."),
    (r"^conditioner_blocks\.0\.", "conditioner_blocks."),
    (r"(bottleneck\.level_blocks\.\d+)\.k$", r"\1.codebook"),
    (r"^y_emb\.", "metadata_embedding."),
    (r"(bow_genre_emb|artist_emb)\.emb\.", r"\1."),
    (r"^prime_prior\.", "encoder."),
    (r"^prime_state_proj\.", "encoder.proj_in."),
    (r"^prime_state_ln\.", "encoder.final_layer_norm."),
    (r"^prime_x_out\.", "encoder.lm_head."),
    (r"\bx_emb\.", "embed_tokens."),
    (r"\bx_out\.", "fc_proj_out."),
    (r"\bln(?=_[01]\.|\.)", "layer_norm"),
    (r"\.w$", ".weight"),
    (r"\.b$", ".bias"),
]


def mirror_name(name: str) -> str:
    """Return the transformers library's name of a parameter, without the component's prefix."""
    for pattern, place in _PLACES:
        name, found = re.subn(pattern, place, name)
        if found:
            break
    for pattern, word in _WORDS:
        name = re.sub(pattern, word, name)
    return name


def mirrored_part(part: nn.Module, prefix: str, state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return one component's weights of a mirror, under our names; tensors are not copied.

    prefix: the component's name in the mirror. what: the file, in errors.
    Tied weights may have either of their names. Raises CheckpointError as `matched` does.
    """
    theirs = {name.removeprefix(prefix + "."): value for name, value in state.items() if name.startswith(prefix + ".")}
    if "prior.embed_tokens.weight" not in theirs and "prior.fc_proj_out.weight" in theirs:
        theirs["prior.embed_tokens.weight"] = theirs["prior.fc_proj_out.weight"]
    ours = {mirror_name(name): name for name in part.state_dict()}
    return matched(part, {ours.get(name, name): value for name, value in theirs.items()}, f"{prefix} of {what}")


def read_mirror(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return the tensors of a mirror's files together, mapped if the format allows it; only tensors are read."""
    state: dict[str, Tensor] = {}
    for path in paths:
        if path.suffix == ".safetensors":
            content: object = SafetensorsFile(path).mapped()
        else:
            content = read_pickle(path)
        named = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
        state |= {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    return state


def files_for(index: Path, prefixes: Sequence[str]) -> list[str]:
    """Return the files that contain each of the components `prefixes`, according to a repository's index.

    PlaceError if the index is not one, names a file outside its folder, or lacks a component.
    """
    try:
        weight_map = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError):
        raise PlaceError(f"its {index.name} is not an index of weights") from None
    files = {p: sorted({str(f) for name, f in weight_map.items() if name.startswith(f"{p}.")}) for p in prefixes}
    lacking = [prefix for prefix, names in files.items() if not names]
    if lacking:
        raise PlaceError(f"its {index.name} has nothing under {lacking[0]}")
    found = list(dict.fromkeys(name for names in files.values() for name in names))
    if any(Path(name).name != name or name.startswith(".") for name in found):
        raise PlaceError(f"its {index.name} names a file outside the repository")
    return found


def in_hub_cache(repository: str, file: str) -> Path | None:
    """Return a repository's file if the Hugging Face libraries have downloaded it already, else None."""
    home = user_path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    cache = user_path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    return next((path for path in sorted(snapshots.glob(f"*/{file}")) if path.is_file()), None)
