"""The token loop: chooses, feeds and reads out the tokens of a batch, window by window.

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
from jukebox_kit.engine.windows import UNMADE
from jukebox_kit.model import Conditioning

READ_OUT = 16  # tokens of each song that a GPU makes before they are read


def _unwatched(_position: int) -> None:
    """Serve where nobody wants to know how far sampling is."""


@dataclass(frozen=True)
class Rows:
    """What the rows of a batch are, (N,) int64 each.

    items: of the song; begins: where in the level each begins; given: how many tokens at its start no choice is held
    against.
    """

    items: Tensor
    begins: Tensor
    given: Tensor

    @classmethod
    def of(cls, items: Tensor) -> Rows:
        """Return whole items, from the start of the level on, nothing given."""
        return cls(items, torch.zeros_like(items), torch.zeros_like(items))


class TokenLoop:
    """Samples the tokens of window after window; on the device alone, with tokens read out some at a time.

    given: (N,), how many tokens at the start of each row no choice of this loop's is held against; none if left out.
    """

    def __init__(
        self, decoder: Decoder, choice: SamplingParams, noise: Noise, n_ctx: int, given: Tensor | None = None
    ) -> None:
        songs, device = len(noise.items), noise.items.device
        self.given = (torch.zeros_like(noise.items) if given is None else given)[:, None]
        self.decoder, self.choice, self.noise = decoder, choice, noise
        self.codes = torch.full((songs, n_ctx), UNMADE, device=device)
        self.chosen = torch.full((songs, n_ctx), UNMADE, device=device)  # also where another token stands
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.device, self.read_out = device, 1 if device.type == "cpu" else READ_OUT
        # Not the bound method `step`: a loop that holds itself stays, caches and all, until garbage is collected.
        self._other: Callable[[], None] | None = None

    def capture(self) -> None:
        """Let steps from here on be replays of a CUDA graph; before the first window. RequestError where that fails."""
        self.step_by(captured(self.step, self.rewind, self.device))

    def step_by(self, other: Callable[[], None]) -> None:
        """Let steps from here on be done by something else that does the same to the loop's tensors."""
        self._other = other

    def advance(self) -> None:
        """Do a step."""
        (self._other or self.step)()

    def rewind(self) -> None:
        """Go back to where no window was begun: nothing that a step wrote is seen by the windows to come."""
        self.codes.fill_(UNMADE)
        self.position.zero_()
        self.noise.index.zero_()
        if isinstance(self.decoder, CachedDecoder):
            self.decoder.position.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Choose the current position's token of every song and feed it, or what stands there already."""
        chosen = self.choice.choose(self.decoder.next_logits(), self.noise.next())
        saved = self.codes.index_select(1, self.position)[:, 0]
        fed = torch.where(saved == UNMADE, chosen, saved)
        self.chosen.index_copy_(1, self.position, chosen[:, None])
        self.codes.index_copy_(1, self.position, fed[:, None])
        self.position += 1
        self.decoder.feed(fed)

    def window(
        self, given: Conditioning, codes: Tensor, start: int, positions: range, made: Callable[[int], None] = _unwatched
    ) -> list[int]:
        """Fill `positions` of `codes` (N, total) in place, in the window at `start`; returns where tokens are strange.

        What stands from `start` to the first of them is the window's beginning; what stands among them is fed, and
        strange where another token would have been chosen.
        """
        self.decoder.prefill(given, codes[:, start : positions.start])
        self.position.fill_(positions.start - start)
        window = codes[:, start : positions.stop]
        self.codes[:, : window.shape[1]] = window
        # Whether a position stands already is read once a window: asking the device at every token would stall it.
        standing = (codes[:, positions.start : positions.stop] != UNMADE).any(0).tolist()
        mismatches, position, noisy = list[int](), positions.start, positions.start
        while position < positions.stop:
            if position == noisy:
                noisy += self.noise.begin(position)
            end = min(position + self.read_out, positions.stop, noisy)
            for _ in range(position, end):
                self.advance()
            if self.device.type == "cuda":  # or the host would run far ahead, and nobody could stop it
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
        found = (sampled & (saved != UNMADE) & (saved != chosen)).any(0).tolist()
        return [position for position, strange in zip(positions, found, strict=True) if strange]
