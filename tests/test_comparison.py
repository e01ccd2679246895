"""Pages for A/B listening: what is compared, as it is heard, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import jukebox_kit as jk
from jukebox_kit.errors import AudioError, JukeboxKitError
from jukebox_kit.song import Side, best_audio, compare, trim
from jukebox_kit.song.export import loudness
from tests.conftest import Run

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "seconds": 0.4, "seed": 3, "items": 2}


@pytest.fixture(scope="module")
def song(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> jk.Song:
    """A song of which version 1 is longer than the present state, and level 0 is not sampled yet."""
    song = jk.Song.create(tmp_path_factory.mktemp("compared") / "oz", model=tiny, **REQUEST)
    jk.sample(song, until=1)
    trim(song, 0.2)
    jk.sample(song, until=1)
    return song


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "take @2:1.wav"
    soundfile.write(path, 0.5 * np.sin(np.arange(16000) * 0.2), 16000)
    return path


def data_of(page: Path) -> dict[str, Any]:
    content = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert content is not None
    data: dict[str, Any] = json.loads(content[1])
    return data


def test_a_page_holds_items_versions_and_recordings_as_they_sound(
    song: jk.Song, recording: Path, tmp_path: Path
) -> None:
    page = compare([song.root, f"{song.root}:1", f"{song.root}@1:1", recording], tmp_path / "new" / "ab.html")
    data = data_of(page)
    assert [side["name"] for side in data["sides"]] == [
        "oz, item 0",
        "oz, item 1",
        "oz, version 1, item 1",
        "take @2:1.wav",
    ]
    heard = [soundfile.read(io.BytesIO(base64.b64decode(side["audio"]))) for side in data["sides"]]
    assert [rate for _, rate in heard] == [song.sr] * 4, "a recording takes the songs' rate"
    for item in range(2):
        np.testing.assert_allclose(heard[item][0], np.clip(best_audio(song, item), -1, 1 - 2**-15), atol=2**-15)
    assert len(heard[2][0]) > 1.9 * len(heard[1][0]), "the version is from before the song was cut"
    assert data["seconds"] == pytest.approx(1.0, abs=0.01)
    levels = [loudness(audio * side["gain"], rate) for (audio, rate), side in zip(heard, data["sides"], strict=True)]
    assert np.ptp(np.array(levels, np.float64)) < 0.05
    assert max(side["gain"] for side in data["sides"]) == 1.0


def test_a_level_can_be_chosen(song: jk.Song, tmp_path: Path) -> None:
    page = compare([song.root, f"{song.root}:1"], tmp_path / "ab.html", level="level_2", blind=True)
    data = data_of(page)
    audio = soundfile.read(io.BytesIO(base64.b64decode(data["sides"][0]["audio"])))[0]
    np.testing.assert_allclose(audio, np.clip(song.audio(2, 0), -1, 1 - 2**-15), atol=2**-15)
    assert data["blind"] is True


def test_names_that_exist_come_before_what_they_could_mean(song: jk.Song, recording: Path) -> None:
    assert Side.of(str(recording)) == Side(recording)
    assert Side.of(f"{song.root}@3:2") == Side(song.root, 2, "3")
    assert Side.of("songs/oz:2") == Side(Path("songs/oz"), 2)


@pytest.mark.parametrize(
    ("sides", "options", "sentence"),
    [
        (["SONG"], {}, "name 2 to 9 songs or recordings to compare, not 1"),
        (["SONG"] * 10, {}, "name 2 to 9 songs or recordings to compare, not 10"),
        (["SONG", "SONG:2"], {}, "items 0 to 1, not"),
        (["SONG", "SONG@7"], {}, "has no version 7; its versions are: 1"),
        (["SONG", "nowhere"], {}, "there is no song or recording nowhere"),
        (["SONG", "SONG"], {"level": 0}, "oz, item 0 has nothing sampled at level 0 yet; sample it first"),
        (["SONG", "SONG"], {"level": 3}, "level"),
        (["SONG", "SONG"], {"target": "ab.htm"}, "must be a file that ends with .html"),
    ],
)
def test_refusals_are_sentences_and_write_nothing(
    song: jk.Song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sides: list[str], options: Any, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JukeboxKitError, match=sentence):
        compare([side.replace("SONG", str(song.root)) for side in sides], **options)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_is_missing_is_named(song: jk.Song, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav"):
        compare([song.root, tmp_path / "gone.wav"], tmp_path / "ab.html")


def test_the_command_prints_the_page(song: jk.Song, recording: Path, tmp_path: Path, run: Run) -> None:
    done = run("compare", str(song.root), str(recording), "--out", str(tmp_path / "ab.html"), "--blind")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "ab.html"))
    assert data_of(tmp_path / "ab.html")["blind"] is True
    assert run("compare", str(song.root)).returncode != 0
