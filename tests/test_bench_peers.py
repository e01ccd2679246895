"""A peer's worker: it holds the peer's own sampling at its steps, and counts what was asked for."""

from __future__ import annotations

import io
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jukebox_kit.checks.bench import peer_worker
from jukebox_kit.checks.bench.peer_worker import AnotherError, Gate, work

PART = {"width": 8, "depth": 2, "heads": 1, "blocks": 2, "order": 2, "m_attn": 0.25, "m_mlp": 1.0, "merged": False}
PART |= {"bins": 5, "positions": 50, "prefix": 2, "lyrics": 0, "encoder": False, "cuda": False, "threads": 1}


def lines(*requests: tuple[int, int, int]) -> io.StringIO:
    return io.StringIO("".join(json.dumps({"songs": s, "at": a, "steps": n}) + "\n" for s, a, n in requests))


def test_a_gate_times_exactly_the_steps_asked_for() -> None:
    answers, calls = io.StringIO(), list[None]()
    gate = Gate(lines((1, 0, 3), (1, 0, 5)), answers, lambda: float(len(calls)))
    gate.begin(uncounted=2)
    for _ in range(2 + 3 + 5):
        gate()
        calls.append(None)
    with pytest.raises(AnotherError):
        gate()
    assert [json.loads(line)["seconds"] for line in answers.getvalue().splitlines()] == [3.0, 5.0]
    assert gate.request is None


class FakeTransformer(nn.Module):
    """Counts its calls since the caches were last emptied."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.emptied = list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x

    def del_cache(self) -> None:
        self.emptied.append(self.calls)
        self.calls = 0


class FakePart(nn.Module):
    """Called as transformers' class is; samples to the end of its window."""

    def __init__(self, config: Any, n_ctx: int, audio_conditioning: bool, metadata_conditioning: bool) -> None:
        super().__init__()
        assert audio_conditioning
        assert metadata_conditioning
        self.config, self.n_ctx, self.transformer = config, n_ctx, FakeTransformer()
        self.layer = nn.ModuleDict({"mlp": nn.ModuleDict({"c_fc": nn.Linear(2, 2)})})
        self.asked = list[tuple[int, int]]()
        made.append(self)

    def primed_sample(self, songs: int, tokens: Tensor, **given: Tensor) -> None:
        self.asked.append(tuple(tokens.shape))  # type: ignore[arg-type]  # two sizes
        assert given["audio_conditioning"].shape == (songs, self.n_ctx, 8)
        assert given["metadata_conditioning"].shape == (songs, 1, 8)
        assert given["last_encoder_hidden_states"] is None
        for _ in range(1 + self.n_ctx - tokens.shape[1]):
            self.transformer(tokens)


made = list[FakePart]()


@pytest.fixture
def fake_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    fakes: dict[str, dict[str, Any]] = {
        "transformers": {"__version__": "0.0"},
        f"{peer_worker.TRANSFORMERS}.configuration_jukebox": {"JukeboxPriorConfig": SimpleNamespace},
        f"{peer_worker.TRANSFORMERS}.modeling_jukebox": {"JukeboxConditionalAutoregressive": FakePart},
    }
    for name, values in fakes.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("fake_transformers")
def test_a_worker_goes_on_where_it_was_and_begins_anew_elsewhere() -> None:
    answers = io.StringIO()
    work("transformers", PART, lines((1, 4, 3), (1, 4, 5), (2, 0, 2)), answers)
    first, *rest = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert first == {"peer": "transformers 0.0", "torch": torch.__version__, "weights": "float32"}
    assert len(rest) == 3
    assert all(answer["seconds"] >= 0 for answer in rest)
    (model,) = made
    assert model.config.attention_pattern == "raw_column_previous_row_attention"
    assert model.asked == [(1, 4 + 2), (2, 0 + 2)]  # lyrics that share the sequence come first
    assert model.transformer.emptied == [1 + 3 + 5, 1 + 2]  # one call that reads the beginning, then the steps


def test_a_worker_without_its_peer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{peer_worker.TRANSFORMERS}.configuration_jukebox", None)
    answers = io.StringIO()
    work("transformers", PART, lines((1, 0, 1)), answers)
    assert json.loads(answers.getvalue())["error"].startswith("ModuleNotFoundError")


def test_both_names_of_the_2020_engine_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def find_spec(name: str) -> bool:
        asked.append(name)
        return name == "jukebox_infer"

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setitem(sys.modules, "jukebox_infer.prior.autoregressive", None)
    with pytest.raises(ModuleNotFoundError, match=r"jukebox_infer\.prior\.autoregressive"):
        peer_worker.jukebox_part(PART)
    assert asked == ["jukebox", "jukebox_infer"]
