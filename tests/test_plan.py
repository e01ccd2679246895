"""The plan of memory: what fits into how much, what it says where nothing does, and that sampling follows it."""

from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path

import pytest
import torch

import jukebox_kit as jk
from jukebox_kit.engine import model as models
from jukebox_kit.engine import sampling
from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.memory import level_bytes, weights_bytes
from jukebox_kit.engine.model import Model
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.sampling import LevelJob, job_loop, sample_level
from jukebox_kit.engine.windows import UNSAMPLED, plan_level
from jukebox_kit.errors import RequestError
from jukebox_kit.model.labels import Labels
from jukebox_kit.model.weights.definition import PARTS, load_definition
from jukebox_kit.song.song import Song
from jukebox_kit.steps import load as planned
from jukebox_kit.steps.load import load_for, load_planned
from jukebox_kit.steps.memory_plan import BUCKETS, SPARE, LevelMemory, MemoryPlan, plan_memory, precisions
from jukebox_kit.steps.progress import RunSettings
from tests.conftest import SMALL_VQVAE, shell

CPU, GPU, GIB = torch.device("cpu"), torch.device("cuda"), 2**30

CPU_RUN = RunSettings("cpu")


def on_gpu(model: str, free: float, items: int = 1, **more: object) -> MemoryPlan:
    """Return the plan for a minute on a GPU with so many GiB free."""
    return plan_memory(load_definition(model), 60, items, GPU, int(free * GIB), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "free", "items", "weights", "batches", "together"),
    [
        ("5b_lyrics", 14.5, 1, "float16", (1, 1, 1), (0, 1)),  # a T4 of 16 GB
        ("5b_lyrics", 14.5, 16, "float16", (2, 16, 16), (0, 1)),
        ("5b_lyrics", 11.3, 4, "int8", (4, 4, 4), (0, 1)),  # a card of 12 GB
        ("5b_lyrics", 7.3, 1, "int8", (1, 1, 1), (0, 1)),  # a card of 8 GB
        ("1b_lyrics", 7.3, 4, "float16", (4, 4, 4), (0, 1)),
        ("1b_lyrics", 3.4, 1, "float16", (1, 1, 1), ()),
        ("5b_lyrics", 79.0, 16, "float16", (16, 16, 16), (0, 1, 2)),
    ],
)
def test_the_released_models_on_cards(
    model: str, free: float, items: int, weights: str, batches: tuple[int, ...], together: tuple[int, ...]
) -> None:
    plan = on_gpu(model, free, items)
    assert plan.fits
    assert (plan.weights, tuple(level.batch for level in plan.levels), plan.resident_levels) == (
        weights,
        batches,
        together,
    )
    assert [level.level for level in plan.levels] == [2, 1, 0]
    assert max(level.peak for level in plan.levels) <= free * GIB - SPARE["cuda"]


def test_what_stays_loaded_is_counted_and_never_costs_items() -> None:
    definition = load_definition("1b_lyrics")
    one, large = on_gpu("1b_lyrics", 5.0, 16), on_gpu("1b_lyrics", 40, 16)
    assert one.resident_levels == ()
    placement = Placement(GPU, "float16")
    sizes = [weights_bytes(definition, part, placement) for part in PARTS[1:]]
    peaks = {level.level: level.peak for level in large.levels}
    samples = 60 * 44100 // 128 * 128
    for level, hop in ((0, 0.5), (2, 0.125)):
        plan = plan_level(definition.priors[level], definition.vqvae, samples, hop)
        alone = level_bytes(definition, placement, plan, 16).peak(16)
        assert peaks[level] == alone + sum(sizes) - sizes[level]


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_items_at_once_are_the_most_that_fit(weights: str) -> None:
    definition = load_definition("5b_lyrics")
    plan = plan_level(definition.top, definition.vqvae, 60 * 44100 // 128 * 128, 0.125)
    taken = level_bytes(definition, Placement(GPU, weights), plan, 100)
    for items in BUCKETS:
        just = (taken.peak(items) + SPARE["cuda"]) / GIB
        assert on_gpu("5b_lyrics", just + 0.001, 100, weights=weights, levels=(2,)).batch(2) == items
        assert on_gpu("5b_lyrics", just - 0.001, 100, weights=weights, levels=(2,)).batch(2) == items // 2 or 1
    assert on_gpu("5b_lyrics", 60, 3).batch(2) == 3
    assert on_gpu("5b_lyrics", 60, 16, batch=5).batch(2) == 5


def test_what_does_not_fit_says_what_would() -> None:
    plan = on_gpu("5b_lyrics", 6)
    assert (plan.fits, plan.levels, plan.batch(2)) == (False, (), 1)
    assert "level 2 of 5b_lyrics needs 7." in plan.reason
    assert "with int8 weights, but this GPU has 6.0 GiB free; free some, or choose the model 1b_lyrics." in plan.reason
    assert "choose --precision int8" in on_gpu("5b_lyrics", 8, weights="float16").reason
    assert on_gpu("5b_lyrics", 6, levels=(1, 0)).fits, "its upsamplers alone do"
    demo = plan_memory(load_definition("demo"), 8, 1, CPU, 2**20)
    assert "this machine has 0.0 GiB free; free some, or use a larger machine" in demo.reason


def test_the_cpu_keeps_float32_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = load_definition("1b_lyrics")
    found = [plan_memory(definition, 60, 1, CPU, int(free * GIB)).weights for free in (8, 4, 3.2)]
    assert found == ["float32", "float16", "int8"]
    assert precisions(GPU) == ("float16", "int8")
    monkeypatch.setattr("jukebox_kit.steps.memory_plan.can_pack", lambda kind: False)
    assert precisions(CPU) == ("float32",)
    assert precisions(CPU, "cached") == ("float32", "float16", "int8")


@pytest.mark.parametrize("wrong", [(0.0, 1, None), (8.0, 0, None), (8.0, 1, -1)])
def test_wrong_lengths_and_numbers_are_refused(wrong: tuple[float, int, int | None]) -> None:
    with pytest.raises(RequestError, match="must be at least"):
        plan_memory(load_definition("demo"), wrong[0], wrong[1], CPU, batch=wrong[2])


def begun(tiny: Path, folder: Path, weights: str) -> Song:
    """Return a song of three items whose level 2 is made."""
    song = Song.create(folder, model=tiny, seconds=0.4, items=3)
    return jk.level_2(song, Model.load(tiny, "cpu", weights))


def only(monkeypatch: pytest.MonkeyPatch, weights: str, batch: int, together: tuple[int, ...] = ()) -> None:
    """Let the plan be one, whatever is asked for, but for weights that are said: those do not fit."""

    def plan(*given: object, **_: object) -> MemoryPlan:
        reason = "it is too large." if given[5] not in (None, weights) else ""
        return MemoryPlan(weights, tuple(LevelMemory(n, batch, 0) for n in (2, 1, 0)), together, 0, reason)

    monkeypatch.setattr(planned, "plan_memory", plan)


def test_a_song_goes_on_in_the_weights_it_was_begun_in(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    song = begun(tiny, tmp_path / "song", "float16")
    assert load_planned(song, CPU_RUN).placement.weights == "float16"
    assert load_planned(song, RunSettings("cpu", "auto")).placement.weights == "float16"
    assert load_planned(song, RunSettings("cpu", "int8")).placement.weights == "int8"
    held = load_planned(song, CPU_RUN)
    assert load_planned(song, CPU_RUN, held) is held
    assert load_planned(song, RunSettings("cpu", "float32"), held) is not held
    assert not caplog.records
    only(monkeypatch, "int8", 1)
    with caplog.at_level(logging.WARNING):
        assert load_planned(song, CPU_RUN).placement.weights == "int8"
    assert "was started in float16, which does not fit here; it continues in int8" in caplog.text


def test_a_song_that_does_not_fit_is_refused_before_anything_is_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planned, "free_memory", lambda _: 2**20)
    with pytest.raises(
        RequestError, match=r"needs 0\.\d GiB for one item with int8 weights, but this machine has 0\.0"
    ):
        load_for(tiny, 8, 1, CPU_RUN)
    assert shell(monkeypatch, "sample", tmp_path / "song", "--model", tiny, "--device", "cpu") == 1
    assert "has 0.0 GiB free" in capsys.readouterr().err
    assert not (tmp_path / "song").exists()
    assert load_for(tiny, 8, 1, RunSettings("cpu", "float16")).placement.weights == "float16", "what is said is tried"


def test_steps_follow_the_plan(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.4, items=3)
    model, batches = Model.load(tiny, "cpu"), list[int]()
    sample_level = sampling.sample_level

    def counted(prior: object, job: object, *more: object) -> list[int]:
        batches.append(len(job.items))  # type: ignore[attr-defined]
        return sample_level(prior, job, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("jukebox_kit.steps.steps.sample_level", counted)
    only(monkeypatch, "float32", 2, (0, 1))
    jk.sample(song, model=model)
    assert batches == [2, 1] * 3
    assert model.loaded == ("level_0", "level_1", "vqvae")
    assert {run["batch"] for run in song.manifest.runs.values()} == {2}


def test_a_level_goes_on_with_as_many_items_at_once_as_it_was_begun_with(tiny: Path, tmp_path: Path) -> None:
    song = Song.create(tmp_path / "song", model=tiny, seconds=0.4, items=3)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(jk.JukeboxKitError, match="was stopped"):
        jk.level_2(song, Model.load(tiny, "cpu"), jk.RunSettings(batch_size=2, stop=stop))
    jk.sample(song, model=Model.load(tiny, "cpu"))
    assert [song.manifest.runs[level]["batch"] for level in "210"] == [2, 3, 3]
    assert not any(event.kind == "resumed_elsewhere" for event in song.manifest.history)


def test_no_map_is_held_twice_while_a_part_is_loaded(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each plain map is let go of before the next is read."""
    seen: list[weakref.ref[torch.nn.Module]] = []
    form = models.form_of

    def watched(plain: torch.nn.Module, *how: object) -> torch.nn.Module:
        alive = [one for one in seen if one() is not None]
        assert len(alive) <= 1, "the one whose form was made last may still be in the loop's hands"
        seen.append(weakref.ref(plain))
        return form(plain, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(models, "form_of", watched)
    assert Model.load(tiny, "cpu", "float16").top
    assert len(seen) > 10


def test_caches_are_given_back_when_a_batch_is_done(tiny: Path) -> None:
    """At once, not when garbage happens to be collected: the next batch's caches are as large."""
    prior = Model.load(tiny, "cpu").top
    plan = plan_level(prior.config, SMALL_VQVAE, 128 * 4, 0.5)
    labels = Labels(1, (1,), (3, 4, 5), 4 * 16000)
    job = LevelJob(plan, (0,), (labels,), None, 0, SamplingParams())
    loop = job_loop(prior, job, CPU)
    held = weakref.ref(loop.decoder)
    gc.collect()
    gc.disable()
    try:
        sample_level(prior, job, torch.full((1, plan.total), UNSAMPLED), loop=loop)
        del loop
        assert held() is None
    finally:
        gc.enable()
