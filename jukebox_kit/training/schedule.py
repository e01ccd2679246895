"""Adam with warm-up, a learning rate that falls to zero by the last step, and clipped gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Schedule:
    """One optimiser over a fixed number of steps."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], peak: float, warm_up: int, steps: int, weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.peak, self.warm_up, self.steps, self.taken = peak, warm_up, steps, 0
        self.optimiser = torch.optim.AdamW(self.parameters, peak, (0.9, 0.999), weight_decay=weight_decay)

    def rate(self) -> float:
        """Return this step's learning rate: up over `warm_up` steps, then straight down to 0."""
        rise = (self.taken + 1) / max(1, self.warm_up)
        fall = (self.steps - self.taken) / max(1, self.steps - self.warm_up)
        return self.peak * min(1.0, rise, fall)

    def step(self, loss: Tensor) -> None:
        """Move the parameters against the gradient of `loss`, its norm clipped to 1."""
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        self.taken += 1
