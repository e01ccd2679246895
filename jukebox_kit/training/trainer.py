"""Trains a prior step by step, alone or in several processes, from a state that can be saved and read back exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model import Prior
from jukebox_kit.training.checkpoints import RunState, copied
from jukebox_kit.training.layers import ExtendedTable
from jukebox_kit.training.objective import prior_loss
from jukebox_kit.training.prior import CodeCorpus
from jukebox_kit.training.ranks import Ranks
from jukebox_kit.training.schedule import LearningRate, Optimiser
from jukebox_kit.training.sharding import fully_sharded, like, whole
from jukebox_kit.training.window_order import WindowOrder


@dataclass(frozen=True)
class StepSettings:
    """How a step is made.

    batch: windows at a time in each process. accumulate: how often, before the weights change.
    replay: how many windows of a batch are replayed ones.
    ema: the decay per step of a moving average of the weights, which is then evaluated and saved; 0 for none.
    lyric_loss: the weight of a lyric token relative to a music token.
    row_rate: the rate of new rows in label tables relative to that of other values.
    half: whether gradients are in float16, which needs a scaled loss.
    """

    rate: LearningRate
    batch: int = 1
    accumulate: int = 1
    replay: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.0
    lyric_loss: float = 0.4
    row_rate: float = 1.0
    half: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or self.accumulate < 1:
            raise ConfigurationError("batch and accumulate must be at least 1.")
        if not 0 <= self.ema < 1:
            raise ConfigurationError(f"ema must be from 0 to below 1, not {self.ema:g}.", field="ema")


@dataclass(frozen=True)
class SongWindows:
    """Songs to train on or to measure, and the order of their windows."""

    corpus: CodeCorpus
    order: WindowOrder

    def batch(self, windows: list[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return codes, labels and upper codes of some windows on a device, see `CodeCorpus.batch`."""
        hop = self.corpus.prior.hop
        codes, y, upper = self.corpus.batch([song for song, _ in windows], [start // hop for _, start in windows])
        return codes.to(device), y.to(device), None if upper is None else upper.to(device)


class Objective(nn.Module):
    """A prior whose forward returns its losses: total, music, lyrics, (3,) in bits."""

    def __init__(self, prior: Prior, lyric_loss: float) -> None:
        super().__init__()
        self.prior, self.lyric_loss = prior, lyric_loss

    def forward(self, codes: Tensor, y: Tensor, upper_codes: Tensor | None) -> Tensor:
        """Return the losses of a batch, see `objective.prior_loss`."""
        loss = prior_loss(self.prior, codes, y, upper_codes, self.lyric_loss)
        return torch.stack([loss.total, loss.music, loss.lyrics])


class Trainer:
    """Trains the parameters of a prior that need gradients; every process has one, and all make the same steps."""

    def __init__(
        self,
        prior: Prior,
        training: SongWindows,
        settings: StepSettings,
        ranks: Ranks,
        shard: bool = False,
        replay: SongWindows | None = None,
    ) -> None:
        """Train on the windows of some songs.

        shard: divide the weights among the processes instead of copying them.
        replay: what `settings.replay` windows of each batch are taken from instead.
        """
        self.prior, self.training, self.replay = prior, training, replay
        self.settings, self.ranks, self.step_number = settings, ranks, 0
        self.objective = Objective(prior, settings.lyric_loss)
        if shard:
            fully_sharded(self.objective, prior.prior.transformer.layers)
        self.values = {name: p for name, p in prior.named_parameters() if p.requires_grad}
        self.parallel: nn.Module = self.objective
        if ranks.count > 1 and not shard:
            self.parallel = DistributedDataParallel(self.objective)
        scaler = torch.amp.GradScaler(ranks.device.type) if settings.half else None
        tables = [name for name, module in prior.named_modules() if isinstance(module, ExtendedTable)]
        rows = {f"{name}.rows": self.values[f"{name}.rows"] for name in tables}
        self.optimiser = Optimiser(
            [value for name, value in self.values.items() if name not in rows],
            settings.rate,
            settings.weight_decay,
            clip=settings.clip,
            scaler=scaler,
            faster=rows.values(),
            factor=settings.row_rate,
        )
        self.averages = copied(self.values) if settings.ema else {}

    def step(self) -> float:
        """Compute the gradients of a step, which `finish_step` makes; return its bits per music token."""
        settings, ranks = self.settings, self.ranks
        losses: list[Tensor] = []
        for turn in range(settings.accumulate):
            batch = self._batch((self.step_number * settings.accumulate + turn) * ranks.count + ranks.rank)
            with self._synchronised(turn == settings.accumulate - 1):
                loss = self.parallel(*batch)
                self.optimiser.add_gradient(loss[0] * (math.log(2) / settings.accumulate))
            losses.append(loss.detach())
        return float(ranks.mean(torch.stack(losses).mean(0))[1])

    def _batch(self, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return a batch, counted from the start of the run over all processes."""
        parts: list[tuple[Tensor, Tensor, Tensor | None]] = []
        replayed = self.settings.replay if self.replay is not None else 0
        for songs, count in ((self.training, self.settings.batch - replayed), (self.replay, replayed)):
            if songs is not None and count:
                parts.append(songs.batch(songs.order.windows(number * count, count), self.ranks.device))
        codes, labels, upper = zip(*parts, strict=True)
        above = [one for one in upper if one is not None]
        return torch.cat(codes), torch.cat(labels), torch.cat(above) if above else None

    def finish_step(self) -> None:
        """Change the weights."""
        self.optimiser.update()
        self.step_number += 1
        with torch.no_grad():
            for name, average in self.averages.items():
                average.lerp_(self.values[name].detach(), 1 - self.settings.ema)

    def drop_gradients(self) -> None:
        """Forget the gradients of a step that was interrupted."""
        self.optimiser.adam.zero_grad()

    def result(self) -> dict[str, Tensor]:
        """Return copies of the values that are evaluated and saved: the averages if there are, whole on every rank."""
        return {name: whole(value).detach().clone() for name, value in (self.averages or self.values).items()}

    @torch.no_grad()
    def swap(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put other values into the prior, and return those that it had."""
        before = copied(self.values)
        for name, value in values.items():
            self.values[name].copy_(like(value, self.values[name]))
        return before

    def state(self) -> RunState:
        """Return everything that the next steps depend on."""
        tensors = {f"value.{name}": whole(value) for name, value in self.values.items()}
        tensors |= {f"average.{name}": whole(value) for name, value in self.averages.items()}
        tensors |= self.optimiser.state(self.values)
        scaler: dict[str, Any] = {} if self.optimiser.scaler is None else self.optimiser.scaler.state_dict()
        return RunState(tensors, {"step": self.step_number, "scaler": scaler})

    @torch.no_grad()
    def restore(self, state: RunState) -> None:
        """Go back to a state; ConfigurationError if it belongs to another run."""
        self.step_number = int(state.facts["step"])
        if self.optimiser.scaler is not None:
            self.optimiser.scaler.load_state_dict(state.facts["scaler"])
        for name, value in self.values.items():
            held = state.tensors.get(f"value.{name}")
            if held is None or held.shape != value.shape:
                raise ConfigurationError(f"the saved state has no {name} of the shape {tuple(value.shape)}.")
            value.copy_(like(held, value))
            if name in self.averages:
                self.averages[name].copy_(like(state.tensors[f"average.{name}"], value))
        self.optimiser.restore(self.values, state.tensors, self.step_number)

    def _synchronised(self, last: bool) -> Any:
        """Return the context of a pass; only the last of a step exchanges gradients."""
        if isinstance(self.parallel, DistributedDataParallel) and not last:
            return self.parallel.no_sync()
        return nullcontext()

    @torch.no_grad()
    def bits(self, songs: SongWindows, windows: list[tuple[int, int]]) -> float:
        """Return the mean bits per music token of some windows, which the processes divide among themselves."""
        total, count = torch.zeros((), device=self.ranks.device), self.ranks.count
        for place in range(self.ranks.rank, -(-len(windows) // count) * count, count):  # as many in all processes
            _, music, _ = self.objective(*songs.batch([windows[place % len(windows)]], self.ranks.device))
            total += music if place < len(windows) else 0
        return float(self.ranks.mean(total)) * count / len(windows)
