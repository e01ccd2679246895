"""Estimates: bytes against real tensors, and work against what sampling really does."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jukebox_kit.engine import noise
from jukebox_kit.engine import timing as pace
from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.cpu.small_decoder import SmallDecoder
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.memory import free_memory, level_bytes, weights_bytes
from jukebox_kit.engine.model import Model, place
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.sampling import LevelJob, sample_level
from jukebox_kit.engine.timing import Pace, measure_decoding, measure_pace
from jukebox_kit.engine.windows import UNSAMPLED, plan_level
from jukebox_kit.errors import RequestError
from jukebox_kit.model.configuration import Pattern, PriorConfig, layer_patterns
from jukebox_kit.model.labels import Labels
from jukebox_kit.model.prior import Conditioning, Prior
from jukebox_kit.model.weights.definition import PARTS, ModelDefinition, load_definition
from jukebox_kit.steps import estimates
from jukebox_kit.steps.estimates import estimate, read_positions
from tests.conftest import SMALL_VQVAE, with_recipe

CPU, META, GIB = torch.device("cpu"), torch.device("meta"), 2**30


def encoder_model() -> ModelDefinition:
    """Return a definition whose top prior has an encoder for its lyrics, every tenth layer reading it."""
    top = PriorConfig(
        level=2,
        n_ctx=32,
        prior_width=16,
        prior_depth=19,
        heads=2,
        blocks=4,
        y_bins=(5, 5),
        attn_order=10,
        merged_decoder=True,
        use_tokens=True,
        n_tokens=8,
        prime_width=8,
        prime_depth=2,
        prime_heads=2,
        prime_blocks=4,
        min_duration=1.0,
        max_duration=60.0,
    )
    demo = load_definition("demo")
    return replace(demo, vqvae=SMALL_VQVAE, priors=(*demo.priors[:2], top))


@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_weights_take_the_bytes_that_they_take_when_loaded(weights: str) -> None:
    model = Model.load("demo", "cpu", weights, engine="cached")
    for number, name in enumerate(PARTS):
        part = model.prior(number - 1) if number else model.vqvae
        held = sum(tensor.nbytes for tensor in [*part.parameters(), *part.buffers()])
        assert weights_bytes(model.definition, name, model.placement) == held, name


def test_a_full_size_upsampler_takes_what_its_converted_file_has() -> None:
    taken = weights_bytes(load_definition("5b"), "level_0", Placement(CPU, "float16", "cached"))
    assert taken / GIB == pytest.approx(2.17, abs=0.01)


@pytest.mark.parametrize("weights", ["float32", "float16"])
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("kind", ["demo", "encoder"])
def test_an_item_takes_the_bytes_of_its_caches_and_conditioning(kind: str, level: int, weights: str) -> None:
    definition = load_definition("demo") if kind == "demo" else encoder_model()
    config = definition.priors[level]
    prior = with_recipe(Prior(config, definition.vqvae))
    placement = Placement(CPU, weights, "cached")
    place(prior, CPU, placement.dtype)
    plan = plan_level(config, definition.vqvae, 128 * 100, 0.5)
    for songs in (1, 3):
        y = torch.ones(songs, config.label_width, dtype=torch.long)
        above = None if prior.top else torch.zeros(songs, config.n_ctx // prior.rate, dtype=torch.long)
        decoder = CachedDecoder(prior, songs)
        with torch.no_grad():
            given = prior.condition(y, above, decoder.conditioning)
        decoder.prefill(given, torch.zeros(songs, 0, dtype=torch.long))
        taken = level_bytes(definition, placement, plan, songs)
        assert taken.caches * songs == sum(cache.kv.nbytes for cache in decoder.caches)
        held = decoder.conditioning.nbytes + decoder.last.nbytes
        held += 0 if given.lyrics is None else given.lyrics.nbytes
        tokens = plan.total + (0 if prior.top else plan.total // 4)
        assert songs * taken.item == sum(cache.kv.nbytes for cache in decoder.caches) + held + songs * 8 * tokens
        assert given.positions is decoder.conditioning, "what a window is conditioned on is there once"


def test_free_memory_is_part_of_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_memory(CPU)

    def gone(_: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", gone)
    whole = free_memory(CPU)
    assert 2**20 < free < whole


def fixed_pace(monkeypatch: pytest.MonkeyPatch, found: Pace) -> list[int]:
    """Give every component the same pace; returns the batch size of each measurement."""
    asked: list[int] = []

    def measure(_config: object, _vqvae: object, items: int, *_: object) -> Pace:
        asked.append(items)
        return found

    monkeypatch.setattr(estimates, "measure_pace", measure)
    monkeypatch.setattr(estimates, "measure_decoding", lambda *_: 0.5)
    return asked


@pytest.mark.parametrize("model", ["demo", "1b_lyrics"])
@pytest.mark.parametrize(("seconds", "items", "batch"), [(0.1, 1, None), (20.0, 3, 2), (61.7, 5, None)])
def test_tokens_and_seconds_are_those_of_the_plan(
    monkeypatch: pytest.MonkeyPatch, model: str, seconds: float, items: int, batch: int | None
) -> None:
    monkeypatch.setattr("jukebox_kit.steps.memory_plan.free_memory", lambda _: 64 * GIB)
    asked = fixed_pace(monkeypatch, Pace(0.01, 0.001))
    definition = load_definition(model)
    found = estimate(definition, seconds, items, Placement(CPU), batch)
    samples = int(seconds * definition.vqvae.sr) // 128 * 128
    at_once = min(items, batch or 16)
    assert [level.level for level in found.levels] == [2, 1, 0]
    for level in found.levels:
        prior = definition.priors[level.level]
        plan = plan_level(prior, definition.vqvae, samples, definition.sampling.hop_fraction[level.level])
        assert (level.tokens, level.batch) == (plan.total * items, at_once)
        read = sum(begin - start + prior.positions - prior.n_ctx for start, begin, _ in plan.windows(0))
        wanted = math.ceil(items / at_once) * (plan.total * 0.01 + read * 0.001)
        assert level.seconds == pytest.approx(wanted)
        assert level.ms_per_token == pytest.approx(10)
    assert asked == [at_once] * 2, "both upsamplers are measured once"
    assert found.fits
    assert found.vqvae_seconds == pytest.approx(0.5 * samples / definition.vqvae.sr * items)
    assert found.vqvae_seconds is not None
    assert found.seconds == pytest.approx(sum(level.seconds for level in found.levels) + found.vqvae_seconds)


@pytest.mark.parametrize("level", [0, 2])
def test_a_plan_counts_the_steps_and_positions_that_sampling_does(
    level: int, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(tiny, "cpu")
    prior, definition = model.prior(level), model.definition
    plan = plan_level(prior.config, definition.vqvae, 150 * 128 if level else 1920, (0.5, 0.5, 0.125)[level])
    done = {"steps": 0, "read": 0}
    prefill, step = CachedDecoder.prefill, SmallDecoder.next_logits

    def counted_prefill(decoder: CachedDecoder, given: Conditioning, codes: Tensor) -> None:
        done["read"] += decoder.prior.sequence(codes, given).shape[1]
        prefill(decoder, given, codes)

    def counted_step(decoder: SmallDecoder) -> Tensor:
        done["steps"] += 1
        return step(decoder)

    monkeypatch.setattr(CachedDecoder, "prefill", counted_prefill)
    monkeypatch.setattr(SmallDecoder, "next_logits", counted_step)
    above = None if level else torch.zeros(1, plan.total // plan.rate, dtype=torch.long)
    labels = Labels(1, (1,), (3, 4, 5), 4 * 16000)
    job = LevelJob(plan, (0,), (labels,), above, 0, SamplingParams())
    sample_level(prior, job, torch.full((1, plan.total), UNSAMPLED))
    assert done == {"steps": plan.total, "read": read_positions(plan, prior.prefix_length)}


def test_what_was_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jukebox_kit.steps.memory_plan.free_memory", lambda _: 64 * GIB)
    asked = fixed_pace(monkeypatch, Pace(0.01, 0.001))
    definition, measured = load_definition("demo"), estimates.Measured()
    first = estimates.estimate(definition, 8, 2, Placement(CPU), measured=measured)
    count = len(asked)
    assert count > 0
    longer = estimates.estimate(definition, 16, 2, Placement(CPU), measured=measured)
    assert len(asked) == count
    assert longer.levels[1].tokens == 2 * first.levels[1].tokens
    estimates.estimate(definition, 8, 4, Placement(CPU), measured=measured)
    assert len(asked) > count


def test_what_does_not_fit_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> Pace:
        raise AssertionError("nothing is to be measured")

    monkeypatch.setattr(estimates, "measure_pace", measured)
    monkeypatch.setattr("jukebox_kit.steps.memory_plan.free_memory", lambda _: 8 * GIB)
    definition = load_definition("5b_lyrics")
    found = estimate(definition, 20, 1, Placement(CPU, "float16"))
    assert (found.fits, found.levels, found.vqvae_seconds, found.seconds) == (False, (), None, 0.0)
    assert "level 2 of 5b_lyrics needs 1" in found.reason
    assert "8.0 GiB free" in found.reason
    assert set(found.weights_bytes) == set(PARTS)


@pytest.mark.parametrize("wrong", [(0.0, 1, None), (float("nan"), 1, None), (0.001, 1, None), (8.0, 0, None)])
def test_lengths_and_numbers_that_cannot_be_are_refused(wrong: tuple[float, int, int | None]) -> None:
    with pytest.raises(RequestError, match=r"at least|must be a number, not nan"):
        estimate(load_definition("demo"), wrong[0], wrong[1], Placement(CPU), wrong[2])
    with pytest.raises(RequestError, match="not -1"):
        estimate(load_definition("demo"), 8.0, 1, Placement(CPU), -1)


@pytest.mark.parametrize("name", ["encoder", "demo", "5b"])
@pytest.mark.parametrize("most", [0, pace.WHOLE])
def test_a_line_through_two_depths_gives_all_layers(monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    """A machine on which a step takes 3 s and each layer a quarter of one; a position a tenth of that."""
    definition = encoder_model() if name == "encoder" else load_definition(name)
    top = definition.priors[0] if name == "5b" else definition.top

    class Fixed:
        def __init__(self, *_: object) -> None: ...

        def step(self, layers: int, _count: int) -> float:
            return 3 + layers / 4

        def read(self, layers: int, _length: int) -> float:
            return self.step(layers, 1) / 10

        def noise_seconds(self) -> float:
            return 0.125

    monkeypatch.setattr(pace, "WHOLE", most)
    monkeypatch.setattr(pace, "_Runner", Fixed)
    monkeypatch.setattr(pace, "_built", lambda *a: built(a[0], a[1], Placement(META, a[2].weights, "cached")))
    found = measure_pace(top, definition.vqvae, 2, Placement(CPU), SamplingParams())
    assert found.step == pytest.approx(3 + top.prior_depth / 4 + 0.125)
    assert found.position == pytest.approx((3 + top.prior_depth / 4) / 10)


built = pace._built


def test_stacks_have_the_patterns_in_their_proportions() -> None:
    row, column, before, encoder = Pattern.ROW, Pattern.COLUMN, Pattern.PREVIOUS_ROW, Pattern.ENCODER
    for order, depth in ((2, 72), (12, 72), (2, 30)):
        found = pace.mixed(layer_patterns(order, depth))
        assert set(found[:3]) == {row, column, before}
        assert [found.count(pattern) for pattern in (row, column, before)] == [3, 3, 3]
    found = pace.mixed(layer_patterns(10, 79))
    assert len(set(found[:3])) == 3
    assert found.count(encoder) == 1


@pytest.mark.parametrize("most", [0, pace.WHOLE])
@pytest.mark.parametrize("name", ["encoder", "demo", "tiny"])
def test_real_parts_are_stepped(monkeypatch: pytest.MonkeyPatch, tiny: Path, name: str, most: int) -> None:
    """Every step goes through as many layers as its stack has, at positions inside the window."""
    monkeypatch.setattr(pace, "WHOLE", most)
    monkeypatch.setattr(pace, "BUDGET", 0.05)
    layers: set[int] = set()
    step = SmallDecoder.next_logits

    def watched(decoder: SmallDecoder) -> Tensor:
        layers.add(len(decoder.layers))
        assert int(decoder.position) < decoder.model.transformer.shape.positions
        return step(decoder)

    monkeypatch.setattr(SmallDecoder, "next_logits", watched)
    definition = encoder_model() if name == "encoder" else load_definition(tiny if name == "tiny" else name)
    found = measure_pace(definition.top, definition.vqvae, 2, Placement(CPU), SamplingParams())
    depth = definition.top.prior_depth
    assert layers == ({3, 9} if most == 0 and depth > 9 else {depth})
    assert 0 < found.step < math.inf
    assert 0 < found.position < math.inf


def test_a_table_of_noise_may_hold_few_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = load_definition("demo")
    monkeypatch.setitem(noise.NOISE_VALUES, "cpu", 3 * 2 * definition.vqvae.l_bins)
    monkeypatch.setattr(pace, "BUDGET", 1e3)  # so that a group is as long as it may be
    found = measure_pace(definition.top, definition.vqvae, 2, Placement(CPU, engine="cached"), SamplingParams())
    assert found.step > 0


def test_shallow_parts_hold_no_more_than_their_layers() -> None:
    """A full-size part is measured without its memory: its conditioners stay on the meta device."""
    definition = load_definition("5b")
    prior = built(definition.priors[0], definition.vqvae, Placement(META, "float16"))
    assert prior.config.prior_depth == pace.HIGHER
    held = sum(value.nbytes for value in prior.prior.parameters())
    assert held < weights_bytes(definition, "level_0", Placement(CPU, "float16")) / 6


def test_decoding_is_measured() -> None:
    assert 0 < measure_decoding(SMALL_VQVAE, CPU) < math.inf
