"""Every field of a request and every number of a call: what has its type is taken, all else refused in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jukebox_kit as jk
from jukebox_kit._values import shown
from jukebox_kit.errors import JukeboxKitError, RequestError, SongError
from jukebox_kit.jobs.album.album import load_album
from jukebox_kit.song import edits
from jukebox_kit.song.arguments import level_number, parsed
from jukebox_kit.song.export import best_audio, export_audio
from jukebox_kit.song.interop.importing import ImportOverrides
from jukebox_kit.song.presets import Preset, load_preset, save_preset
from jukebox_kit.song.request import FIELD_TYPES, normalise_request
from jukebox_kit.song.song import Song
from jukebox_kit.steps import RunSettings, generate
from jukebox_kit.steps.steps import sample_shard

Some = tuple[Any, ...]

INF, NAN = float("inf"), float("nan")

# fmt: off
NOT_A_NUMBER: Some = (
    "1", True, None, [], {}, 1j, INF, -INF, NAN, 1e15, 10**5000, np.zeros(1), np.float64(NAN), np.ma.masked,
)
NOT_WHOLE: Some = (
    "1", True, None, [], {}, 5.0, 2.5, 10**5000, np.float32(1), np.bool_(True), np.timedelta64(3), np.ma.masked,
    torch.tensor(1.0), torch.tensor(True), torch.ones(1), torch.empty((), device="meta"), Decimal(1), Fraction(1),
)
NOT_TEXT: Some = (311, None, True, b"a", ["a"], "a\0", "\ud800", np.array(["a"]))
NOT_PER_LEVEL: Some = (
    NAN, "0.9", True, (0.9, 0.9), [1, 1, 1, 1], (1, 1, True), (1, 1, "1"), (1, 1, INF), {1, 2, 3},
    {0: 1, 1: 1, 2: 1}, np.linspace(0.9, 1, 3), torch.ones(3),
)
# fmt: on

WRONG: dict[str, Some] = {
    "model": NOT_TEXT,
    "artist": (*NOT_TEXT, Path("a")),
    "genre": (*NOT_TEXT, Path("a")),
    "lyrics": (*NOT_TEXT, Path("a")),
    "seconds": NOT_A_NUMBER,
    "total_seconds": tuple(value for value in NOT_A_NUMBER if value is not None),
    "items": NOT_WHOLE,
    "temperature": NOT_PER_LEVEL,
    "top_k": tuple(value for value in NOT_WHOLE if value is not None),
    "top_p": tuple(value for value in NOT_A_NUMBER if value is not None),
    "hop_fraction": (*NOT_PER_LEVEL, 0.5),
    "chunks": (*NOT_WHOLE, (1,), (1, 2, 3), (1, 2.0), (1, True), np.ones(2, int)),
    "seed": NOT_WHOLE,
    "prompt": tuple(value for value in NOT_TEXT if value is not None),
    "prompt_seconds": tuple(value for value in NOT_A_NUMBER if value is not None),
    "strict": (1, 0, "no", None, [], 1.0, np.int64(1)),
    "lora_scale": NOT_A_NUMBER,
}
CASES = [(field, value) for field, values in WRONG.items() for value in values]

Create = Callable[[Path, dict[str, Any]], object]


def created(root: Path, fields: dict[str, Any]) -> Song:
    return Song.create(root / "song", **{"seconds": 0.3, **fields})


def adopted(root: Path, fields: dict[str, Any]) -> Song:
    return Song.adopt(root / "song", {}, {"kind": "x", "path": "y"}, **{"seconds": 0.3, **fields})


def test_the_table_has_every_field() -> None:
    assert set(WRONG) == set(FIELD_TYPES)


@pytest.mark.parametrize(("field", "value"), CASES, ids=[f"{name}-{shown(value)}" for name, value in CASES])
def test_a_value_of_another_type_is_refused_by_every_entry_before_anything_is_written(
    field: str, value: Any, tmp_path: Path
) -> None:
    entries: list[Create] = [
        created,
        adopted,
        lambda _, fields: normalise_request(fields),
        lambda _, fields: Preset("p", request=fields),
        lambda _, fields: Preset("p", request={"seconds": 8, **fields}),
    ]
    if field != "items":
        entries.append(lambda _, fields: generate(**fields))
    if field in ImportOverrides.__dataclass_fields__ and value is not None:
        entries.append(lambda _, fields: ImportOverrides(**fields))
    for enter in entries:
        with pytest.raises(JukeboxKitError) as refused:
            enter(tmp_path, {field: value})
        assert refused.value.field == field
        assert f"{field} must be " in str(refused.value)
        assert str(refused.value).endswith(".")
        assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Song:
    folder = tmp_path_factory.mktemp("arguments")
    return jk.sample(Song.create(folder / "song", model=tiny, seconds=0.5, total_seconds=4, items=2))


@pytest.mark.parametrize(
    ("field", "value"),
    [case for case in CASES if case[0] in ("artist", "seed", "temperature", "chunks", "strict")],
    ids=lambda part: shown(part),
)
def test_edits_refuse_the_same(song: Song, field: str, value: Any, tmp_path: Path) -> None:
    files = sorted(song.root.rglob("*"))
    for edit in (edits.extend, lambda song, _, **changes: edits.fork(song, tmp_path / "fork", **changes)):
        with pytest.raises(RequestError, match=f"^{field} must be ") as refused:
            edit(song, 0.3, **{field: value})
        assert refused.value.field == field
    assert sorted(song.root.rglob("*")) == files
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["artist: 311", "artist: no", "artist: 2020-01-01", "seed: 1.0", "top_k: 5.0"])
@pytest.mark.parametrize("more", ["strict: 1", "temperature: [1, 1]", "hop_fraction: 1", "seconds: .inf"])
def test_files_refuse_the_same(text: str, more: str, tmp_path: Path) -> None:
    for line in (text, more):
        field = line.split(":")[0]
        (tmp_path / "style.yaml").write_text(f"request:\n  {line}\n")
        (tmp_path / "album.yaml").write_text(f"songs:\n- {line}\n")
        for load in (load_preset, load_album):
            with pytest.raises(JukeboxKitError, match=f"{field} must be "):
                load(tmp_path / f"{'style' if load is load_preset else 'album'}.yaml")


ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"seed": np.uint64(2**64 - 1)}, {"seed": 2**64 - 1}),
    ({"seed": torch.tensor(7)}, {"seed": 7}),
    ({"seed": np.array(7)}, {"seed": 7}),
    ({"items": np.int8(2)}, {"items": 2}),
    ({"seconds": np.int64(1)}, {"seconds": 1.0}),
    ({"seconds": 1}, {"seconds": 1.0}),
    ({"seconds": np.float32(0.5)}, {"seconds": 0.5}),
    ({"seconds": torch.tensor(0.5, dtype=torch.bfloat16)}, {"seconds": 0.5}),
    ({"seconds": torch.tensor(0.5, requires_grad=True)}, {"seconds": 0.5}),
    ({"seconds": np.longdouble(0.5)}, {"seconds": 0.5}),
    ({"total_seconds": np.float16(16)}, {"total_seconds": 16.0}),
    ({"temperature": np.float64(0.9)}, {"temperature": 0.9}),
    ({"temperature": [1, np.float32(0.5), torch.tensor(0.25)]}, {"temperature": (1.0, 0.5, 0.25)}),
    ({"temperature": list(np.linspace(0.5, 1, 3))}, {"temperature": (0.5, 0.75, 1.0)}),
    ({"hop_fraction": (np.float64(0.5), 0.5, 1)}, {"hop_fraction": (0.5, 0.5, 1.0)}),
    ({"top_k": np.int32(5)}, {"top_k": 5}),
    ({"top_p": np.float64(0.5)}, {"top_p": 0.5}),
    ({"chunks": np.int64(2)}, {"chunks": 2}),
    ({"chunks": [np.int64(2), 1]}, {"chunks": (2, 1)}),
    ({"strict": np.bool_(True)}, {"strict": True}),
    ({"artist": np.str_("the flutes")}, {"artist": "the flutes"}),
    ({"model": Path("demo")}, {"model": "demo"}),
]


@pytest.mark.parametrize(("fields", "plain"), ALIKE, ids=[str(plain) for _, plain in ALIKE])
def test_numbers_of_numpy_and_torch_give_the_same_song(
    fields: dict[str, Any], plain: dict[str, Any], tmp_path: Path, demo: jk.Model
) -> None:
    base = {"seconds": 0.5, "total_seconds": 8.0}
    songs = [Song.create(tmp_path / name, demo, **base | given) for name, given in (("a", fields), ("b", plain))]
    a, b = (json.loads((song.root / "song.json").read_bytes()) | {"history": None, "id": None} for song in songs)
    assert json.dumps(a) == json.dumps(b)
    assert songs[0].request == Song.open(tmp_path / "a").request
    assert all(type(value) in (str, float, int, bool, tuple, type(None)) for value in vars(songs[0].request).values())
    path = save_preset(Preset("a", request=fields), tmp_path)
    assert load_preset(path).request == Preset("b", request=plain).request


def test_a_path_is_taken_where_one_is_wanted_and_made_absolute(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    asked = normalise_request({"model": Path(tiny.name), "prompt": Path("a.wav")})
    assert (asked.model, asked.prompt) == (str(tiny), str(tiny.parent / "a.wav"))


def test_a_field_that_does_not_exist_is_named_with_the_nearest(song: Song, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^temprature cannot be set here; did you mean temperature") as refused:
        Song.create(tmp_path / "song", temprature=0.9)  # type: ignore[call-arg]  # a slip, as a notebook lets it pass
    assert refused.value.field == "temprature"
    with pytest.raises(RequestError, match=r"^items cannot be set here"):
        generate(items=2)  # type: ignore[call-arg]  # a song of one item
    for name in ("items", "prompt"):
        with pytest.raises(RequestError, match=f"^{name} cannot be set here"):
            edits.extend(song, 0.3, **{name: "demo"})  # type: ignore[arg-type]  # not of an edit


BAD_ITEMS = (True, 1.0, "0", None, -1, 2, np.int64(2), INF, [0])


@pytest.mark.parametrize("item", BAD_ITEMS, ids=repr)
def test_one_item_is_a_whole_number_that_the_song_has(song: Song, item: Any) -> None:
    for call in (edits.choose, lambda song, item: song.audio(0, item)):
        with pytest.raises(JukeboxKitError, match=r"items? must be a whole number|has items 0 to 1") as refused:
            call(song, item)
        assert refused.value.field in ("item", "items")


@pytest.mark.parametrize("level", [3, -1, True, 1.0, None, "1", "level_3", "Level_1", np.float64(1)], ids=repr)
def test_a_level_is_one_of_three(song: Song, level: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: song.audio(level),
        lambda: jk.sample(song, level),
        lambda: jk.upsample(song, until=level),
        lambda: sample_shard(song, level, range(1)),
    ]
    if level is not None:
        calls.append(lambda: export_audio(song, level=level))
    for call in calls:
        with pytest.raises(RequestError, match=r"must be a whole number|there is no (level|1;|Level)") as refused:
            call()
        assert refused.value.field in ("level", "until")


def test_levels_by_number_and_text() -> None:
    assert [level_number(value) for value in (0, np.int64(1), torch.tensor(2), "level_1")] == [0, 1, 2, 1]


CALLS: list[tuple[Callable[..., object], dict[str, Any], str]] = [
    (edits.extend, {"seconds": "8"}, "seconds must be a number, not '8'"),
    (edits.extend, {"seconds": INF}, "seconds must be a number, not inf"),
    (edits.trim, {"seconds": True}, "seconds must be a number, not True"),
    (edits.trim, {"seconds": NAN}, "seconds must be a number, not nan"),
    (edits.fork, {"folder": "fork", "at": "all"}, "at must be a number, not 'all'"),
    (edits.visit, {"version": 3}, "has no version 3"),
    (jk.upsample, {"items": [0, 1.0]}, "items must be a whole number or a list of whole numbers"),
    (jk.upsample, {"items": "0"}, "items must be a whole number or a list of whole numbers, not '0'"),
    (jk.upsample, {"items": {0: 1}}, "items must be a whole number or a list of whole numbers, not {0: 1}"),
    (jk.upsample, {"items": []}, "has items 0 to 1, not none"),
    (jk.upsample, {"chunks": 1.5}, "chunks must be a whole number"),
    (export_audio, {"items": 0.0}, "items must be a whole number or a list"),
    (export_audio, {"normalise": "-14"}, "normalise must be a number, not '-14'"),
    (best_audio, {"item": 1.5}, "item must be a whole number, not 1.5"),
    (sample_shard, {"level": 2, "rows": 0}, "rows must be a range, not 0"),
    (sample_shard, {"level": 2, "rows": (0, 1)}, "rows must be a range, not (0, 1)"),
]


@pytest.mark.parametrize(("call", "arguments", "sentence"), CALLS, ids=[sentence for *_, sentence in CALLS])
def test_other_arguments_of_another_type_are_refused(
    song: Song, call: Callable[..., object], arguments: dict[str, Any], sentence: str
) -> None:
    before = sorted(song.root.rglob("*"))
    with pytest.raises(JukeboxKitError, match=re.escape(sentence)):
        call(song, **arguments)
    assert sorted(song.root.rglob("*")) == before


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 2.5}, {"batch_size": True}, {"save_every": "30"}, {"save_every": INF}]
)
def test_settings_of_a_run_have_types_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"^{next(iter(wrong))} must be a (whole )?number, not "):
        RunSettings(**wrong)


def test_calls_take_numbers_of_numpy(song: Song, tmp_path: Path) -> None:
    other = edits.fork(song, tmp_path / "fork", at=np.float32(0.25), seed=np.int64(5))
    edits.extend(other, np.float32(0.25))
    edits.choose(other, np.int64(1))
    edits.trim(other, np.float64(0.5))
    assert (other.request.seed, other.request.seconds, type(other.request.seconds)) == (5, 0.5, float)
    jk.sample(other, until="level_2", run=RunSettings(batch_size=np.int64(2), save_every=np.float32(5)))
    for items, kept in ((0, (0,)), (np.int64(1), (1,)), ([np.int64(1), 0], (0, 1)), (np.array([1, 0, 1]), (0, 1))):
        jk.upsample(other, items, until=np.int64(1))
        assert Song.open(other.root).manifest.upsample == kept
    assert len(other.audio(np.int64(1), np.int64(0))) == len(other.audio(1, 0)) > 0
    with pytest.raises(SongError, match=r"has items 0 to 1, not \[2\]"):
        jk.upsample(other, np.arange(3))


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("temperature", "0.9", 0.9),
        ("temperature", "1, 0.9,.5", (1.0, 0.9, 0.5)),
        ("temperature", "0.9,0.9", None),
        ("temperature", "nan", None),
        ("temperature", "", None),
        ("hop_fraction", "0.5,0.5,1", (0.5, 0.5, 1.0)),
        ("hop_fraction", "0.5", None),
        ("hop_fraction", "0.5,0.5,inf", None),
        ("chunks", "2", 2),
        ("chunks", "2,1", (2, 1)),
        ("chunks", "2.0", None),
        ("chunks", "1,2,3", None),
    ],
)
def test_numbers_of_levels_as_text(field: str, text: str, value: Any) -> None:
    if value is not None:
        assert parsed(field, text, FIELD_TYPES[field]) == value
        return
    with pytest.raises(RequestError, match=f"^{field} takes .*, separated by commas, not {text!r}") as refused:
        parsed(field, text, FIELD_TYPES[field])
    assert refused.value.field == field


def test_songs_that_were_made_with_other_types_stay_readable(song: Song, tmp_path: Path) -> None:
    values = json.loads((song.root / "song.json").read_bytes())
    values["request"] |= {"strict": "yes", "seconds": 8}
    (tmp_path / "song.json").write_text(json.dumps(values))
    opened = Song.open(tmp_path)
    assert vars(opened.request) == vars(song.request) | {"strict": "yes", "seconds": 8}
