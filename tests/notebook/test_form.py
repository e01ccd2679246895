"""The form: each wrong value is said at its own field, names are looked up in both label sets, lyrics are counted."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jukebox_kit.engine.model import Model
from jukebox_kit.notebook.sections import request as forms
from jukebox_kit.notebook.sections.request import Form
from jukebox_kit.notebook.session import Session
from jukebox_kit.song.audio import wav_bytes
from jukebox_kit.song.reproduce import asked_fields
from jukebox_kit.song.request import Request
from tests.tuned import write_tuned


@pytest.fixture
def form(tmp_path: Path) -> Form:
    return Form(tmp_path / "prompts", lambda _: None, Session(tmp_path))


@pytest.fixture
def two_sets(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A model whose upsamplers know other names than its top prior."""
    text = tiny.read_text().replace(
        "  v3: {artists: artists.txt, genres: genres.txt}",
        "  v3: {artists: artists.txt, genres: genres.txt}\n  v2: {artists: v2_artists.txt, genres: v2_genres.txt}",
    )
    upsampler, top = text.split("  level_2:")
    text = upsampler.replace("labels_v3: true", "labels_v3: false, max_bow_genre_size: 5") + "  level_2:" + top
    (tmp_path / "two.yaml").write_text(text)
    for name in ("artists.txt", "genres.txt"):
        (tmp_path / name).write_text((tiny.parent / name).read_text())
    (tmp_path / "v2_artists.txt").write_text("unknown;0\nthe_beatles;1\n")
    (tmp_path / "v2_genres.txt").write_text("unknown;0\npop;1\nrock;2\n")
    forms.known.cache_clear()
    yield str(tmp_path / "two.yaml")
    forms.known.cache_clear()


def said(form: Form, name: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", form.fields[name].said.value))


def test_it_begins_right_and_gives_a_request(form: Form) -> None:
    assert form.good is not None
    request = Request(**form.good)
    assert (request.model, request.seconds, request.items) == ("demo", 8.0, 3)
    assert (request.artist, request.genre) == ("unknown", "unknown")
    assert request.temperature == (0.99, 0.99, 0.98)
    assert form.request() == {**form.good, "prompt": None}


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("seconds", "lots", "'lots' is not a number"),
        ("seconds", "", "'nothing' is not a number"),
        ("seconds", "-3", "seconds must be above 0, not -3"),
        ("seconds", "0.001", "less than one token"),
        ("seconds", "nan", "seconds must be a number, not nan"),
        ("seconds", "50", "outside this model's range"),
        ("total_seconds", "4", "outside this model's range: choose at least 8 and under 32"),
        ("total_seconds", "long", "'long' is not a number"),
        ("items", "2.5", "'2.5' is not a whole number"),
        ("items", "0", "items must be from 1 to 1024"),
        ("seed", "-1", "seed must be a whole number from 0"),
        ("lower", "0.9", "Enter two temperatures"),
        ("lower", "0, 0.9", "temperature must be above 0"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_given(
    form: Form, field: str, value: str, sentence: str
) -> None:
    form.fields[field].widget.value = value
    assert sentence in said(form, field)
    assert form.good is None
    assert form.request() is None
    others = [name for name in ("seconds", "total_seconds", "items", "seed", "lower") if name != field]
    assert [said(form, name) for name in others] == [""] * 4
    form.fields[field].widget.value = {"lower": "0.99, 0.99", "total_seconds": "", "items": "2"}.get(field, "9")
    assert form.good is not None


def test_several_wrong_values_are_shown_at_once(form: Form) -> None:
    wrong = {"seconds": "-1", "items": "x", "seed": "-2", "lower": "1", "filter": "top-k", "limit": "0"}
    for name, value in wrong.items():
        form.fields[name].widget.value = value
    assert said(form, "seconds").startswith("seconds must be above 0")
    assert said(form, "items").startswith("'x' is not a whole number")
    assert said(form, "seed").startswith("seed must be a whole number")
    assert said(form, "lower").startswith("Enter two temperatures")
    assert said(form, "limit").startswith("top-k must be at least 1")
    assert said(form, "total_seconds") == ""


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("top-k", "0", "top-k must be at least 1"),
        ("top-p", "2", "top-p must be above 0"),
        ("top-k", "x", "whole number"),
    ],
)
def test_limits_are_checked_where_they_are_typed(form: Form, kind: str, value: str, sentence: str) -> None:
    form.filter.widget.value = kind
    form.limit.widget.value = value
    assert sentence in said(form, "limit")
    assert form.good is None
    form.limit.widget.value = "1"
    assert form.good is not None
    assert form.good[{"top-k": "top_k", "top-p": "top_p"}[kind]] == 1


def test_a_name_is_searched_and_the_nearest_is_a_click_away(form: Form) -> None:
    form.artist.widget.value = "bells"
    assert form.artist.widget.options == ("glass bells",)
    form.artist.widget.value = "glas bels"
    assert "Unknown to the model" in said(form, "artist")
    shown = [button for button in form.artist.buttons if button.layout.display != "none"]
    assert shown[0].description == "glass bells"
    shown[0].click()
    assert form.artist.widget.value == "glass bells"
    assert said(form, "artist") == "Known to all levels of the model."
    assert form.good is not None
    assert form.good["artist"] == "glass bells"


def test_the_two_label_sets_are_told_apart(form: Form, two_sets: str) -> None:
    form.model.widget.options = [("two", two_sets)]
    form.model.widget.value = two_sets
    form.artist.widget.value = "Zac Brown Band"
    assert "Unknown to the upsamplers (known to the top prior)" in said(form, "artist")
    form.artist.widget.value = "The Beatles"
    assert said(form, "artist") == "Known to all levels of the model."
    form.genre.widget.value = "rock"
    assert "Unknown to the top prior (known to the upsamplers)" in said(form, "genre")


def test_lyrics_are_counted_and_windows_show_what_they_see(form: Form) -> None:
    form.lyrics.widget.value = "so la ti\n" * 40 + "é ☃ ♫ ☃"
    assert said(form, "lyrics").startswith("364 characters; each window reads 64 of them.")
    assert said(form, "lyrics").endswith("Dropped, not in the model's alphabet: ☃ ♫")
    form.seconds.widget.value = "20"
    rows = re.findall("<td>([^<]*)</td>", form.windows.value)
    assert rows[0] == "0.0 to 6.1 s"
    assert rows[-3] == "13.9 to 20.0 s"
    form.lyrics.widget.value = "<b>la</b>"
    assert "<b>la" not in form.windows.value


def test_a_model_that_is_not_here_says_how_to_get_it(form: Form) -> None:
    form.model.widget.value = "1b_lyrics"
    assert "jukebox-kit models get 1b_lyrics" in said(form, "model")
    assert form.request() is None


def test_a_request_that_was_filled_in_comes_back(form: Form) -> None:
    wanted = Request(
        artist="glass bells",
        genre="waltz",
        lyrics="la",
        seconds=9.5,
        total_seconds=12,
        items=2,
        seed=2**60,
        temperature=(0.9, 0.8, 0.7),
        top_p=0.5,
    )
    form.fill(asked_fields(wanted))
    assert form.good is not None
    assert Request(**form.good) == wanted
    form.fill({"top_k": None, "top_p": None})
    assert form.good is not None
    assert "top_p" not in form.good


def test_a_prompt_is_cut_kept_and_heard(form: Form, tmp_path: Path) -> None:
    audio = np.sin(np.arange(32000) / 20).astype(np.float32)
    (tmp_path / "riff.wav").write_bytes(wav_bytes(audio, 16000))
    form.prompt.kind.value = "path"
    assert form.good is None
    form.prompt.path.value = str(tmp_path / "nothing.wav")
    assert "there is no recording" in said(form, "prompt")
    form.prompt.path.value = str(tmp_path / "riff.wav")
    assert said(form, "prompt") == "riff.wav: 2.0 seconds"
    given = form.request()
    assert given is not None
    assert given["prompt"] == str(tmp_path / "riff.wav")
    whole = bytes(form.prompt.preview.value)
    form.prompt.trim.value = (0.5, 1.0)
    assert len(bytes(form.prompt.preview.value)) < len(whole)
    assert not (tmp_path / "prompts").exists()
    given = form.request()
    assert given is not None
    assert given["prompt"] == str(tmp_path / "prompts" / "riff-0.5-1.wav")
    form.prompt.kind.value = "none"
    assert form.request() == {**(form.good or {}), "prompt": None}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
def test_recordings_that_cannot_be_used_are_explained(form: Form, tmp_path: Path) -> None:
    (tmp_path / "take.raw").write_bytes(bytes(range(256)) * 2)
    form.prompt.kind.value = "path"
    for path, sentence in (
        (str(tmp_path / "take.raw"), "take.raw cannot be read as audio: it has no header of a known format"),
        (str(tmp_path), "is a folder; choose a recording"),
        (f"{tmp_path}/{'x' * 300}.wav", "there is no recording"),
        ("~nobody-of-this-name/x.wav", "there is no recording ~nobody-of-this-name/x.wav"),
    ):
        form.prompt.path.value = path
        assert sentence in said(form, "prompt")
        assert form.good is None
    form.prompt.path.value = ""
    assert said(form, "prompt") == ""
    assert form.request() is None
    assert said(form, "prompt") == "Add a recording, or choose none."


def test_silent_and_loud_recordings_are_explained(form: Form, tmp_path: Path) -> None:
    sine = np.sin(np.arange(16000) / 20).astype(np.float32)
    (tmp_path / "riff.wav").write_bytes(wav_bytes(np.concatenate([0 * sine, sine]), 16000))
    soundfile.write(tmp_path / "loud.wav", 2.1 * sine, 16000, subtype="FLOAT")
    form.prompt.kind.value = "path"
    form.prompt.path.value = str(tmp_path / "riff.wav")
    form.prompt.trim.value = (0.0, 0.5)
    sentence = "Seconds 0 to 0.5 of riff.wav are silent; choose some with sound in them."
    assert said(form, "prompt") == sentence
    assert form.request() is None
    assert said(form, "prompt") == sentence
    assert not (tmp_path / "prompts").exists()
    form.prompt.trim.value = (0.0, 1.5)
    assert said(form, "prompt") == "riff.wav: 2.0 seconds"
    assert form.request() is not None
    form.prompt.path.value = str(tmp_path / "loud.wav")
    assert said(form, "prompt").startswith("loud.wav: 1.0 seconds ")
    assert "loud.wav exceeds full scale by 6.4 dB and was turned down by as much." in said(form, "prompt")


@pytest.mark.parametrize("name", ["..", "...", f"{'y' * 300}.wav", f"{'宇' * 200}.wav", f"y.{'w' * 300}", ""])
def test_uploads_of_any_name_are_saved(form: Form, tmp_path: Path, name: str) -> None:
    form.prompt.kind.value = "upload"
    content = wav_bytes(np.sin(np.arange(16000) / 20).astype(np.float32), 16000)
    form.prompt.take_upload({name: {"content": content}})
    assert said(form, "prompt").endswith(": 1.0 seconds")
    form.prompt.trim.value = (0.5, 1.0)
    assert form.request() is not None
    assert len(list((tmp_path / "prompts").iterdir())) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
@pytest.mark.parametrize("version", [7, 8])
def test_an_upload_comes_as_either_version_of_ipywidgets_gives_it(form: Form, tmp_path: Path, version: int) -> None:
    content = wav_bytes(np.sin(np.arange(16000) / 20).astype(np.float32), 16000)
    file = {"name": "my riff.wav", "content": content if version == 7 else memoryview(content)}

    class Upload:
        value = {"my riff.wav": file} if version == 7 else (file,)

    form.prompt.kind.value = "upload"
    form.prompt.take_upload(Upload.value)
    assert (tmp_path / "prompts" / "my_riff.wav").read_bytes() == content
    assert said(form, "prompt") == "my_riff.wav: 1.0 seconds"
    form.prompt.take_upload(Upload.value)
    assert [path.name for path in (tmp_path / "prompts").iterdir()] == ["my_riff.wav"]
    form.prompt.take_recording(wav_bytes(np.sin(np.arange(8000) / 20).astype(np.float32), 16000))
    assert said(form, "prompt") == "recording.wav: 0.5 seconds"
    form.prompt.take_upload({"notes.wav": {"content": b"la la"}})
    assert "cannot be read as audio" in said(form, "prompt")
    assert form.request() is None


def test_a_users_own_models_are_listed(form: Form, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was fine-tuned meanwhile appears on a refresh; its slider is for it alone."""
    monkeypatch.chdir(tmp_path)
    write_tuned(tmp_path / "models" / "mine", tiny)
    assert "mine" not in " ".join(form.model.widget.options[i][0] for i in range(4))
    form.list_models()
    source = str(tmp_path / "models" / "mine" / "model.yaml")
    assert form.model.widget.options[-1] == ("mine (yours, ready)", source)
    assert form.model.value == "demo"
    assert form.lora_scale.box.layout.display == "none"
    assert form.good is not None
    assert "lora_scale" not in form.good
    form.model.widget.value = source
    assert form.lora_scale.box.layout.display == ""
    assert said(form, "lora_scale") == "0 is the base, 1 is your model; now your model alone."
    for scale, meaning in ((0, "the base alone"), (0.35, "between the two"), (1.5, "beyond your model")):
        form.lora_scale.widget.value = scale
        assert said(form, "lora_scale").endswith(f"now {meaning}.")
        assert form.good is not None
        assert Request(**form.good).lora_scale == scale
    form.artist.widget.value = "Her Choir"
    assert said(form, "artist") == "Known to all levels of the model."
    form.model.widget.value = "demo"
    assert form.lora_scale.box.layout.display == "none"
    assert form.good is not None
    assert "lora_scale" not in form.good


def test_a_preset_may_name_any_model(form: Form, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tuned(tmp_path / "models" / "mine", tiny)
    form.fill({"model": "mine", "lora_scale": 0.5, "seconds": 4.0})
    assert form.good is not None
    assert (Path(form.good["model"]).parent.name, form.good["lora_scale"]) == ("mine", 0.5)
    form.fill({"model": str(tiny)})
    assert form.good is not None
    assert form.good["model"] == str(tiny)
    (tmp_path / "models" / "mine" / "model.yaml").write_text("name: [")
    form.list_models()
    assert form.model.widget.options[4][0] == "mine (yours, cannot be used)"
    form.model.widget.value = form.model.widget.options[4][1]
    assert "this is not YAML" in said(form, "model")
    assert form.good is None
    form.fill({"model": str(tmp_path / "gone.yaml")})
    assert "there is no model file" in said(form, "model")


def test_definitions_of_users_own_models_can_be_looked_up(tiny: Path) -> None:
    definition, tables = forms.known(str(tiny))
    assert definition.name == "tiny"
    assert tables["v3"].artists["the beatles"] == 1
    assert isinstance(Model.load(tiny).tables, dict)
