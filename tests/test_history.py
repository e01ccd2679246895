"""The events of a song's history: each kind has a sentence, and no song.json makes showing them fail."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest

from jukebox_kit.errors import SongError
from jukebox_kit.song.format_1 import format_1_note, format_1_request, read_line
from jukebox_kit.song.history import SENTENCES, Event, EventKind
from jukebox_kit.song.manifest import FORMAT, Manifest
from jukebox_kit.song.page.page import _event_text
from jukebox_kit.song.reproduce import edits_of, recipe_of
from jukebox_kit.song.request import Request, Resolved

ELSEWHERE, APART = "on different hardware or settings", "sampled by a separate worker"
ODD: list[dict[str, Any]] = [{}, {"level": None, "seconds": "x", "first_row": []}, {"changed": {"batch": [1, 2]}}]
EMPTY = Manifest(Request(), Resolved(1, (), (), ()), {}, "MIT")


def event(kind: str, **facts: Any) -> Event:
    return Event("2026-11-25T16:43:00+00:00", kind, facts)


def test_every_kind_has_a_sentence() -> None:
    assert set(SENTENCES) == set(get_args(EventKind))


@pytest.mark.parametrize(
    ("kind", "facts", "sentence"),
    [
        ("chunks_set", {"level_0": 2, "level_1": 3}, "chunks set to 2 for level 0 and 3 for level 1"),
        ("resumed_elsewhere", {"level": 1, "token": 312}, f"level 1 resumed at token 312 {ELSEWHERE}"),
        ("resumed_elsewhere", {"level": 1, "first_row": 0, "last_row": 3}, f"level 1, rows 0-3 resumed {ELSEWHERE}"),
        ("shard_merged", {"level": 0, "first_row": 2, "last_row": 2}, f"level 0, row 2 was {APART}"),
        ("shard_merged", {"level": 0, "first_row": 2, "last_row": 4}, f"level 0, rows 2-4 were {APART}"),
        ("note", {"text": "as it was written"}, "as it was written"),
    ],
)
def test_events_are_shown_as_sentences(kind: str, facts: dict[str, Any], sentence: str) -> None:
    assert event(kind, **facts).sentence == sentence


@pytest.mark.parametrize("kind", [*get_args(EventKind), "remixed_backwards", ""])
@pytest.mark.parametrize("facts", ODD)
def test_unknown_and_incomplete_events_are_shown_nevertheless(kind: str, facts: dict[str, Any]) -> None:
    odd = event(kind, **facts)
    assert all(name in _event_text(odd) for name in facts) or kind in SENTENCES
    recipe_of(replace(EMPTY, history=(odd,), undo=("1",)), "song")


def test_an_unknown_kind_counts_as_an_edit_unless_it_happened_to_a_level() -> None:
    history = (event("created"), event("remixed", by="me"), event("polished", level=2))
    assert edits_of(replace(EMPTY, history=history)) == ('remixed {"by": "me"}',)
    assert history[2].sentence == 'polished {"level": 2}'


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = EMPTY.noted("created").noted("resumed_elsewhere", level=1, token=312, changed={"batch": [2, 1]})
    content = manifest.to_json()
    values = json.loads(content)
    assert values["format"] == FORMAT == 2
    assert values["history"][1] | {"when": ""} == {
        "when": "",
        "kind": "resumed_elsewhere",
        "level": 1,
        "token": 312,
        "changed": {"batch": [2, 1]},
    }
    assert Manifest.from_json(content, "song") == manifest


@pytest.mark.parametrize("line", [{}, {"when": None}, {"kind": 7}, {"what": "created"}, {"kind": "note"}])
def test_what_a_hand_edited_history_lacks_is_left_empty(line: dict[str, Any]) -> None:
    values = json.loads(EMPTY.to_json()) | {"history": [line]}
    (odd,) = Manifest.from_json(json.dumps(values).encode(), "song").history
    assert isinstance(odd.sentence, str)
    values |= {"format": 1}
    (old,) = Manifest.from_json(json.dumps(values).encode(), "song").history
    assert isinstance(old.sentence, str)


@pytest.mark.parametrize("history", [7, ["created"], {"a": 1}, None])
def test_a_history_that_is_no_list_of_events_is_damage(history: Any) -> None:
    values = json.loads(EMPTY.to_json()) | {"history": history}
    with pytest.raises(SongError, match=r"song\.json is damaged"):
        Manifest.from_json(json.dumps(values).encode(), "song")


def test_newer_formats_are_refused() -> None:
    values = json.loads(EMPTY.to_json()) | {"format": 3}
    with pytest.raises(SongError, match=r"another version \(format 3\); upgrade this package"):
        Manifest.from_json(json.dumps(values).encode(), "song")


def test_unknown_sentences_of_format_1_become_notes_that_lose_nothing() -> None:
    line = {"when": "now", "what": "sang it\nmyself", "kind": "odd", "tokens_of_pieces": [1]}
    assert read_line(line) == {
        "when": "now",
        "kind": "note",
        "text": "sang it\nmyself",
        "facts": {"kind": "odd", "tokens_of_chunks": [1]},
    }
    sampling = Event.from_json(read_line({"when": "now", "what": "level 2 had a rest"}))
    assert (sampling.sentence, sampling.is_edit) == ("level 2 had a rest", False)
    assert Event.from_json(read_line(line)).is_edit


@pytest.mark.parametrize("text", ["2", "0.25", "1e+06", "1.5e-05"])
def test_lengths_of_format_1_are_read(text: str) -> None:
    assert read_line({"what": f"trimmed to {text} seconds"}) == {"kind": "trimmed", "seconds": float(text)}
    assert read_line({"what": f"trimmed to {text}. seconds"})["kind"] == "note"


def test_notes_of_a_shard_begun_in_format_1_are_read() -> None:
    note = {"what": "out of memory, 4 pieces at once were halved"}
    assert format_1_note(note, 1, range(2, 6)) == {
        "kind": "out_of_memory",
        "level": 1,
        "first_row": 2,
        "last_row": 5,
        "batch": 4,
        "unit": "chunk",
    }


def test_a_request_has_its_old_names_in_format_1() -> None:
    fields = format_1_request(asdict(Request(chunks=(2, 3))))
    assert fields["pieces"] == (2, 3)
    assert "chunks" not in fields
