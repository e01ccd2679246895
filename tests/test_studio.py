"""Projects for studio programs, read back by readers of their own: the public schema, and a parser of .rpp files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import numpy as np
import pytest
import soundfile
import xmlschema

import jukebox_kit as jk
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.song import edits
from jukebox_kit.song.audio import Audio
from jukebox_kit.song.lyrics.alignment import Alignment
from jukebox_kit.song.song import Song
from jukebox_kit.song.studio import export_project, markers
from jukebox_kit.song.studio.project import Marker, TempoPoint
from jukebox_kit.song.studio.reaper import _quoted
from jukebox_kit.song.studio.tempo import TOLERANCE, find_beats, tempo_map
from jukebox_kit.training.synth import GENRES, synthesise
from tests.conftest import TESTS, shell

SR = 16000
MS = 0.001
LYRICS = 'she said "la"\nit\'s `lo`'
REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": LYRICS, "seconds": 0.8, "items": 2}


@dataclass
class Block:
    """A block of an .rpp file: lines as lists of values, and the blocks inside."""

    values: list[str]
    lines: list[list[str]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def all(self, name: str) -> list[Block]:
        return [block for block in self.blocks if block.values[0] == name]

    def line(self, name: str) -> list[str]:
        (only,) = (line for line in self.lines if line[0] == name)
        return only[1:]


def read_rpp(text: str) -> Block:
    """Return the project of an .rpp file."""
    top = Block(["FILE"])
    open_blocks = [top]
    for line in text.splitlines():
        bare = line.strip()
        if bare == ">":
            open_blocks.pop()
        elif bare.startswith("|"):
            open_blocks[-1].lines.append(["|", bare[1:]])
        else:
            values = ["".join(one) for one in re.findall(r'"([^"]*)"|\'([^\']*)\'|`([^`]*)`|([^\s"\'`]+)', bare)]
            if bare.startswith("<"):
                block = Block([values[0][1:], *values[1:]])
                open_blocks[-1].blocks.append(block)
                open_blocks.append(block)
            else:
                open_blocks[-1].lines.append(values)
    assert open_blocks == [top], "every block is closed"
    (project,) = top.blocks
    return project


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny)


@pytest.fixture(scope="module")
def song(tiny: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """Chosen and made longer after 0.8 seconds; level 1 in two chunks up to there, no level 0."""
    folder = tmp_path_factory.mktemp("songs") / 'a "song" & more'
    song = jk.level_2(Song.create(folder, model, model=tiny, **REQUEST), model)
    jk.upsample(song, until=1, model=model, chunks=2)
    edits.extend(edits.choose(song, 1), 0.4, model)
    return jk.level_2(Song.open(folder), model)


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alignment of item 0 in which the first line is sung from 0.1 seconds on and the second from 0.6 on."""
    weights = np.zeros((12, len(LYRICS)), np.float32)
    weights[0, LYRICS.index("\n")] = 1  # of neither line
    weights[1:6, 3] = 1
    weights[6:11, LYRICS.index("\n") + 3] = 1
    monkeypatch.setattr(markers, "read_alignments", lambda _: iter([(0, Alignment(weights, 0.1, LYRICS))]))


def wanted_markers(song: Song) -> list[tuple[float, str]]:
    """Return where the markers belong, from what the fixtures did."""
    first_end = 0.8 * SR // 128 * 128 / SR
    (join,) = song.level(1).joins
    edit = [(first_end, "chose item 1"), (first_end, "extended by 0.4 seconds")]
    lines = [(0.1, 'she said "la"'), (0.6, "it's `lo`")]
    return sorted([*lines, *edit, (join.cut * 32 / SR, "seam of level 1")])


def wanted_clips(song: Song) -> dict[str, float]:
    """Return the length in seconds of each clip."""
    hops = song.definition.vqvae.hops
    return {f"item {item}, level {n}": song.level(n).made[item] * hops[n] / SR for item in (0, 1) for n in (1, 2)}


def close(found: list[tuple[float, str]], wanted: list[tuple[float, str]]) -> bool:
    times, wanted_times = [[time for time, _ in one] for one in (found, wanted)]
    return [name for _, name in found] == [name for _, name in wanted] and times == pytest.approx(wanted_times, abs=MS)


def container(path: Path) -> tuple[Element, zipfile.ZipFile]:
    """Return the project of a .dawproject file that is valid by the public schema, and the file."""
    file = zipfile.ZipFile(path)
    for name, schema in (("project.xml", "Project.xsd"), ("metadata.xml", "MetaData.xsd")):
        xmlschema.XMLSchema(TESTS / "dawproject" / schema).validate(file.read(name).decode())
    return fromstring(file.read("project.xml")), file


def check_audio(content: bytes, song: Song, model: Model, name: str, seconds: float) -> None:
    audio, sr = soundfile.read(io.BytesIO(content), dtype="float32")
    item, level = map(int, re.findall(r"\d", name))
    assert soundfile.info(io.BytesIO(content)).subtype == "PCM_24"
    assert (sr, len(audio) / sr) == (SR, pytest.approx(seconds, abs=MS))
    assert np.abs(audio - np.clip(song.audio(level, item, model), -1, 1)).max() < 1e-6


@pytest.mark.usefixtures("aligned")
def test_dawproject(song: Song, model: Model, tmp_path: Path) -> None:
    done = export_project(song, tmp_path, "dawproject", model=model)
    assert done.paths == (tmp_path / f"{song.root.name}.dawproject",)
    project, file = container(done.paths[0])
    tracks = {track.get("id"): track for track in project.iter("Track")}
    clips: dict[str, float] = {}
    for lanes in project.findall("Arrangement/Lanes[@timeUnit='seconds']/Lanes"):
        (clip,) = lanes.findall("Clips/Clip")
        name, seconds = str(clip.get("name")), float(clip.get("duration", ""))
        assert tracks[lanes.get("track")].get("name") == name, "each clip on its own track"
        assert float(clip.get("time", "")) == float(clip.get("playStart", "")) == 0
        path = clip.find("Audio/File")
        assert path is not None
        check_audio(file.read(str(path.get("path"))), song, model, name, seconds)
        clips[name] = seconds
    assert clips == pytest.approx(wanted_clips(song), abs=MS)
    muted = {t.get("name"): m.get("value") for t in tracks.values() for m in t.iter("Mute")}
    assert muted == {name: "false" if name == "item 0, level 2" else "true" for name in clips}
    found = project.findall("Arrangement/Markers[@timeUnit='seconds']/Marker")
    assert close([(float(one.get("time", "")), str(one.get("name"))) for one in found], wanted_markers(song))
    metadata = fromstring(file.read("metadata.xml"))
    assert metadata.findtext("Title") == song.root.name
    assert metadata.findtext("Artist") == "Jukebox in the style of The Beatles"
    assert song.manifest.song_id in str(metadata.findtext("Comment"))
    again = export_project(song, tmp_path / "again", "dawproject", model=model).paths[0]
    assert again.read_bytes() == done.paths[0].read_bytes()


def test_the_schema_refuses_what_is_not_in_the_format(song: Song, model: Model, tmp_path: Path) -> None:
    path = export_project(song, tmp_path, "dawproject", items=0, level=2, model=model).paths[0]
    text = zipfile.ZipFile(path).read("project.xml").decode()
    schema = xmlschema.XMLSchema(TESTS / "dawproject" / "Project.xsd")
    assert schema.is_valid(text)
    for wrong in (text.replace("<Clip ", "<Klip ").replace("</Clip>", "</Klip>"), text.replace(' time="0', ' at="0')):
        assert not schema.is_valid(wrong)


@pytest.mark.usefixtures("aligned")
def test_reaper(song: Song, model: Model, tmp_path: Path) -> None:
    done = export_project(song, tmp_path, "reaper", model=model)
    assert done.paths[0] == tmp_path / f"{song.root.name}.rpp"
    project = read_rpp(done.paths[0].read_text(encoding="utf-8"))
    assert project.values[:2] == ["REAPER_PROJECT", "0.1"]
    clips: dict[str, float] = {}
    for track in project.all("TRACK"):
        (item,) = track.all("ITEM")
        (name,), (seconds,) = track.line("NAME"), item.line("LENGTH")
        assert item.line("POSITION") == item.line("SOFFS") == ["0"]
        assert track.line("MUTESOLO")[0] == ("0" if name == "item 0, level 2" else "1")
        (source,) = item.all("SOURCE")
        assert source.values == ["SOURCE", "WAVE"]
        check_audio((tmp_path / source.line("FILE")[0]).read_bytes(), song, model, name, float(seconds))
        clips[name] = float(seconds)
    assert clips == pytest.approx(wanted_clips(song), abs=MS)
    found = [(float(line[2]), line[3]) for line in project.lines if line[0] == "MARKER"]
    assert close(found, wanted_markers(song))
    assert project.line("TITLE") == [song.root.name]
    assert project.line("AUTHOR") == ["Jukebox in the style of The Beatles"]
    assert project.line("TEMPO") == ["120", "4", "4"]
    assert project.all("TEMPOENVEX") == []
    assert "no tempo is clear enough" in done.notes[0]
    again = export_project(song, tmp_path / "again", "reaper", model=model)
    assert [p.read_bytes() for p in again.paths] == [p.read_bytes() for p in done.paths]


@pytest.mark.parametrize(
    ("text", "line"), [("a b", '"a b"'), ('a "b"', "'a \"b\"'"), ("\"'", "`\"'`"), ("\"'`\n x", "`\"'' x`")]
)
def test_quotes(text: str, line: str) -> None:
    assert _quoted(text) == line


def music(seconds: float = 16.0) -> Audio:
    return synthesise(5, 3, 3, seconds).audio


def beats_of(points: list[tuple[float, float]], until: float) -> Iterator[float]:
    """Yield when the beats are, by the tempo map that starts with a beat at 0. points: seconds and beats a minute."""
    count, done = 0, 0.0
    ends = [*(start for start, _ in points[1:]), until]
    for (start, bpm), end in zip(points, ends, strict=True):
        total = done + (end - start) * bpm / 60
        while count <= total + 1e-6:
            yield start + (count - done) * 60 / bpm
            count += 1
        done = total


def test_the_tempo_in_both_files(song: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The synthesiser's dance has 144.2 beats a minute from 0 on."""
    monkeypatch.setattr(Song, "audio", lambda _song, _level, _item, _model: music())
    done = export_project(song, tmp_path, "dawproject", items=0, level=2, model=model)
    project, _ = container(done.paths[0])
    tempo = project.find("Transport/Tempo")
    (automation,) = project.findall("Arrangement/TempoAutomation[@timeUnit='seconds']")
    target = automation.find("Target")
    assert tempo is not None
    assert target is not None
    assert (automation.get("unit"), target.get("parameter")) == ("bpm", tempo.get("id"))
    daw = [(float(p.get("time", "")), float(p.get("value", ""))) for p in automation.findall("RealPoint")]
    rpp = export_project(song, tmp_path, "reaper", items=0, level=2, model=model).paths[0]
    (envelope,) = read_rpp(rpp.read_text(encoding="utf-8")).all("TEMPOENVEX")
    points = [line[1:] for line in envelope.lines if line[0] == "PT"]
    assert all(point[2] == "1" for point in points), "square"
    assert points[0][3] == str(4 * 65536 + 4)
    reaper = [(float(point[0]), float(point[1])) for point in points]
    style = GENRES[3]
    for found in (daw, reaper):
        assert found[0][0] == 0
        assert found[1][1] == pytest.approx(style.bpm, abs=0.2)
        grid = np.array(list(beats_of(found, 16.0)))
        half_beats = grid[(grid > 1) & (grid < 15)] / (style.beat_seconds / 2)  # its drums play in half beats
        assert np.abs(half_beats - half_beats.round()).max() * style.beat_seconds / 2 < TOLERANCE
    assert daw == [pytest.approx(point, abs=1e-8) for point in reaper]
    assert re.fullmatch(r"tempo in beats a minute: 144\.\d from \d\.\d\d s \(confidence 0\.\d\d\)\.", done.notes[0])


def test_the_map_puts_the_beats_where_they_were_found() -> None:
    audio = music()
    points = tempo_map(audio, SR)
    grid = np.array(list(beats_of([(p.seconds, p.bpm) for p in points], len(audio) / SR)))
    found, confidence = find_beats(audio, SR)
    assert max(np.abs(grid - beat).min() for beat in found[1:-1]) <= TOLERANCE + MS
    assert confidence.min() > 0.5


def test_there_is_no_tempo_in_noise_and_silence() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16 * SR).astype(np.float32)
    assert [tempo_map(audio, SR) for audio in (noise, 0 * noise, noise[:100], noise[:0])] == [()] * 4
    mixed = np.concatenate([music(), noise, music()])
    unclear = [p for p in tempo_map(mixed, SR) if p.confidence is None and p.seconds > 0]
    after = [p.seconds for p in tempo_map(mixed, SR) if p.confidence is not None and p.seconds > 16]
    assert len(unclear) == 1
    assert unclear[0].seconds == pytest.approx(16, abs=4)
    assert after[0] == pytest.approx(32, abs=4)


def test_refusals(song: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="there is no format tape; format takes dawproject, reaper"):
        export_project(song, tmp_path, "tape", model=model)
    with pytest.raises(SongError, match="has nothing sampled at level 0 yet"):
        export_project(song, tmp_path, level=0, model=model)
    assert not list(tmp_path.iterdir())
    assert shell(monkeypatch, "export", song.root, tmp_path, "--format", "reaper", "--stereo") == 1
    assert not list(tmp_path.iterdir())


def test_projects_in_the_shell(
    song: Song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell(monkeypatch, "export", song.root, tmp_path, "--format", "reaper", "--items", "0") == 0
    said = capsys.readouterr()
    name = song.root.name
    files = [f"{name}.rpp", *(f"{name}-audio/item_0_level_{level}.wav" for level in (1, 2))]
    assert said.out.splitlines() == [str(tmp_path / file) for file in files]
    assert "note: no tempo is clear enough" in said.err


def test_text_that_xml_cannot_hold(song: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = (Marker(0.25, "a\x0b<b>\udcff", "lyrics"),)
    monkeypatch.setattr("jukebox_kit.song.studio.export.markers_of", lambda _state, _item: wrong)
    monkeypatch.setattr("jukebox_kit.song.studio.export.tempo_map", lambda _audio, _sr: (TempoPoint(0.0, 99.5, 0.7),))
    done = export_project(song, tmp_path, items=0, level=2, model=model)
    (marker,) = container(done.paths[0])[0].iter("Marker")
    assert marker.get("name") == "a<b>?"
    assert done.notes == ("tempo in beats a minute: 99.5 from 0.00 s (confidence 0.70).",)
