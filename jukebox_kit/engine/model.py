"""A loaded model: its definition, its label tables, and its components, read when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from jukebox_kit.engine.linear import TransposedLinear, packed
from jukebox_kit.engine.original import JukeboxPrior, JukeboxVQVAE, package
from jukebox_kit.engine.placement import Placement
from jukebox_kit.errors import RequestError
from jukebox_kit.model import VQVAE, Linear, PlainLinear, Prior, Tables
from jukebox_kit.model.weights import (
    PARTS,
    Adapter,
    ModelDefinition,
    assign,
    blank_prior,
    blank_vqvae,
    brought,
    fingerprint,
    first_layers,
    linear_names,
    linears,
    load_definition,
    matched,
    model_source,
    read_shapes,
    read_state,
    read_tables,
)

Part = TypeVar("Part", bound=nn.Module)


class Model:
    """One model on one device.

    resident_levels: the levels whose priors stay loaded at the same time. The others are used one after another, so
    only one of them is loaded at a time.
    lora_scale: how strongly a fine-tuned model differs from its base.
    depth: how many layers of the top prior are read and loaded, from the first; None for all.
    """

    def __init__(
        self,
        source: str,
        definition: ModelDefinition,
        placement: Placement,
        lora_scale: float = 1.0,
        depth: int | None = None,
    ) -> None:
        self.lora_scale, self.depth = lora_scale, depth
        self.source, self.definition, self.placement, self.device = source, definition, placement, placement.device
        self.resident_levels: tuple[int, ...] = ()
        self._priors: dict[int, Prior] = {}

    @classmethod
    def load(
        cls,
        model: str | Path = "demo",
        device: str | torch.device | None = None,
        weights: str | None = None,
        engine: str = "fast",
        lora_scale: float = 1.0,
        depth: int | None = None,
    ) -> Model:
        """Return a model; its files are read on first use.

        model: the name of a model that ships or of one in the folder `models`, or the path of a YAML definition.
        device: by default the GPU if there is one, otherwise the CPU.
        weights: precision of the transformers' linear layers, `float32`, `float16` or `int8`; by default float16 on a
            GPU and float32 on the CPU. Everything else is float32.
        engine: one of `placement.ENGINES`.
        lora_scale: of a fine-tuned model, from 0 (its base) to 1.
        depth: how many layers of the top prior are loaded, for their states; such a prior predicts no tokens.
        Raises RequestError for the engine jukebox if that package is not installed or a depth is asked of it.
        """
        where = Placement.of(device, weights, engine)
        if engine == "jukebox":
            package()
            if depth is not None:
                raise RequestError("the jukebox package loads all layers; choose another engine.", field="engine")
        return cls(model_source(model), load_definition(model), where, lora_scale, depth)

    @cached_property
    def vqvae(self) -> VQVAE:
        """The VQ-VAE, float32."""
        return self._loaded(blank_vqvae(self.definition), "vqvae")

    @property
    def top(self) -> Prior:
        """The top prior."""
        return self.prior(len(self.definition.priors) - 1)

    def prior(self, level: int) -> Prior:
        """Return a level's prior, unloading those that cannot stay loaded beside it."""
        for other in set(self._priors) - {level}:
            if not {other, level} <= set(self.resident_levels):
                del self._priors[other]
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()  # the freed blocks do not fit another prior's layers
        if level not in self._priors:
            self._priors[level] = self._loaded(blank_prior(self.definition, level), PARTS[level + 1])
        return self._priors[level]

    def let_go(self) -> None:
        """Unload all priors."""
        self._priors.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The components that are loaded, by their names in PARTS."""
        return tuple(PARTS[level + 1] for level in sorted(self._priors)) + (PARTS[:1] if "vqvae" in vars(self) else ())

    def fingerprints(self, parts: Sequence[str] = PARTS) -> dict[str, str]:
        """Return a fingerprint of each component's file and, if it has an adapter, of that and its strength."""
        return {part: self._fingerprint(part) for part in parts}

    def _fingerprint(self, part: str) -> str:
        own, adapter = fingerprint(self.definition.find(part)), self.definition.adapter(part)
        return own if adapter is None else f"{own}+{self.lora_scale:g}*{fingerprint(adapter)}"

    def _adapter(self, part: str) -> Adapter | None:
        path = self.definition.adapter(part)
        return None if path is None else Adapter.read(path, self.lora_scale)

    def check_files(self) -> None:
        """Raise CheckpointError if a component's file is missing or belongs to another component, before any work.

        Files are memory-mapped, so only names and shapes are read.
        """
        blanks = [blank_vqvae(self.definition), *(blank_prior(self.definition, level) for level in range(3))]
        for part, blank in zip(PARTS, blanks, strict=True):
            path, adapter = self.definition.find(part), self._adapter(part)
            shapes = read_shapes(path)
            matched(blank, adapter.with_rows(shapes) if adapter else shapes, str(path))

    @cached_property
    def tables(self) -> dict[str, Tables]:
        """The label tables, by the name of their set."""
        return read_tables(self.definition, self.source)

    def _loaded(self, blank: Part, name: str) -> Part:
        path, adapter = self.definition.find(name), self._adapter(name)
        state = read_state(path)
        # A wrong file is refused before its gigabytes are read.
        matched(blank, adapter.with_rows(state) if adapter else state, str(path))
        if self.depth is not None and isinstance(blank, Prior) and blank.top:
            state = first_layers(blank, state, self.depth)
        where = self.placement
        if where.engine == "jukebox":
            if adapter:
                state = {key: adapter.changed(key, value) for key, value in state.items()}
            return of_package(blank, state, where)
        if where.repacked:
            maps = linears(blank)
            while maps:  # layer by layer, each freed once converted, so that no component is in memory twice
                prefix, holder, attribute, plain = maps.pop(0)
                linear_state = {key: state[key] for key in (f"{prefix}.w", f"{prefix}.b")}
                dtypes = dict.fromkeys(linear_state, where.dtype)
                values = brought(path, linear_state, dtypes, self.device, mapped=False, adapter=adapter)
                assign(plain, {key.removeprefix(f"{prefix}."): value for key, value in values.items()}, str(path))
                form = form_of(plain, where)
                if form is not plain:
                    setattr(holder, attribute, form)
                    state = {key: value for key, value in state.items() if key not in linear_state}
        halved = linear_names(blank)
        dtypes = {key: where.dtype if key in halved else torch.float32 for key in state}
        assign(blank, brought(path, state, dtypes, self.device, adapter=adapter), str(path))
        place(blank, self.device, where.dtype)
        return blank


def of_package(blank: Part, state: dict[str, Tensor], placement: Placement) -> Part:
    """Return the jukebox package's component instead of ours, with the same weights under their released names."""
    if isinstance(blank, VQVAE):
        return cast(Part, JukeboxVQVAE(blank.config, state, placement.device))
    assert isinstance(blank, Prior)
    halved = placement.weights == "float16"
    return cast(Part, JukeboxPrior(blank.config, blank.vqvae, state, placement.device, halved))


def place(part: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a component to a device for inference: transformers' linear layers in `dtype`, everything else in float32.

    Linear layers that are not plain stay unchanged.
    """
    for module in part.modules():
        if isinstance(module, Linear) and not isinstance(module, PlainLinear):
            continue
        for value in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            value.data = value.data.to(device, dtype if isinstance(module, PlainLinear) else torch.float32)
    part.requires_grad_(False).eval()


def repack(part: nn.Module, placement: Placement) -> None:
    """Convert the linear layers of a placed component to the layout that is fastest there, if it is a special one."""
    if placement.repacked:
        maps = linears(part)
        while maps:  # as when a component is loaded
            _, holder, attribute, plain = maps.pop(0)
            setattr(holder, attribute, form_of(plain, placement))


def form_of(plain: PlainLinear, placement: Placement) -> Linear:
    """Return a linear layer in the layout that is fastest on a placement."""
    if placement.packed:
        return packed(plain, placement.weights)
    return TransposedLinear(plain, placement.weights) if placement.repacked else plain
