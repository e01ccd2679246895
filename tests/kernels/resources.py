"""What the kernels take of a GPU that is not there: compiled by Triton and the assembler that it brings, one target.

`python -m tests.kernels.resources 90` prints a line of JSON for each kernel that a step of an upsampler, in float16 and
in int8, and of 5b_lyrics' top prior launches.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from jukebox_kit.engine.caches import Cache, Layouts
from jukebox_kit.engine.cuda.fused import FusedOperations
from jukebox_kit.engine.cuda.self_check import FEW
from jukebox_kit.engine.linear import TransposedLinear
from jukebox_kit.engine.model import place
from jukebox_kit.model.configuration import Pattern
from jukebox_kit.model.prior import Prior
from jukebox_kit.model.weights.blank import blank_prior, linears
from jukebox_kit.model.weights.definition import load_definition

META = torch.device("meta")
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.int8: "*i8",
    torch.int64: "*i64",
    int: "i32",
    float: "fp32",
}
SONGS = (1, 3, 16)
PARTS = (("1b_lyrics", 0, "float16"), ("1b_lyrics", 0, "int8"), ("5b_lyrics", 2, "float16"))

Launch = tuple[Any, tuple[Any, ...], dict[str, Any], int]


class Recorded(FusedOperations):
    """Notes what would be launched; nothing is."""

    def __init__(self, matrix_units: bool) -> None:
        super().__init__(META, matrix_units)
        self.found: list[Launch] = []

    def _launch(
        self, kernel: Any, grid: tuple[int, ...], tensors: tuple[Any, ...], constants: dict[str, Any], warps: int
    ) -> None:
        self.found.append((kernel, tensors, constants, warps))


def released(model: str, level: int, weights: str) -> Prior:
    """Return a released part without memory, its maps turned."""
    prior = blank_prior(load_definition(model), level)
    place(prior, META, torch.float16)
    for _, holder, attribute, plain in linears(prior.prior):
        setattr(holder, attribute, TransposedLinear(plain, weights))
    return prior


def launches(prior: Prior, songs: int, matrix_units: bool) -> list[Launch]:
    """Return what a step launches, one layer of each pattern."""
    recorded, shape = Recorded(matrix_units), prior.prior.transformer.shape
    layouts, seen = Layouts(shape, META), set[Pattern]()
    recorded.begin(layouts, torch.zeros(1, dtype=torch.long, device=META))
    for layer in prior.prior.transformer.layers:
        if layer.attn.pattern in seen:
            continue
        seen.add(layer.attn.pattern)
        x = torch.zeros(songs, shape.width, device=META)
        cache = Cache(layer.attn, layouts, songs, prior.config.n_tokens)
        mapped = recorded.norm_map(layer.ln_0, layer.attn.c_attn, x)
        x = recorded.attend_added(cache, layer.attn.c_proj, mapped, x)
        recorded.map_added(layer.mlp.c_proj, recorded.norm_map_gelu(layer.ln_1, layer.mlp.c_fc, x), x)
    return recorded.found


def compiled(launch: Launch, capability: int) -> dict[str, Any]:
    """Return what a kernel takes: registers, bytes of shared memory, and instructions that spill."""
    kernel, tensors, constants, warps = launch
    signature: dict[str, str] = {}
    values: dict[tuple[int, ...], Any] = {}
    hints: dict[tuple[int, ...], Any] = {}
    given = dict(zip(kernel.arg_names, tensors, strict=False)) | constants
    for place_, name in enumerate(kernel.arg_names):
        value = given[name]
        if name in constants or value is None or (isinstance(value, int) and value == 1):
            signature[name], values[(place_,)] = "constexpr", value
            continue
        signature[name] = TYPES[value.dtype if isinstance(value, torch.Tensor) else type(value)]
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0):
            hints[(place_,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, values, hints)
    options = {"num_warps": warps, "enable_fp_fusion": True}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = _told("cuobjdump", "--dump-resource-usage", file.name)
        code = _told("nvdisasm", file.name)
    return {
        "registers": int(re.findall(r"REG:(\d+)", usage)[0]),
        "shared": int(made.metadata.shared),
        "spills": len(re.findall(r"\b(?:STL|LDL)\b", code)),
        "wide_loads": len(re.findall(r"\b(?:LDG|LDGSTS)\S*\.128", code)),
        "products": len(re.findall(r"\bHMMA", code)),
    }


def _told(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def table(capability: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each different kernel of the released parts, at several numbers of songs."""
    done = set[str]()
    for model, level, weights in PARTS:
        prior = released(model, level, weights)
        for songs in SONGS:
            if songs > FEW and capability < 80:
                continue
            for launch in launches(prior, songs, capability >= 80):
                kernel, tensors, constants, warps = launch
                row = {"kernel": kernel.fn.__name__, "weights": weights, "songs": songs, "warps": warps} | constants
                row |= {"n_out": tensors[-1] if "N_IN" in constants else tensors[-2]}
                if str(row) not in done:
                    done.add(str(row))
                    yield row | compiled(launch, capability)


if __name__ == "__main__":
    for found in table(int(sys.argv[1])):
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
