"""The token loop: chooses tokens for a batch, feeds them back and copies them to the host, window by window.

Shapes: N rows of the batch. A token not sampled yet is -1, so that sampling can resume from any state of a level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cuda.graph import captured
from jukebox_kit.engine.decoder import CachedDecoder, Decoder
from jukebox_kit.engine.noise import Noise
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.model import Conditioning

READ_OUT = 16  # tokens of each song that a GPU samples before they are copied to the host


def _unwatched(_position: int) -> None:
    """Ignore the progress of sampling."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch, each field (N,) int64.

    items: their items of the song.
    begins: the position in the level at which each row begins.
    given: the number of tokens at its start that were not sampled, so replaying does not check them.
    """

    items: Tensor
    begins: Tensor
    given: Tensor

    @classmethod
    def of(cls, items: Tensor) -> Rows:
        """Return whole items from the start of the level, without given tokens."""
        return cls(items, torch.zeros_like(items), torch.zeros_like(items))


class TokenLoop:
    """Samples windows one after another, entirely on the device; tokens are copied to the host in groups.

    given: (N,), the number of tokens at the start of each row that replaying does not check; 0 by default.
    """

    def __init__(
        self, decoder: Decoder, choice: SamplingParams, noise: Noise, n_ctx: int, given: Tensor | None = None
    ) -> None:
        songs, device = len(noise.items), noise.items.device
        self.given = (torch.zeros_like(noise.items) if given is None else given)[:, None]
        self.decoder, self.choice, self.noise = decoder, choice, noise
        self.codes = torch.full((songs, n_ctx), UNSAMPLED, device=device)
        self.chosen = torch.full((songs, n_ctx), UNSAMPLED, device=device)  # also where a token already existed
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.device, self.read_out = device, 1 if device.type == "cpu" else READ_OUT
        # Not the bound method `step`: a loop that refers to itself stays in memory until garbage is collected.
        self._other: Callable[[], None] | None = None

    def capture(self) -> None:
        """Replay a CUDA graph for every step from now on; call it before the first window. RequestError if it fails."""
        self.step_by(captured(self.step, self.rewind, self.device))

    def step_by(self, other: Callable[[], None]) -> None:
        """Use another function for every step from now on, one that has the same effect on the loop's tensors."""
        self._other = other

    def advance(self) -> None:
        """Run a step."""
        (self._other or self.step)()

    def rewind(self) -> None:
        """Return to the state before the first window, so that later windows see nothing that a step wrote."""
        self.codes.fill_(UNSAMPLED)
        self.position.zero_()
        self.noise.index.zero_()
        if isinstance(self.decoder, CachedDecoder):
            self.decoder.position.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Choose the token of every song at the current position, and feed it, or the token that already exists."""
        chosen = self.choice.choose(self.decoder.next_logits(), self.noise.next())
        saved = self.codes.index_select(1, self.position)[:, 0]
        fed = torch.where(saved == UNSAMPLED, chosen, saved)
        self.chosen.index_copy_(1, self.position, chosen[:, None])
        self.codes.index_copy_(1, self.position, fed[:, None])
        self.position += 1
        self.decoder.feed(fed)

    def window(
        self, given: Conditioning, codes: Tensor, start: int, positions: range, made: Callable[[int], None] = _unwatched
    ) -> list[int]:
        """Fill `positions` of `codes` (N, total) in place, in the window at `start`; returns positions of mismatches.

        Tokens from `start` to the first position are the window's prefix. Tokens that already exist at `positions` are
        fed as they are, and are mismatches if sampling would have chosen others.
        """
        self.decoder.prefill(given, codes[:, start : positions.start])
        self.position.fill_(positions.start - start)
        window = codes[:, start : positions.stop]
        self.codes[:, : window.shape[1]] = window
        # Copied once per window, since asking the device at every token whether one exists would stall it.
        standing = (codes[:, positions.start : positions.stop] != UNSAMPLED).any(0).tolist()
        mismatches, position, noisy = list[int](), positions.start, positions.start
        while position < positions.stop:
            if position == noisy:
                noisy += self.noise.begin(position)
            end = min(position + self.read_out, positions.stop, noisy)
            for _ in range(position, end):
                self.advance()
            if self.device.type == "cuda":  # otherwise the host would run far ahead and could not be stopped
                torch.cuda.synchronize(self.device)
            if any(standing[position - positions.start : end - positions.start]):
                mismatches += self._mismatches(codes, start, range(position, end))
            codes[:, position:end] = self.codes[:, position - start : end - start]
            made(end - 1)
            position = end
        return mismatches

    def _mismatches(self, codes: Tensor, start: int, positions: range) -> list[int]:
        saved = codes[:, positions.start : positions.stop]
        chosen = self.chosen[:, positions.start - start : positions.stop - start]
        sampled = torch.arange(positions.start, positions.stop, device=codes.device) >= self.given
        found = (sampled & (saved != UNSAMPLED) & (saved != chosen)).any(0).tolist()
        return [position for position, strange in zip(positions, found, strict=True) if strange]
