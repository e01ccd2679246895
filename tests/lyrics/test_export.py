"""Times of sung lyrics as files: read back by readers of the test's own, and the same as on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model.prior import Prior
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.lyrics.alignment import Alignment, follow, follow_words, read_alignments
from jukebox_kit.song.lyrics.export import export_lyrics
from jukebox_kit.song.lyrics.lrc import phrases_of
from jukebox_kit.song.page.page import page_of
from jukebox_kit.song.song import Song
from tests.conftest import shell

LYRICS = "abcdefgh ijklmnop\n[Chorus] qrstuvwx\nyzABCDEFGH"
LINES = LYRICS.split("\n")

Timed = list[tuple[float, float, str]]


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny, "cpu")


@pytest.fixture
def song(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> Song:
    """A song whose alignment head looks at the middle of what it reads: 4 s, so each line lasts about a third."""
    song = Song.create(tmp_path / "song", model, model=model.source, seconds=4.0, items=2, lyrics=LYRICS)
    codes = np.random.default_rng(0).integers(0, 32, (2, 500)).astype(np.int16)
    song.write_level(2, LevelCodes(codes, (0, 0)))

    def pointing(_: Prior, codes: torch.Tensor, given: Any) -> torch.Tensor:
        rows = torch.zeros(1, codes.shape[1], 8)
        rows[:, :, 3:5] = 0.5
        return rows

    monkeypatch.setattr(Prior, "alignment", pointing)
    return song


def seconds(text: str) -> float:
    hours, minutes, rest = re.fullmatch(r"(?:(\d\d):)?(\d\d):(\d\d[.,]\d+)", text).groups()  # type: ignore[union-attr]
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def read_srt(text: str) -> Timed:
    found: Timed = []
    for number, block in enumerate(text.strip().split("\n\n"), 1):
        index, times, *words = block.split("\n")
        assert int(index) == number
        start, end = map(seconds, times.split(" --> "))
        found.append((start, end, "\n".join(words)))
    return found


def read_lrc(text: str) -> tuple[Timed, list[Timed]]:
    """Return lines, and the words of each."""
    lines: Timed = []
    words: list[Timed] = []
    for line in text.strip().split("\n"):
        if re.match(r"\[[a-z]", line):
            continue
        start, rest = re.fullmatch(r"\[(\d\d:\d\d\.\d\d)\](.*)", line).groups()  # type: ignore[union-attr]
        times, texts = [seconds(t) for t in re.findall(r"<([^>]*)>", rest)], re.split(r"<[^>]*>", rest)[1:]
        words.append([(a, b, t.strip()) for a, b, t in zip(times, times[1:], texts, strict=False)])
        lines.append((seconds(start), times[-1], " ".join(t.strip() for t in texts).strip()))
    return lines, words


def timed(lines: Any) -> Timed:
    return [(line.start, line.end, line.text) for line in lines]


def same(found: Timed, wanted: Timed, within: float) -> bool:
    texts = [text for *_, text in found] == [text for *_, text in wanted]
    return texts and np.allclose([one[:2] for one in found], [one[:2] for one in wanted], atol=within)


def test_every_format_holds_the_times_of_the_page(song: Song, model: Model) -> None:
    paths = {format: export_lyrics(song, format=format, model=model).paths for format in ("lrc", "srt", "json")}
    assert paths["lrc"] == tuple(song.root / "exports" / f"item_{item}.lrc" for item in range(2))
    shown = {item.item: timed(item.lines) for item in page_of(song.state).items}
    words = {item: [timed(line) for line in follow_words(found)] for item, found in read_alignments(song.state)}
    for item in range(2):
        assert [text for *_, text in shown[item]] == LINES
        assert shown[item][0][1] == pytest.approx(1.5, abs=0.3)
        assert same(read_srt(paths["srt"][item].read_text()), shown[item], 0.0006)
        lines, inside = read_lrc(paths["lrc"][item].read_text())
        assert same(lines, shown[item], 0.006)
        assert all(same(one, other, 0.006) for one, other in zip(inside, words[item], strict=True))
        values = json.loads(paths["json"][item].read_text())
        assert (values["song"], values["item"]) == ("song", item)
        assert same([(v["start"], v["end"], v["text"]) for v in values["lines"]], shown[item], 0.0006)
        assert [[word["text"] for word in line["words"]] for line in values["lines"]] == [ln.split() for ln in LINES]
        again = [phrase for phrase in phrases_of(paths["lrc"][item].read_text()) if phrase.text.strip()]
        assert [phrase.text.strip() for phrase in again] == LYRICS.split()


def test_the_command_writes_chosen_items(
    song: Song, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert shell(monkeypatch, "export", song.root, tmp_path / "out", "--format", "srt", "--items", "1") == 0
    assert capsys.readouterr().out.strip().endswith("item_1.srt")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["item_1.srt"]
    assert shell(monkeypatch, "export", song.root, "--format", "lrc", "--stereo") == 1
    assert "level, loudness and stereo are for audio; omit them with lyrics." in capsys.readouterr().err


def test_what_has_no_times_is_said(song: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"there is no format ass for lyrics; format takes lrc, srt, json\."):
        export_lyrics(song, format="ass")
    wordless = Song.create(tmp_path / "wordless", model, model=model.source, seconds=0.3)
    with pytest.raises(SongError, match="has no lyrics to align"):
        export_lyrics(wordless, model=model)
    monkeypatch.setattr(Prior, "alignment", lambda _, codes, __: torch.zeros(1, codes.shape[1], 8))
    with pytest.raises(SongError, match=r"the model's attention does not show when the lyrics of .* are sung\."):
        export_lyrics(song, model=model)
    assert not (song.root / "exports").exists()
    with pytest.raises(SongError, match="does not show"):
        export_lyrics(Song.create(tmp_path / "new", model, model=model.source, seconds=0.3, lyrics="la"), model=model)


def test_words_follow_the_attention() -> None:
    """Words of 1.0, 0.4, 1.6 and 0.2 seconds; a line of more words than frames is shared evenly."""
    text, lengths = "first and then last\nanother one here", (10, 4, 16, 2)
    at = [place for place, count in zip((2, 7, 12, 17), lengths, strict=True) for _ in range(count)] + [25] * 20
    weights = np.zeros((len(at), len(text)), np.float32)
    for frame, character in enumerate(at):
        weights[frame, character - 1 : character + 2] = 1 / 3
    alignment = Alignment(weights, 0.1, text)
    words = follow_words(alignment)
    assert [word.text for word in words[0]] == text.split("\n")[0].split()
    assert [word.start for word in words[0]] == pytest.approx([0.0, 1.0, 1.4, 3.0])
    for line, inside in zip(follow(alignment), words, strict=True):
        assert (line.start, line.end) == (inside[0].start, inside[-1].end)
    short = Alignment(weights[::10][:2], 3.0, text.split("\n")[0] + " " * (len(text) - 19))
    assert [word.start for word in follow_words(short)[0]] == pytest.approx([0.0, 1.5, 3.0, 4.5])
