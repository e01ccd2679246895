"""What weights in fewer bits cost is measured on the steps that sampling takes."""

from __future__ import annotations

import pytest
import torch

from jukebox_kit.checks.bench.bits import FORMS, SEED, bits_as_json, bits_as_text, bits_by_weights, bits_corpus
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.training.corpus import synthesise_windows


def test_bits_are_told_by_weights() -> None:
    rows = bits_by_weights("demo", 1, "cpu", ("float32", "int8"), levels=(0,))
    assert [(row.weights, row.engine) for row in rows] == [(w, e) for w in ("float32", "int8") for e in FORMS]
    assert {row.tokens for row in rows} == {load_definition("demo").priors[0].n_ctx}
    prior = Model.load("demo", "cpu").prior(0)
    corpus = bits_corpus(Model.load("demo", "cpu"), synthesise_windows(load_definition("demo"), 1, SEED), 0)
    with torch.no_grad():
        bits = float(prior.losses(*corpus.batch([0], [0]))[0])
    assert rows[0].bits == pytest.approx(bits, rel=1e-4)
    assert rows[1].bits == pytest.approx(rows[0].bits, rel=1e-4), "both ways compute the same"
    assert [row.more for row in rows] == [row.bits - rows[0].bits for row in rows]
    assert rows[2].bits != rows[3].bits, "what goes in is rounded in the one and not in the other"
    assert all(abs(row.more) < 0.02 for row in rows)
    assert "int8" in bits_as_text(rows)
    assert bits_as_json(rows)[0]["level"] == 0
    with pytest.raises(RequestError, match="songs must be at least 1"):
        bits_by_weights("demo", 0)
    with pytest.raises(RequestError, match="fast and cached"):
        bits_by_weights("demo", 1, engines=("plain",))
