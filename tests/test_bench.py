"""The benchmark: what its rows say, that its loops do the work they stand for, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jukebox_kit.checks.bench import growth, hardware, peers
from jukebox_kit.checks.bench.hardware import Memory, copy_bandwidth
from jukebox_kit.checks.bench.measuring import LEAD, Ours, interleaved, steps_taken
from jukebox_kit.checks.bench.peers import Peer
from jukebox_kit.checks.bench.products import Products, plain_products, products_of
from jukebox_kit.checks.bench.report import Report, Row, SongRow
from jukebox_kit.checks.bench.run import Bench, run_bench
from jukebox_kit.checks.bench.shapes import (
    Subject,
    build,
    conditioning,
    differing_levels,
    free_shape,
    model_part,
    seen_keys,
    step_bytes,
)
from jukebox_kit.engine.choice import SamplingParams
from jukebox_kit.engine.decoder import CachedDecoder
from jukebox_kit.engine.decoders import make_loop
from jukebox_kit.engine.loop import Rows
from jukebox_kit.engine.model import Model
from jukebox_kit.engine.noise import NOISE_VALUES, NoiseTable
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.windows import UNSAMPLED
from jukebox_kit.errors import RequestError
from jukebox_kit.model.configuration import PriorConfig
from jukebox_kit.model.transformer import PlainLinear
from jukebox_kit.model.weights.checkpoint import recipe_tensor
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.steps.estimates import LevelEstimate, SongEstimate
from jukebox_kit.steps.memory_plan import MemoryPlan
from tests.conftest import SMALL_VQVAE, shell

CPU = torch.device("cpu")
PLAIN = Placement(CPU, engine="cached")
CONFIG = PriorConfig(
    level=2,
    n_ctx=64,
    prior_width=16,
    prior_depth=4,
    heads=2,
    blocks=8,
    y_bins=(5, 5),
    attn_order=("row", "column", "previous_row", "dense"),
    min_duration=1.0,
    max_duration=60.0,
)
SMALL = Subject("small", CONFIG, SMALL_VQVAE)
ORDER_2 = Subject("order 2", replace(CONFIG, attn_order=2, prior_depth=3), SMALL_VQVAE)

FAKE = """#!{python}
import json, sys
part = json.loads(sys.argv[3])
{begin}
print(json.dumps({{"peer": "fake 1.0", "torch": "none", "weights": "float32", "width": part["width"]}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({{"seconds": 0.5 * asked["steps"] * asked["songs"] + asked["at"]}}), flush=True)
"""


def fake_peer(folder: Path, begin: str = "") -> Path:
    """Return an interpreter that is no python but a peer."""
    path = folder / "python"
    path.write_text(FAKE.format(python=sys.executable, begin=begin))
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hardware.BUFFER, "cpu", 2**20)
    monkeypatch.setitem(NOISE_VALUES, "cpu", 2**12)


def silent(_line: str) -> None:
    """Take a line that nobody reads."""


def test_rows_are_whole_and_agree_with_each_other(tmp_path: Path) -> None:
    placements = (PLAIN, Placement(CPU, "int8", "cached"))
    bench = Bench((ORDER_2,), placements, (1, 3), (0, 8), 2, 3, ("transformers",), fake_peer(tmp_path))
    report = run_bench(bench, silent)
    assert len(report.rows) == 2 * 2 * (2 + 2 + 1 + 1)  # batches, positions; ours, products, addmm, a peer
    for row in report.rows:
        assert row.ms > 0
        assert row.tokens_per_second == pytest.approx(1000 * row.batch / row.ms)
        alike = {r.who: r for r in report.rows if (r.batch, r.at) == (row.batch, row.at) and r.who[0] != "o"}
        if row.who != "ours":
            assert row.step_bytes is None
            continue
        assert row.step_bytes
        assert row.bytes_per_second == pytest.approx(row.step_bytes * 1000 / row.ms)
        assert row.floor_percent == pytest.approx(100 * (row.bytes_per_second or 0) / report.copy_bandwidth)
        assert row.addmm_percent == pytest.approx(100 * row.tokens_per_second / alike["addmm"].tokens_per_second)
        peer = alike["transformers, 1 thread"]
        assert peer.ms == pytest.approx(1000 * (0.5 * 3 * row.batch + row.at) / 3)  # what the fake says
        assert row.against == {peer.who: pytest.approx(row.tokens_per_second / peer.tokens_per_second)}
    ours, products = ([r for r in report.rows if r.who == who and r.weights == "int8"] for who in ("ours", "products"))
    for own, bare in zip(ours, products, strict=True):
        assert own.products_percent == pytest.approx(100 * own.tokens_per_second / bare.tokens_per_second)
    assert json.loads(json.dumps(report.as_json()))["rows"][0]["who"] == "ours"
    assert report.peers["transformers, 1 thread"]["peer"] == "fake 1.0"


def test_the_table_shows_every_row_and_leaves_out_empty_columns() -> None:
    rows = [
        Row("a part", 4, 0, "ours", "int8", 2.0, 2000.0, against={"p": 1.5}),
        Row("b", 1, 0, "addmm", "x", 1.0, 1.0),
    ]
    song = SongRow("m", "int8", 4, 8.0, {"level_0": 1.25}, 10.0)
    text = Report({"device": "d"}, 2e9, {}, rows, [song]).as_text()
    assert "2,000.0" in text
    assert "x p" in text.splitlines()[4]
    assert text.splitlines()[5].endswith("1.50")
    assert "2.0 GB/s" in text
    assert "kernels" not in text
    assert "level_0 1.25" in text
    assert "no memory" in Report({}, 1.0, {}, [], [SongRow("m", "x", 1, 8.0, {}, 0.0, "no memory")]).as_text()


def test_products_are_those_of_a_step_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, called = build(SMALL, PLAIN), list[int]()
    for kind in (PlainLinear, nn.Linear):
        whole: Callable[..., Tensor] = kind.forward

        def forward(self: nn.Module, x: Tensor, whole: Callable[..., Tensor] = whole) -> Tensor:
            called.append(id(self))
            return whole(self, x)

        monkeypatch.setattr(kind, "forward", forward)
    decoder = CachedDecoder(prior, 2)
    decoder.prefill(conditioning(prior, 2, CPU), torch.zeros(2, 0, dtype=torch.long))
    decoder.next_logits()
    of_a_step, n = called.copy(), len(called)
    loop = Products(products_of(prior), PLAIN)
    loop.begin(2, 0)
    loop.run(3)
    assert n == 4 * CONFIG.prior_depth + 1
    assert called[n:] == of_a_step * 3


def test_plain_products_are_as_large_and_as_many() -> None:
    products = products_of(build(SMALL, PLAIN))
    plain = plain_products(products, PLAIN)
    assert [(one.n_in, one.n_out) for one in plain] == [(one.n_in, one.n_out) for one in products]
    assert all(one.do(torch.ones(3, one.n_in)).shape == (3, one.n_out) for one in plain)


@pytest.mark.parametrize("at", [0, 9])
def test_ours_is_the_loop_that_samples_songs(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, choice = build(SMALL, PLAIN), SamplingParams(0.9)
    ours = Ours(prior, PLAIN, choice)
    ours.begin(2, at)
    assert ours.run(LEAD) > 0
    ours.run(5)
    given = torch.randint(prior.bins, (2, at), generator=torch.Generator().manual_seed(0))
    codes = torch.cat([given, torch.full((2, LEAD + 5), UNSAMPLED)], 1)
    song = make_loop(prior, Rows.of(torch.arange(2)), 0, choice, PLAIN)
    song.window(conditioning(prior, 2, CPU), codes, 0, range(at, codes.shape[1]))
    assert torch.equal(ours.loop.codes[:, at : codes.shape[1]], codes[:, at:])


def test_more_steps_than_noise_is_made_for_take_more_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NOISE_VALUES, "cpu", 4 * 32)  # of four positions
    begun, whole = list[int](), NoiseTable.begin

    def begin(self: NoiseTable, position: int) -> int:
        begun.append(position)
        return whole(self, position)

    monkeypatch.setattr(NoiseTable, "begin", begin)
    ours = Ours(build(SMALL, PLAIN), PLAIN, SamplingParams())
    ours.begin(1, 3)
    ours.run(6)
    ours.run(3)
    assert begun == [3, 7, 11]


def test_contenders_take_turns() -> None:
    turns = list[tuple[int, int]]()

    class Fake:
        def __init__(self, name: int) -> None:
            self.name = name

        def begin(self, songs: int, at: int) -> None: ...

        def run(self, steps: int) -> float:
            turns.append((self.name, steps))
            return steps * self.name * (100.0 if len(turns) < 5 else 1.0)  # a slow first round

    assert interleaved([Fake(1), Fake(2)], 3, 7) == [1.0, 2.0]
    assert turns == [(1, LEAD), (1, 7), (2, LEAD), (2, 7)] * 3
    assert steps_taken(3, 7) == 7 + LEAD + sum(steps for name, steps in turns if name == 1)


def test_built_parts_have_the_recipe_in_every_layer_each_its_own() -> None:
    prior = build(SMALL, PLAIN)
    first, last = prior.prior.transformer.layers[0].mlp.c_fc, prior.prior.transformer.layers[-1].mlp.c_fc
    assert isinstance(first, PlainLinear)
    assert isinstance(last, PlainLinear)
    expected = torch.from_numpy(recipe_tensor("prior.transformer._attn_mods.0.mlp.c_fc.w", (16, 16)))
    assert torch.equal(first.w, expected)
    assert torch.equal(last.w, expected)
    assert first.w.data_ptr() != last.w.data_ptr()
    assert prior.prior.x_out.weight is prior.prior.x_emb.weight
    assert build(SMALL, Placement(CPU, "float16", "cached")).prior.transformer.layers[0].mlp.c_fc.computes == torch.half


def test_step_bytes_are_those_of_what_is_kept_and_seen() -> None:
    prior = build(SMALL, PLAIN)
    held = sum(value.nbytes for value in prior.prior.transformer.parameters()) + prior.prior.x_out.weight.nbytes
    # Position 29 is row 3, column 5 of rows of 8: row, column, previous row, dense.
    assert seen_keys(prior, 29) == 6 + 4 + 8 + 30
    keys = 2 * 4 * (6 + 4 + 8 + 30) * CONFIG.n_state
    assert step_bytes(prior, PLAIN, 3, 29) == held + 3 * keys
    maps = sum(one.n_in * one.n_out for one in products_of(prior)[:-1])
    outputs = sum(one.n_out for one in products_of(prior)[:-1])
    assert step_bytes(prior, Placement(CPU, "int8"), 3, 29) == held + 3 * keys - 3 * maps + 4 * outputs


def test_shapes_and_parts_by_name() -> None:
    shape = free_shape("1024x24")
    assert (shape.config.prior_width, shape.config.prior_depth, shape.config.n_ctx, shape.config.blocks) == (
        *(1024, 24),
        *(8192, 128),
    )
    released = load_definition("1b_lyrics")
    assert differing_levels(released) == (2, 0)
    assert model_part(released, 2).prefix == 384
    assert model_part(released, 1).name == "1b_lyrics level_1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shape", "1024"], "WIDTHxDEPTH"),
        (["--shape", "0x3"], "WIDTHxDEPTH"),
        (["--shape", "1024x24", "--at", "8000", "--tokens", "50"], "window of 8192 tokens"),
        (["--shape", "64x3", "--at", "-1"], "choose another position"),
        (["--shape", "64x3", "--batch", "0"], "at least 1"),
        (["--shape", "64x3", "--batch", "one"], "whole numbers"),
        (["--shape", "64x3", "--weights", "int4"], "not int4"),
        (["--part", "level_3"], "there is no level_3"),
        (["--shape", "64x3", "--against", "audiocraft"], "choose transformers or jukebox"),
        (["--shape", "64x3", "--against", "jukebox"], "on a GPU only"),
        (["--shape", "64x3", "--against", "transformers", "--peer-python", "/nowhere/python"], "no interpreter"),
        (["--part", "level_2", "--model", "demo", "--against", "transformers"], "compare another level"),
        (["--shape", "64x3", "--seconds", "8"], "pass --model"),
        (["--model", "demo", "--seconds", "0"], "more than 0"),
        (["--items", "2"], "--plan"),
        (["--plan", "demo", "--flat"], "one of them"),
        (["--plan", "demo", "--against", "transformers"], "omit them"),
        (["--plan", "demo", "--seconds", "0"], "seconds must be at least"),
        (["--flat", "--shape", "64x3", "--seconds", "0"], "seconds must be at least"),
    ],
)
def test_what_cannot_be_is_said(
    options: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run", "growth"):
        monkeypatch.setattr(f"jukebox_kit.checks.bench.{name}.build", lambda *_: pytest.fail("work began"))
    assert shell(monkeypatch, "bench", "--device", "cpu", *options) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_an_installed_jukebox_is_looked_for_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[str]()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: looked.append(name))
    with pytest.raises(RequestError, match="jukebox_kit\\[jukebox\\]"):
        peers.check_peer("jukebox", Placement(torch.device("cuda"), "float16"), (ORDER_2,), None)
    assert looked == ["jukebox", "jukebox_infer"]


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        ("sys.exit('boom')", "ended while running order 2: boom"),
        ("print(json.dumps({'error': 'no such part'})); sys.exit()", "cannot run order 2: no such part"),
    ],
)
def test_a_peer_that_fails_is_told_in_a_sentence(begin: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said):
        Peer("transformers", ORDER_2, PLAIN, 1, fake_peer(tmp_path, begin))


def test_a_peer_that_dies_on_the_way_is_told_and_ends(tmp_path: Path) -> None:
    script = fake_peer(tmp_path)
    script.write_text(script.read_text().replace("asked = ", "sys.exit('out of breath') #"))
    with Peer("transformers", ORDER_2, PLAIN, 1, script) as peer, pytest.raises(RequestError, match="out of breath"):
        peer.run(2)


def test_transformers_is_installed_once_apart_from_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = list[list[str]]()

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if len(commands) > 1:
            Path(command[command.index("--target") + 1]).mkdir()
        return subprocess.CompletedProcess(command, 2 - len(commands), "", "ERROR: no network\n\n")

    monkeypatch.setattr("jukebox_kit.checks.bench.peers.OWN_CACHE", tmp_path / "kit" / "models")
    monkeypatch.setattr("jukebox_kit.checks.bench.peers.subprocess.run", pip)
    with pytest.raises(RequestError, match=r"\(ERROR: no network\).*--peer-python"):
        peers.peer_command("transformers", None)
    for _ in range(2):
        command, environment = peers.peer_command("transformers", None)
        assert command[0] == sys.executable
        assert environment["PYTHONPATH"].startswith(str(tmp_path / "kit" / "peers" / "transformers-4.57.6"))
    assert len(commands) == 2
    assert "transformers==4.57.6" in commands[0]
    assert [path.name for path in (tmp_path / "kit" / "peers").iterdir()] == ["transformers-4.57.6"]


def test_memory_is_seen_to_rise_and_copies_take_time() -> None:
    memory = Memory(CPU)
    before = memory.held()
    if before is None or not memory.forget():
        pytest.skip(
            "only Linux with clear_refs tells a process's peak anew; where it does not, bench leaves the column out"
        )
    torch.ones(2**24)
    assert 0.9 * 2**26 < (memory.peak() or 0) - before < 2**27
    assert copy_bandwidth(CPU) > 0


def test_both_ends_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, whole = list[int](), Ours.begin

    def begin(self: Ours, songs: int, at: int) -> None:
        begun.append(at)
        whole(self, songs, at)

    monkeypatch.setattr(Ours, "begin", begin)
    ends = growth.window_ends(SMALL, PLAIN, 30)
    assert begun == [0, 34]
    assert ends.ratio == ends.last_ms / ends.first_ms
    with pytest.raises(RequestError, match="choose at most"):
        growth.window_ends(SMALL, PLAIN, 40)


def test_growth_of_whole_songs(tiny: Path) -> None:
    found = growth.lengths(Model.load(tiny, "cpu"), 0.05, silent)
    assert [one.song_seconds for one in found] == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert all(one.per_second == one.seconds / one.song_seconds > 0 for one in found)
    both = growth.Growth(growth.WindowEnds("p", 30, 2.0, 2.1), found)
    assert both.as_json()["window_ratio"] == pytest.approx(1.05)
    assert both.as_json()["length_ratio"] == pytest.approx(found[-1].per_second / found[0].per_second)
    assert "last over first 1.050" in both.as_text()


def test_a_model_is_measured_by_the_shell(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", tiny, "--part", "level_2,level_0", "--rounds", 1, "--tokens", 2, "--seconds", 0.2, "--json")
    assert shell(monkeypatch, "bench", "--device", "cpu", "--engine", "cached", *options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {(row["part"], row["at"]) for row in found["rows"]} == {
        *(("tiny level_2", 0), ("tiny level_2", 28)),
        *(("tiny level_0", 0), ("tiny level_0", 32)),
    }
    (song,) = found["songs"]
    assert list(song["levels"]) == ["level_2", "level_1", "level_0"]
    assert song["seconds"] >= 0.2 * sum(song["levels"].values())


def test_a_plan_is_the_estimate_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[tuple[object, ...]]()
    level = LevelEstimate(0, 4000, 2, 1.5, 6.0)
    made = SongEstimate(MemoryPlan("int8", (), (), 2**30), (level,), 2.0, {"vqvae": 2**20})

    def estimate(*given: object) -> SongEstimate:
        asked.append(given)
        return made

    monkeypatch.setattr("jukebox_kit.steps.estimate", estimate)
    options = ("bench", "--plan", "demo", "--items", 2, "--seconds", 4, "--device", "cpu", "--weights", "float32,int8")
    assert shell(monkeypatch, *options) == 0
    text = capsys.readouterr().out
    assert "about 8 s: level 0 6 s (batch size 2), as measured on this machine." in text
    assert "vqvae 1 MiB; free: 1,024 MiB" in text
    assert shell(monkeypatch, *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["int8"]["levels"][0]["ms_per_token"] == 1.5
    assert found["float32"]["seconds"] == 8.0
    demo = load_definition("demo")
    assert asked == [(demo, 4.0, 2, Placement(CPU, weights)) for weights in ("float32", "int8")] * 2
