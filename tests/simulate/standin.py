"""A stand-in for the model: each token is a pure function of what sampling depends on, so any song has one truth.

A token depends on the seed, level, item and position, the labels and the sampling parameters, the token before it, and
the upper token it is conditioned on. Nothing else of the package is replaced, except pictures and the page's markup.
"""

from __future__ import annotations

import dataclasses
import types
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

from jukebox_kit import _files
from jukebox_kit.engine import UNSAMPLED, LevelJob, LevelPlan
from jukebox_kit.model import Labels
from jukebox_kit.model.weights import PARTS, ModelDefinition, load_definition, read_tables
from jukebox_kit.song import LevelCodes, Request, Resolved
from jukebox_kit.song.store import lease
from tests.simulate import boundary, paths

BINS = 509

CONTEXTS = {0: 16, 1: 8, 2: 4}  # tokens of a window of each level


def small_definition() -> ModelDefinition:
    """Return the demo's definition with short windows, so that a short song has several."""
    demo = load_definition("demo")
    priors = tuple(dataclasses.replace(p, n_ctx=CONTEXTS[p.level], blocks=2) for p in demo.priors)
    vqvae = dataclasses.replace(demo.vqvae, l_bins=BINS + 1)
    return dataclasses.replace(demo, priors=priors, vqvae=vqvae)


class Decoder:
    """The VQ-VAE: a code sounds at its level's hop, as loud as its number."""

    device = torch.device("cpu")

    def __init__(self, definition: ModelDefinition) -> None:
        self.config = definition.vqvae

    def margin(self, level: int) -> int:
        return 1

    def decode(self, codes: torch.Tensor, level: int) -> torch.Tensor:
        return (codes[..., None].float() / BINS).repeat(1, 1, self.config.hops[level]).reshape(len(codes), -1, 1)


class StandIn:
    """See engine.Model, of which it has what songs and steps use."""

    def __init__(self) -> None:
        self.definition = small_definition()
        self.source, self.lora_scale, self.device = "demo", 1.0, torch.device("cpu")
        self.tables = read_tables(load_definition("demo"), "demo")
        self.placement = SimpleNamespace(weights="float32", engine="fast", optimised=False)
        self.resident_levels: tuple[int, ...] = ()
        self.vqvae = Decoder(self.definition)

    def fingerprints(self) -> dict[str, str]:
        return dict.fromkeys(PARTS, "stand-in")

    def check_files(self) -> None:
        """Nothing to check."""

    def prior(self, level: int) -> Any:
        return SimpleNamespace(level=level, config=None)


def plan_of_step(_state: Any, _level: int, _model: Any, batch_size: int) -> Any:
    """Return what is used of a memory plan: everything fits."""
    return SimpleNamespace(resident_levels=(), batch=lambda _level: batch_size)


def condition(level: int, seed: int, labels: Labels, choice: object) -> int:
    """Return a number for what all tokens of a level depend on."""
    return zlib.crc32(repr((level, seed, labels, choice)).encode())


def token(base: int, item: int, position: int, before: int, upper: int) -> int:
    """Return the token at a position of an item's level."""
    mixed = (base ^ item * 0x9E3779B1 ^ position * 0x85EBCA6B ^ before * 0xC2B2AE35 ^ upper * 0x27D4EB2F) & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 0x2C1B3C6D & 0xFFFFFFFF
    return (mixed ^ mixed >> 13) % BINS


def sample_level(_prior: Any, job: LevelJob, codes: torch.Tensor, made: Callable[[int], None], _loop: Any) -> list[int]:
    """See engine.sample_level: fills `codes` in place, a token of every row at a time."""
    plan, wrong = job.plan, list[int]()
    bases = [condition(plan.level, job.seed, labels, job.choice) for labels in job.labels]
    upper = None if job.upper_codes is None else job.upper_codes.numpy()
    rows: Any = codes.numpy()
    for _, begin, end in plan.windows(min(job.given, default=0)):
        if not (rows[:, begin:end] == UNSAMPLED).any():
            continue
        for position in range(begin, end):
            new = False
            for row, item in enumerate(job.items):
                if position < job.given[row]:
                    continue
                place = position + job.begins[row]
                above = 0 if upper is None else int(upper[row, min(place // plan.rate, upper.shape[1] - 1)])
                wanted = token(bases[row], item, place, int(rows[row, position - 1]) if position else 0, above)
                if rows[row, position] == UNSAMPLED:
                    rows[row, position], new = wanted, True
                elif rows[row, position] != wanted:
                    wrong.append(position)
            paths.world.spend(paths.world.pace if new else 0.01)
            paths.world.tokens += 1
            made(position)
    return wrong


def wrong_tokens(
    request: Request, resolved: Resolved, levels: dict[int, LevelCodes], definition: ModelDefinition, late: bool
) -> list[str]:
    """Return the sampled tokens of levels in one chunk that are not those of the song that was never disturbed.

    late: whether the level above may not have arrived; what was sampled from it is then not judged.
    """
    wrong: list[str] = []
    for level, codes in levels.items():
        plan: LevelPlan = resolved.plans[level]
        if codes.joins:
            continue
        base = condition(level, request.seed, resolved.labels[level], request.sampling_params(level, definition))
        above = levels[level + 1].codes if level < 2 else None
        rows = codes.codes.tolist()
        for item, row in enumerate(rows):
            upper = None if above is None else above[item].tolist()
            for position in range(codes.given[item], len(row)):
                if row[position] == UNSAMPLED:
                    continue
                before = row[position - 1] if position else 0
                higher = 0 if upper is None else upper[min(position // plan.rate, len(upper) - 1)]
                if late and higher == UNSAMPLED:
                    continue
                if row[position] != token(base, item, position, before, higher):
                    wrong.append(f"level {level}, item {item}, token {position} is {row[position]}")
    return wrong


def _markup(_template: str, title: str, values: dict[str, Any], *_: Any) -> str:
    return f"{title} {len(values['page'].history)} {values['data']}"


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """Replace the model, pictures and markup by stand-ins."""
    model = StandIn()
    with ExitStack() as stack:
        for name, value in {
            "jukebox_kit.steps.steps.sample_level": sample_level,
            "jukebox_kit.steps.steps.job_loop": lambda *_: SimpleNamespace(decoder=SimpleNamespace(optimised=False)),
            "jukebox_kit.steps.steps.threads_for": lambda _: nullcontext(),
            "jukebox_kit.steps.steps.plan_step": plan_of_step,
            "jukebox_kit.song.song.load_definition": lambda _: model.definition,
            "jukebox_kit.song.request.load_definition": lambda _: model.definition,
            "jukebox_kit.song.render.strip_png": lambda audio, _: b"strip of %d" % len(audio),
            "jukebox_kit.song.render.spectrogram_png": lambda levels, *_: b"levels %d" % len(levels),
            "jukebox_kit.song.page.page.render_page": _markup,
            "jukebox_kit.song.history.datetime": _Datetime,
            "jukebox_kit._files.is_litter": cache(_files.is_litter),
            "jukebox_kit.song.files.is_litter": cache(_files.is_litter),
        }.items():
            stack.enter_context(mock.patch(name, value))
        threads = types.SimpleNamespace(Event=boundary.Event, Thread=boundary.Thread)
        stack.enter_context(mock.patch.object(lease, "threading", threads))
        yield model


class _Datetime:
    """The module datetime, whose time is the world's."""

    class timezone:
        utc = None

    class datetime:
        @staticmethod
        def now(_zone: None) -> Any:
            return SimpleNamespace(isoformat=lambda timespec: f"{paths.world.now:.0f}")


def count_sampled(levels: dict[int, LevelCodes]) -> int:
    """Return how many tokens of a song are sampled or given."""
    return sum(int(np.count_nonzero(codes.codes != UNSAMPLED)) for codes in levels.values())
