"""Sampling MusicGen's tokens by the library's `generate`, with noise of each item's own, so that items do not matter.

The library draws the tokens of a whole batch from one stream of random numbers, which depends on the size of the batch.
Here a logits processor draws them instead, from a generator for each item, and hands the library logits that allow
nothing else. For one item these are the tokens that the library draws from the same seed.

A codebook's tokens are delayed by one position after those of the one before it, and a start token stands before
them: code t of codebook k is at position 1 + t + k. Of stereo models, left and right in turn, each pair shares a delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jukebox_kit.sources.request import SourceRequest

WINDOW_SECONDS = 30.0  # the longest that the model was trained on

CONTEXT_SECONDS = 10.0  # of what has been generated, from which a longer recording is continued

TOP_K = 250  # of the paper's samples

RULED_OUT = -1e4  # logit of tokens that were not drawn; finite, as guidance subtracts logits


@dataclass
class Track:
    """One recording while it is generated.

    number: which of the request's recordings. codes: (codebooks, frames) so far. generator: its random numbers.
    """

    number: int
    text: str
    seed: int
    codes: Tensor
    generator: torch.Generator
    prompt_frames: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_frames = self.codes.shape[1]

    @property
    def frames(self) -> int:
        """How many codes of each codebook there are, those of the prompt included."""
        return int(self.codes.shape[1])


class _FinishedError(Exception):
    """Ends the library's loop when a window is complete or the user stops: one that ends earlier breaks its output."""


class _Draw:
    """A logits processor that draws the tokens, reports them, and ends the loop.

    ids: all tokens so far as the library has them, (batch x codebooks, positions).
    """

    def __init__(self, filters: Any, guidance: Any, generators: Sequence[torch.Generator] | None, length: int) -> None:
        self.filters, self.guidance, self.generators, self.length = filters, guidance, generators, length
        self.ids: Tensor | None = None
        self.report: Callable[[int], bool] = lambda _: False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return logits that allow the drawn token only; input_ids: (rows, positions), scores: (rows, bins).

        With guidance, the scores have twice the rows: with the text, then without it. So have the returned ones.
        """
        guided = scores if self.guidance is None else self.guidance(input_ids, scores)
        drawn = self._drawn(input_ids, guided)
        self.ids = torch.cat([input_ids, drawn[:, None]], 1)
        stopped = self.report(self.ids.shape[1])
        if stopped or self.ids.shape[1] >= self.length:
            raise _FinishedError
        allowed = torch.full_like(guided, RULED_OUT).scatter(1, drawn[:, None], 0.0)
        return allowed if self.guidance is None else allowed.repeat(2, 1)

    def _drawn(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.generators is None:
            return scores.argmax(-1)
        chances = self.filters(input_ids, scores).softmax(-1).chunk(len(self.generators))
        drawn = [torch.multinomial(one, 1, generator=g) for one, g in zip(chances, self.generators, strict=True)]
        return torch.cat(drawn)[:, 0]


class Sampler:
    """Extends tracks by windows.

    window: the most frames that the model reads. context: the frames that a window after the first begins with.
    """

    def __init__(self, model: Any, tokenizer: Any, request: SourceRequest, frame_rate: float) -> None:
        decoder = model.config.decoder
        self.model, self.tokenizer, self.request = model, tokenizer, request
        self.codebooks, self.channels = int(decoder.num_codebooks), int(decoder.audio_channels)
        self.delays = self.codebooks // self.channels
        longest = min(round(WINDOW_SECONDS * frame_rate), decoder.max_position_embeddings - self.delays)
        self.window, self.context = longest, min(round(CONTEXT_SECONDS * frame_rate), longest // 2)
        self.guidance = guidance_of(request)

    def extend(self, tracks: Sequence[Track], total: int, report: Callable[[int], bool]) -> None:
        """Add the codes of one window to tracks of the same length, up to `total` frames.

        report: called after each step with the frames of each track; returns whether to stop. Whatever ends this, such
        as Ctrl-C or an error, the codes up to then are added; after running out of memory nothing has changed.
        """
        have = tracks[0].frames
        kept = have if have < self.window else self.context
        frames = min(self.window, kept + total - have)
        states = [track.generator.get_state() for track in tracks]
        draw = self._draw(tracks, frames + self.delays)
        draw.report = lambda length: report(have - kept + max(kept, length - self.delays))
        try:
            self._generate(tracks, draw, kept, frames)
        except _FinishedError:
            pass
        except (torch.OutOfMemoryError, MemoryError):
            draw.ids = None
            for track, state in zip(tracks, states, strict=True):
                track.generator.set_state(state)
            raise
        finally:
            self._add(tracks, draw.ids, kept)

    def _generate(self, tracks: Sequence[Track], draw: _Draw, kept: int, frames: int) -> None:
        from transformers import LogitsProcessorList

        options = self._conditioning([track.text for track in tracks])
        if kept:
            codes = torch.cat([track.codes[:, -kept:] for track in tracks])
            options["decoder_input_ids"] = codes.to(self.model.device)
        self.model.generate(
            **options,
            do_sample=False,  # `draw` does
            guidance_scale=self.guidance,
            max_new_tokens=frames - kept + self.delays - 1,
            logits_processor=LogitsProcessorList([draw]),
        )

    def _add(self, tracks: Sequence[Track], ids: Tensor | None, kept: int) -> None:
        """Add what a window has sampled beyond its first `kept` frames to its tracks."""
        frames = 0 if ids is None else ids.shape[1] - self.delays
        if ids is None or frames <= kept:
            return
        rows = ids.cpu().reshape(len(tracks), self.codebooks, -1)
        for track, own in zip(tracks, rows, strict=True):
            undelayed = [row[1 + k // self.channels :][:frames] for k, row in enumerate(own)]
            track.codes = torch.cat([track.codes, torch.stack(undelayed)[:, kept:]], 1)

    def _draw(self, tracks: Sequence[Track], length: int) -> _Draw:
        from transformers import (
            ClassifierFreeGuidanceLogitsProcessor,
            LogitsProcessorList,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        asked, filters = self.request, LogitsProcessorList()
        if asked.temperature != 1:
            filters.append(TemperatureLogitsWarper(asked.temperature))
        if asked.top_p is not None and asked.top_p < 1:
            filters.append(TopPLogitsWarper(asked.top_p))
        if asked.top_p is None:
            filters.append(TopKLogitsWarper(asked.top_k or TOP_K))
        guidance = ClassifierFreeGuidanceLogitsProcessor(self.guidance) if self.guidance > 1 else None
        return _Draw(filters, guidance, None if asked.greedy else [track.generator for track in tracks], length)

    def _conditioning(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the arguments of `generate` for texts; for none, those that the library has for it."""
        if any(texts):
            words: Mapping[str, Tensor] = self.tokenizer(list(texts), padding=True, return_tensors="pt")
            return {name: words[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        if hasattr(self.model, "get_unconditional_inputs"):
            empty = self.model.get_unconditional_inputs(num_samples=len(texts))
            return {name: empty[name] for name in ("encoder_outputs", "attention_mask")}
        words = self.tokenizer(list(texts), return_tensors="pt")  # the melody models have empty texts, masked
        ids = words["input_ids"].to(self.model.device)
        return {"input_ids": ids, "attention_mask": torch.zeros_like(ids)}


def guidance_of(request: SourceRequest) -> float:
    """Return the guidance of a request: 3 by default, as of the released samples, and none (1) without a text."""
    return (3.0 if request.text else 1.0) if request.guidance is None else request.guidance
