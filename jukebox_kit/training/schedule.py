"""The learning rate of each step, and an optimiser that follows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.training.sharding import like, whole

SHAPES = ("constant", "linear", "cosine", "steps")

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # as AdamW names them


@dataclass(frozen=True)
class LearningRate:
    """The learning rate over the steps of a run; it is 0 at step 0, as in the release.

    peak: the highest rate.
    warm_up: the number of steps over which it rises.
    shape: how it falls: `constant` not at all, `linear` or `cosine` to 0, `steps` by `gamma` every `decay_steps`.
    decay_start: the step at which a linear or cosine decay begins.
    decay_steps: the length of that decay in steps, or the number of steps between two falls.
    """

    peak: float
    warm_up: int = 100
    shape: str = "constant"
    decay_start: int = 0
    decay_steps: int = 1
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigurationError(f"shape must be one of {', '.join(SHAPES)}, not {self.shape!r}.", field="shape")
        if self.warm_up < 1 or self.decay_steps < 1:
            raise ConfigurationError("warm_up and decay_steps must be at least 1.")

    @classmethod
    def falling(cls, peak: float, warm_up: int, steps: int) -> LearningRate:
        """Return a rate that rises over `warm_up` steps and then falls linearly to 0 at the end of `steps`."""
        return cls(peak, warm_up, "linear", warm_up, max(1, steps - warm_up))

    def at(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        rise = min(1.0, step / self.warm_up)
        if self.shape == "steps":
            return self.peak * self.gamma ** (step // self.decay_steps) * rise
        fallen = min(1.0, max(0, step - self.decay_start) / self.decay_steps)
        if self.shape == "linear":
            return self.peak * rise * (1 - fallen)
        return self.peak * rise * ((1 + math.cos(math.pi * fallen)) / 2 if self.shape == "cosine" else 1.0)


class Optimiser:
    """AdamW with clipped gradients and a scheduled learning rate.

    taken: how many steps were taken.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        rate: LearningRate,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        scaler: torch.amp.GradScaler | None = None,
        faster: Iterable[nn.Parameter] = (),
        factor: float = 1.0,
    ) -> None:
        """Train some parameters.

        scaler: of the loss, for gradients in float16, by default none.
        faster: more parameters, whose rate is `factor` times that of the others.
        """
        usual, more = list(parameters), list(faster)
        self.parameters, self.rate, self.clip, self.taken, self.scaler = usual + more, rate, clip, 0, scaler
        groups = [{"params": some, "factor": times} for some, times in ((usual, 1.0), (more, factor)) if some]
        self.adam = torch.optim.AdamW(groups, rate.peak, betas, weight_decay=weight_decay)

    def step(self, loss: Tensor) -> float:
        """Step against the gradient of `loss`; return the norm of the gradient before clipping."""
        self.add_gradient(loss)
        return self.update()

    def add_gradient(self, loss: Tensor) -> None:
        """Add the gradient of `loss` to those of the next step."""
        torch.autograd.backward(self.scaler.scale(loss) if self.scaler else loss)

    def update(self) -> float:
        """Step against the sum of the gradients, and return its norm before clipping.

        A step whose gradients overflowed in float16 changes nothing but the scale of the loss.
        """
        for group in self.adam.param_groups:
            group["lr"] = self.rate.at(self.taken) * group["factor"]
        if self.scaler:
            self.scaler.unscale_(self.adam)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if self.scaler:
            self.scaler.step(self.adam)
            self.scaler.update()
        else:
            self.adam.step()
        self.adam.zero_grad()
        self.taken += 1
        return float(norm)

    def state(self, values: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """Return the moments of parameters, as `KIND.NAME`; they may share memory with the optimiser."""
        tensors: dict[str, Tensor] = {}
        for name, value in values.items():
            held = cast("dict[str, Tensor]", self.adam.state.get(value, {}))
            tensors |= {f"{kind}.{name}": whole(tensor) for kind, tensor in held.items()}
        return tensors

    def restore(self, values: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], taken: int) -> None:
        """Go back to the moments that `state` returned, after `taken` steps."""
        self.taken = taken
        for name, value in values.items():
            held = {kind: tensors[f"{kind}.{name}"] for kind in MOMENTS if f"{kind}.{name}" in tensors}
            if held:
                self.adam.state[value] = {
                    kind: tensor.clone() if kind == "step" else like(tensor, value) for kind, tensor in held.items()
                }
