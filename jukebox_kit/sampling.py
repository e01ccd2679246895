"""Sampling the tokens of a level: choosing each by its logits and the noise, window after window.

Shapes: N songs (items), L tokens. A token not made yet is -1, so that any state of a level can be gone on from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jukebox_kit.codes import UNMADE
from jukebox_kit.errors import RequestError
from jukebox_kit.labels import Labels, label_rows
from jukebox_kit.model.decoding import CachedDecoder, Decoder, PlainDecoder
from jukebox_kit.model.fusing import fuse
from jukebox_kit.model.graphs import captured
from jukebox_kit.model.jukebox_package import JukeboxDecoder, JukeboxPrior
from jukebox_kit.model.large import LargeDecoder
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.model.small import SmallDecoder, small
from jukebox_kit.placement import Placement
from jukebox_kit.step_noise import Noise, NoiseKernel, NoiseTable
from jukebox_kit.windows import LevelPlan

log = logging.getLogger(__name__)

ON_CPU = Placement(torch.device("cpu"))
READ_OUT = 16  # tokens of each song that a GPU makes before they are read


@dataclass(frozen=True)
class Choice:
    """How a token is chosen from its logits: temperature, then top-k or top-p."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RequestError(f"temperature must be above 0, not {self.temperature:g}; 0.98 is usual.")
        if self.top_k is not None and self.top_p is not None:
            raise RequestError("top-k and top-p exclude each other; give one of them.")
        if self.top_k is not None and self.top_k < 1:
            raise RequestError(f"top-k must be at least 1, not {self.top_k}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise RequestError(f"top-p must be above 0 and at most 1, not {self.top_p:g}.")

    @property
    def only_temperature(self) -> bool:
        """Whether any code may be chosen."""
        return self.top_k is None and self.top_p is None

    def filtered(self, logits: Tensor) -> Tensor:
        """Return logits / temperature with what may not be chosen at -inf, (N, bins)."""
        logits = logits / self.temperature
        if self.top_k is not None:
            kth = logits.topk(min(self.top_k, logits.shape[-1]))[0][:, -1:]
            return logits.masked_fill(logits < kth, float("-inf"))
        if self.top_p is not None:
            ordered, order = logits.sort(dim=-1, descending=True, stable=True)
            probabilities = ordered.softmax(-1)
            before = probabilities.cumsum(-1) - probabilities
            return logits.masked_fill(
                torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= self.top_p),
                float("-inf"),
            )
        return logits

    def choose(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Return the chosen codes by Gumbel-max, the lowest on ties: (N, bins), (N, bins) → (N,) int64."""
        return (self.filtered(logits) + noise).argmax(-1)


@dataclass(frozen=True)
class LevelJob:
    """Everything the tokens of some items of a level depend on, beside the prior and what stands already.

    items: the rows in the song; labels: one for each; above: upper codes (N, L / rate) int64, None at the top. given:
    for each how many tokens at its start were not sampled by this plan, none if left out. begins: for each where in the
    level it begins, as the pieces of a level do; all else is counted from there.
    """

    plan: LevelPlan
    items: tuple[int, ...]
    labels: tuple[Labels, ...]
    above: Tensor | None
    seed: int
    choice: Choice
    placement: Placement = ON_CPU
    given: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()


def _unwatched(_position: int) -> None:
    """Serve where nobody wants to know how far sampling is."""


def sample_level(
    prior: Prior,
    job: LevelJob,
    codes: Tensor,
    made: Callable[[int], None] = _unwatched,
    loop: TokenLoop | None = None,
) -> list[int]:
    """Fill `codes` (N, total) int64 in place wherever it holds UNMADE, by the loop of `job_loop`.

    `made(position)` is called as tokens are read out, with the last one's position. A window that was left in the
    middle is run again as it was run: the same prefill, then the tokens that stand through the same steps, each of
    which must come out as it stands; the positions where one did not are returned.
    """
    device, strangers = codes.device, list[int]()
    own, begins = loop or job_loop(prior, job, device), job.begins or (0,) * len(job.items)
    for start, begin, end in job.plan.windows(min(job.given, default=0)):
        if not bool((codes[:, begin:end] == UNMADE).any()):
            continue
        starts = [place + start for place in begins]
        y = label_rows(job.labels, prior.config, prior.hop, starts, device)
        above = None if job.above is None else job.plan.above(job.above, starts)
        with torch.no_grad():
            given = prior.condition(y, above, own.decoder.conditioning)
        strangers += own.window(given, codes, start, range(begin, end), made)
    return strangers


def job_loop(prior: Prior, job: LevelJob, device: torch.device) -> TokenLoop:
    """Return the loop that samples a job."""
    items, begins, given = (
        torch.tensor(values or [0] * len(job.items), device=device) for values in (job.items, job.begins, job.given)
    )
    return make_loop(prior, Rows(items, begins, given), job.seed, job.choice, job.placement)


def make_decoder(prior: Prior, songs: int, placement: Placement, depth: int | None = None) -> Decoder:
    """Return the decoder for so many songs at once, with fused kernels where the placement has them and they are right.

    On a CPU compiled code does a small part's step, and what lies between the products of a large one's, where the
    placement takes all that the device can.

    depth: run the first layers only, for measuring.
    """
    if isinstance(prior, JukeboxPrior):
        return JukeboxDecoder(prior)
    if placement.engine == "plain":
        return PlainDecoder(prior)
    if placement.packed:
        try:
            return (SmallDecoder if small(prior) else LargeDecoder)(prior, songs, depth)
        except Exception as error:  # a compiler may fail in any way, and plain operations are there
            short = " ".join(str(error).split())[:200]
            log.warning("a part's step could not be compiled (%s: %s)", type(error).__name__, short)
    decoder = CachedDecoder(prior, songs, depth=depth)
    if placement.fused:
        fuse(decoder)
    return decoder


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


def make_loop(
    prior: Prior, rows: Rows, seed: int, choice: Choice, placement: Placement, depth: int | None = None
) -> TokenLoop:
    """Return the loop that samples windows of some rows the way that a placement says; depth as above.

    RequestError where a step cannot be captured as a CUDA graph, torch.OutOfMemoryError where memory does not suffice.
    """
    decoder = make_decoder(prior, len(rows.items), placement, depth)
    facts = seed, prior.config.level, rows.items, prior.bins, rows.begins
    if placement.packed and decoder.own:
        from jukebox_kit.compiled_choice import CompiledNoise, choosing_step  # what it needs is there, as it was made

        table = CompiledNoise(*facts)
        loop = TokenLoop(decoder, choice, table, prior.config.n_ctx, rows.given)
        if choice.only_temperature and isinstance(decoder, SmallDecoder):
            step = choosing_step(decoder, table, choice.temperature, loop.codes, loop.chosen, loop.position)
            loop.step_by(step)
        return loop
    noise = (NoiseKernel if decoder.own else NoiseTable)(*facts)
    loop = TokenLoop(decoder, choice, noise, prior.config.n_ctx, rows.given)
    if placement.graphed:
        loop.capture()
    return loop


class TokenLoop:
    """Samples the tokens of window after window; on the device alone, with tokens read out some at a time.

    given: (N,), how many tokens at the start of each row no choice of this loop's is held against; none if left out.
    """

    def __init__(self, decoder: Decoder, choice: Choice, noise: Noise, n_ctx: int, given: Tensor | None = None) -> None:
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
        strangers, position, noisy = list[int](), positions.start, positions.start
        while position < positions.stop:
            if position == noisy:
                noisy += self.noise.begin(position)
            end = min(position + self.read_out, positions.stop, noisy)
            for _ in range(position, end):
                self.advance()
            if self.device.type == "cuda":  # or the host would run far ahead, and nobody could stop it
                torch.cuda.synchronize(self.device)
            if any(standing[position - positions.start : end - positions.start]):
                strangers += self._strangers(codes, start, range(position, end))
            codes[:, position:end] = self.codes[:, position - start : end - start]
            made(end - 1)
            position = end
        return strangers

    def _strangers(self, codes: Tensor, start: int, positions: range) -> list[int]:
        saved = codes[:, positions.start : positions.stop]
        chosen = self.chosen[:, positions.start - start : positions.stop - start]
        sampled = torch.arange(positions.start, positions.stop, device=codes.device) >= self.given
        found = (sampled & (saved != UNMADE) & (saved != chosen)).any(0).tolist()
        return [position for position, strange in zip(positions, found, strict=True) if strange]
