"""The page of a song and its pictures: what they show of a folder, and that what they say is so."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.main
from matplotlib.image import imread
from typer.testing import CliRunner

import jukebox_kit as jk
from jukebox_kit.cli.app import app
from jukebox_kit.song import edits
from jukebox_kit.song.files import audio_name, picture_name
from jukebox_kit.song.lyrics.timing import Line
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.page.page import Page, PageItem, Sound, page_of, render, write_page
from jukebox_kit.song.pictures import heat_map_png, strip_png
from jukebox_kit.song.reproduce import python_call, recipe_of, shell_command
from jukebox_kit.song.request import Request, normalise_request
from jukebox_kit.song.song import Song
from jukebox_kit.song.store.local import LocalStore
from jukebox_kit.steps.progress import RunSettings
from tests.conftest import Run

REQUEST: dict[str, Any] = {
    "artist": "The Beatles",
    "genre": "pop",
    "lyrics": "la la\nlo lo",
    "seconds": 0.6,
    "items": 2,
}
TEMPLATE = "$title {{ 7 * 7 }}{% block x %}"
HOSTILE = f"</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'too' <!-- \u2028 {TEMPLATE}"


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished song of two items."""
    return jk.sample(Song.create(tmp_path_factory.mktemp("songs") / "made", model=tiny, **REQUEST)).root


@pytest.fixture
def song(made: Path, tmp_path: Path) -> Song:
    """A song of its own to be changed."""
    song = Song.open(shutil.copytree(made, tmp_path / "song"))
    write_page(song.state)  # it names the folder
    return song


def data_of(html: str) -> dict[str, Any]:
    """Return what the page tells its player."""
    block = re.search(r'<script id="song" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert block is not None
    found: dict[str, Any] = json.loads(block[1])
    return found


def levels_of(page: Page) -> list[list[int]]:
    return [[sound.level for sound in item.sounds] for item in page.items]


def summaries(page: Page) -> dict[int, str]:
    return {state.level: state.summary for state in page.state}


def test_a_finished_song_s_page_names_files_that_are_there_by_relative_names(song: Song) -> None:
    page = page_of(song.state)
    assert levels_of(page) == [[0, 1, 2], [0, 1, 2]]
    assert summaries(page) == dict.fromkeys(range(3), "complete")
    html = (song.root / "index.html").read_text(encoding="utf-8")
    assert "The Beatles" in html
    names = [name for item in data_of(html)["items"] for s in item["sounds"] for name in (s["audio"], s["picture"])]
    assert len(names) == 12
    assert all((song.root / name).is_file() and not name.startswith("/") for name in names)
    assert str(song.root) not in html
    assert not re.search(r"(src|href)=\"(?!data:|level_)", html.split("<script>")[0])
    assert all(sound.seconds == song.resolved.samples / song.sr for item in page.items for sound in item.sounds)


def test_a_page_says_the_same_of_a_folder_that_was_moved(song: Song, tmp_path: Path) -> None:
    before = (song.root / "index.html").read_bytes()
    song.root.rename(tmp_path / "elsewhere")
    moved = Song.open(tmp_path / "elsewhere")
    write_page(moved.state)
    after = (moved.root / "index.html").read_bytes()
    assert data_of(after.decode()) == data_of(before.decode())


def test_the_page_is_written_after_each_level(tiny: Path, tmp_path: Path) -> None:
    song = Song.create(tmp_path / "song", model=tiny, **REQUEST)
    seen = []
    for step in (jk.level_2, jk.level_1, jk.level_0):
        step(song)
        data = data_of((song.root / "index.html").read_text(encoding="utf-8"))
        seen.append([s["level"] for s in data["items"][1]["sounds"]])
    assert seen == [[2], [1, 2], [0, 1, 2]]
    assert summaries(page_of(song.state))[0] == "complete"


def test_a_growing_level_is_shown_as_far_as_it_can_be_heard(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukebox_kit.steps.level_writer.REPORTS_PER_SECOND", 1e9)
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    stopped: list[int] = []

    def progress(now: jk.Progress) -> None:
        stopped.append(now.done)

    stop = RunSettings(progress=progress, preview_every=0.02, stop=lambda: len(stopped) > 120)
    with pytest.raises(jk.JukeboxKitError, match="Everything is saved"):
        jk.level_1(song, run=stop)
    page = page_of(Song.open(song.root).state)
    assert levels_of(page) == [[1, 2], [1, 2]]
    level_1, level_2 = page.items[0].sounds
    assert 0 < level_1.seconds < level_2.seconds == page.seconds
    assert re.fullmatch(r"\d+% sampled", summaries(page)[1])
    assert summaries(page)[0] == "not started"


def test_audio_from_before_an_edit_is_left_out_and_said_to_be(song: Song) -> None:
    edits.choose(song, 1)
    html = (song.root / "index.html").read_text(encoding="utf-8")
    page = page_of(Song.open(song.root).state)
    assert levels_of(page) == [[], [0, 1, 2]], "item 1 is what it was, item 0 is another now"
    assert "Its audio of item 0 is older than the last edit" in summaries(page)[0]
    assert [item["item"] for item in data_of(html)["items"]] == [1]
    edits.undo(song)
    assert levels_of(page_of(song.state)) == [[0, 1, 2], [0, 1, 2]], "an undo makes the files right again"
    edits.trim(song, 0.3)
    assert levels_of(page_of(song.state)) == [[], []]
    assert "Its audio is older than the last edit" in summaries(page_of(song.state))[2]
    jk.sample(song)
    page = page_of(song.state)
    assert levels_of(page) == [[0, 1, 2], [0, 1, 2]]
    assert {sound.seconds for item in page.items for sound in item.sounds} == {page.seconds}


def test_what_is_extended_can_be_heard_as_far_as_it_stands(song: Song) -> None:
    edits.extend(song, 0.4)
    page = page_of(song.state)
    assert levels_of(page) == [[0, 1, 2], [0, 1, 2]]
    assert page.items[0].sounds[0].seconds == pytest.approx(0.6, abs=0.01)
    assert page.seconds == pytest.approx(1.0, abs=0.01)


def test_a_file_cut_short_or_taken_away_is_left_out_and_written_again(song: Song) -> None:
    wav, picture = song.root / audio_name(1, 0), song.root / picture_name(0, 1)
    whole, drawn = soundfile.read(wav)[0], picture.read_bytes()
    wav.write_bytes(wav.read_bytes()[: wav.stat().st_size // 2])
    picture.unlink()
    page = page_of(song.state)
    assert levels_of(page) == [[0, 2], [0, 1, 2]]
    assert page.items[1].sounds[0].picture is None
    jk.sample(song)
    assert np.array_equal(soundfile.read(wav)[0], whole)  # its title is the folder's name, which is another in a copy
    assert picture.read_bytes().startswith(drawn[:8])
    assert page_of(song.state).items[1].sounds[0].picture == picture_name(0, 1)


def test_what_did_not_change_is_neither_decoded_nor_written_again(song: Song, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = LocalStore.write

    def noted(store: LocalStore, name: str, content: bytes) -> None:
        written.append(name)
        write(store, name, content)

    monkeypatch.setattr(LocalStore, "write", noted)
    jk.sample(Song.open(song.root))
    assert written == []
    (song.root / audio_name(2, 1)).unlink()
    jk.sample(Song.open(song.root))
    assert written == [audio_name(2, 1), picture_name(2, 1)]


def test_only_what_is_upsampled_has_lower_levels(tiny: Path, tmp_path: Path) -> None:
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    jk.upsample(song, (1,))
    assert levels_of(page_of(song.state)) == [[2], [0, 1, 2]]
    assert ("upsampled items", "1") in page_of(song.state).request


def test_hostile_text_stays_text() -> None:
    item = PageItem(0, (Sound(2, "level_2/item_0.wav", None, 1.0),), (Line(0.0, 1.0, HOSTILE),))
    recipe = recipe_of(Manifest.from_json(json.dumps(manifest_values(HOSTILE)).encode(), "song"), HOSTILE)
    page = Page(HOSTILE, HOSTILE, HOSTILE, 1.0, (item,), HOSTILE, HOSTILE, (), (HOSTILE,), ((HOSTILE, HOSTILE),))
    html = render(replace(page, history=((HOSTILE, HOSTILE),), recipe=recipe, licence=HOSTILE))
    assert html.lower().count("<script") == html.lower().count("</script") == 2
    assert "<img src=x" not in html
    assert "<!--" not in html
    assert data_of(html)["items"][0]["lines"][0]["text"] == HOSTILE
    assert unescape(html).count("<img src=x onerror=alert(2)>") >= 8, "it is shown, not dropped"


def manifest_values(text: str) -> dict[str, Any]:
    """Return song.json's values with a text wherever a person may write one."""
    request = asdict(Request(artist=text, genre=text, lyrics=text, prompt=text))
    resolved = {"samples": 1, "labels": [], "plans": [], "notes": [text]}
    came = {"kind": "fork", "path": text, "at": 1.0}
    told = [{"when": text, "what": text, "fact": text}]
    values = {"request": request, "resolved": resolved, "checkpoints": {}, "licence": text, "history": told}
    return {"format": 1, **values, "came_from": came, "undo": ["1"]}


def asked_by_shell(command: str) -> Request:
    """Return the request that the shell's `sample` makes of a command, by its own parser."""
    from jukebox_kit.cli.options import numbers

    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("jukebox-kit", "sample")
    parsed = vars(typer.main.get_command(app))["commands"]["sample"].make_context("sample", arguments).params
    fields = {field: parsed[field] for field in asdict(Request())}
    for field in ("temperature", "hop_fraction", "chunks"):
        fields[field] = numbers(field, fields[field])
    return normalise_request({**fields, "chunks": fields["chunks"] or 1})


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(
            artist="Zac Brown Band", genre="Country", lyrics="one\n\n  two 'three' \"four\"\n", items=3, seed=2**64 - 1
        ),
        Request(lyrics="-- a line\n`rm` $HOME $(x) \\ ! * \t ; & | <>", artist="-h", genre="--help", strict=True),
        Request(
            temperature=(0.1, 0.2, 1 / 3), top_k=5, hop_fraction=(0.5, 0.25, 0.125), total_seconds=60.5, seconds=20.25
        ),
        Request(chunks=(4, 2)),
        Request(top_p=0.9, prompt="/music/a riff's.mp3", prompt_seconds=4.5, lyrics="ünïcödé 歌"),
    ],
)
@pytest.mark.parametrize("folder", ["oz", "it's a song", "-oz"])
def test_the_commands_ask_for_the_same_again(request_: Request, folder: str) -> None:
    assert asked_by_shell(shell_command(request_, folder)) == request_
    asked: list[Any] = []

    class Recorder:
        class Song:
            create = staticmethod(lambda place, **fields: asked.append((place, normalise_request(fields))))

        sample = staticmethod(lambda song: None)

    code = python_call(request_, folder).replace("import jukebox_kit as jk\n", "")
    exec(compile(code, "page", "exec"), {"jk": Recorder})
    assert asked == [(folder, request_)]


def test_the_command_makes_the_same_song(song: Song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jk.upsample(jk.level_2(Song.create(tmp_path / "chosen", model=song.request.model, **REQUEST)), (1,))
    chosen = Song.open(tmp_path / "chosen")
    recipe = page_of(chosen.state).recipe
    assert recipe is not None
    first, second = recipe.shell.rsplit("\n", 1)
    for command in (first, second):
        assert CliRunner().invoke(app, shlex.split(command)[1:]).exit_code == 0
    made = Song.open(tmp_path / "chosen-again")
    assert all(np.array_equal(made.codes(level), chosen.codes(level)) for level in range(3))
    assert "makes the same codes" in recipe.remarks[0]


def test_where_the_command_alone_makes_another_song_the_page_says_why(song: Song, tmp_path: Path) -> None:
    def told(one: Song) -> str:
        recipe = page_of(one.state).recipe
        assert recipe is not None
        return " ".join(recipe.remarks)

    assert "another song" not in told(song)
    edits.choose(song, 1)
    assert "edited after it was created: chose item 1. So the request alone makes another song" in told(song)
    fork = edits.fork(song, tmp_path / "fork", at=0.3)
    assert f"forked from {song.root} at 0.3 seconds" in told(fork)
    edits.undo(song)
    assert "another song" not in told(song), "what was undone does not matter"


def test_the_shell_writes_pages_again(song: Song, run: Run) -> None:
    page = song.root / "index.html"
    before = page.read_bytes()
    page.write_bytes(b"old")
    done = run("page", song.root.parent)
    assert (done.returncode, done.stdout) == (0, f"{page}\n")
    assert page.read_bytes() == before
    refused = run("page", song.root / "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_on_a_mount_the_page_is_a_plain_file_and_no_save(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "segments")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    kept = b"".join(path.read_bytes() for path in (song.root / "segments").iterdir())
    assert (song.root / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert b"index.html" not in kept
    assert b"item_0" in kept, "song.json has its mark"
    assert b"\x89PNG" not in kept
    saves = song.store.safety().here
    with song.locked():
        write_page(song.state)
    assert song.store.safety().here == saves


@pytest.mark.parametrize("samples", [0, 1, 700, 16_000, 3_000_000])
@pytest.mark.parametrize("loudness", [0.0, 0.5])
def test_a_strip_is_its_audio_from_edge_to_edge(samples: int, loudness: float) -> None:
    time = np.arange(samples) / 16000
    audio = (loudness * np.sin(2 * np.pi * 1000 * time) * (time < time.max(initial=0) / 2)).astype(np.float32)
    content = strip_png(audio, 16000, width=400, height=100)
    assert len(content) < 100_000
    picture = imread(io.BytesIO(content))[:, :, :3]
    assert picture.shape == (100, 400, 3)
    wave, tones = picture[:40], picture[40:].sum(2)
    inked = (np.abs(wave - wave[0, 0]).sum(2) > 0.1).sum(0)  # rows of the stroke in each column
    if samples >= 16_000 and loudness:
        assert inked[5:190].min() > 10
        assert inked[210:].max() <= 2
        assert tones[:, 5:190].max() > 2 * tones[:, 230:].max()
    elif not loudness:
        assert inked.max() <= 2
        assert np.ptp(tones) < 1e-6


def test_a_strip_of_a_minute_of_noise_is_small() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * 44100).astype(np.float32)
    assert len(strip_png(noise, 44100)) < 100_000


def test_a_heat_map_takes_lyrics_as_they_are() -> None:
    lines = ["la la $a_b$ {", "", "lo " * 40, "x"]
    characters = len("\n".join(lines))
    for frames, weight in ((1, 0.0), (500, 1.0)):
        weights = np.full((frames, characters), weight / characters, np.float32)
        assert heat_map_png(weights, 8.0, lines, "item 0, $ & <").startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="do not match the"):
        heat_map_png(weights, 8.0, lines[:2], "item 0")
