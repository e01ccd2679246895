"""Errors about a field of a request name that field, whichever way the request was entered."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError, RequestError
from jukebox_kit.song import normalise_request, resolve


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": 0.001}, "seconds"),
        ({"seconds": 50}, "seconds"),
        ({"total_seconds": 4}, "total_seconds"),
        ({"total_seconds": 500, "seconds": 50}, "total_seconds"),
        ({"total_seconds": 9, "seconds": 10}, "total_seconds"),
        ({"items": 0}, "items"),
        ({"seed": -1}, "seed"),
        ({"temperature": -1}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 1, "top_p": 0.5}, "top_k"),
        ({"hop_fraction": (0, 1, 1)}, "hop_fraction"),
        ({"chunks": 0}, "chunks"),
        ({"prompt_seconds": 1}, "prompt_seconds"),
        ({"prompt": "x.wav", "prompt_seconds": 0}, "prompt_seconds"),
        ({"artist": "nobody", "strict": True}, "artist"),
        ({"genre": "polka", "strict": True}, "genre"),
        ({"model": "dmo", "temperature": 1.0}, "model"),
    ],
)
def test_an_error_names_its_field(fields: dict[str, Any], field: str) -> None:
    model = Model.load("demo", "cpu")
    with pytest.raises(JukeboxKitError) as raised:
        resolve(normalise_request(fields), model.definition, model.tables)
    assert raised.value.field == field


def test_an_error_keeps_its_field_between_processes() -> None:
    error = RequestError("seconds must be above 0.", field="seconds")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 made in this line
    assert (str(copy), copy.field) == (str(error), "seconds")
    assert RequestError("no song was given.").field is None
