"""The panel without a browser: what its buttons do to the song's folder, and what it says when something is wrong."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from jukebox_kit.notebook import embed as embedding
from jukebox_kit.notebook.background import Worker
from jukebox_kit.notebook.overnight import Night
from jukebox_kit.notebook.panel import Panel
from jukebox_kit.song.export import loudness
from jukebox_kit.song.lyrics.alignment import read_alignments
from jukebox_kit.song.song import Song
from tests.tuned import write_tuned


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """A panel with a worker of its own, which does not estimate."""
    own = Worker()
    monkeypatch.setattr("jukebox_kit.notebook.session.worker", lambda: own)
    monkeypatch.setattr("jukebox_kit.notebook.sections.estimate.EstimateLine.ask", lambda *_: None)
    return Panel(tmp_path / "songs")


def words(widget: Any) -> str:
    return html.unescape(re.sub("<[^>]*>", "", widget.value))


def done(panel: Panel) -> str:
    """Wait for the work's end and return what the panel says of it."""
    state = panel.session.worker.wait(120)
    assert not state.busy
    return words(panel.status.ended)


@pytest.fixture
def composed(panel: Panel) -> Song:
    """A song of two openings of a second."""
    panel.form.fill({"artist": "glass bells", "genre": "dance", "seconds": 1.0, "items": 2})
    panel.make.click()
    assert done(panel) == "Openings done: listen, choose one, then extend or upsample."
    assert panel.session.song is not None
    return panel.session.song


def test_a_song_at_half_strength_is_composed_heard_and_exported(
    panel: Panel, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tuned(tmp_path / "models" / "mine", tiny)
    panel.look.click()
    panel.form.fill({"model": "mine", "lora_scale": 0.5, "artist": "her choir", "seconds": 2.0, "items": 1})
    panel.make.click()
    assert done(panel) == "Openings done: listen, choose one, then extend or upsample."
    song = panel.session.song
    assert song is not None
    assert song.request.lora_scale == 0.5
    assert "lora-scale 0.5" in words(panel.about)
    panel.composing.by.widget.value = "0.5"
    panel.composing.extend.click()
    assert done(panel) == "Done: listen, choose, extend or upsample."
    panel.finishing.export.click()
    assert done(panel).startswith("Exported: ")
    assert panel.session.loaded(song).lora_scale == 0.5
    song = Song.create(tmp_path / "songs" / "other", model="mine", seconds=2)
    assert panel.session.loaded(song).lora_scale == 1.0


def test_a_song_is_composed_and_the_folder_says_the_same(panel: Panel, composed: Song) -> None:
    assert composed.root.name == "glass-bells-dance-1"
    assert [words(player.summary) for player in panel.listening.players] == ["item 0, 1.0 s", "item 1, 1.0 s"]
    panel.composing.choose(1)
    assert done(panel) == "chose item 1."
    panel.composing.by.widget.value = "0.5"
    panel.composing.extend.click()
    assert done(panel) == "Done: listen, choose, extend or upsample."
    assert words(panel.listening.players[0].summary) == "item 0, 1.5 s"
    first = Song.open(composed.root).codes(2)
    assert (first[0, :120] == first[1, :120]).all()
    panel.composing.vary.click()
    assert done(panel) == "Done: listen, choose, extend or upsample."
    assert not (Song.open(composed.root).codes(2) == first).all()
    panel.composing.back.click()
    assert done(panel).startswith("undo: back to version")
    assert (Song.open(composed.root).codes(2) == first).all()
    assert panel.composing.picture.value.count("<g") >= 4
    panel.listening.last.value = 0.25
    assert words(panel.listening.players[0].summary) == "item 0, 0.2 s"
    panel.composing.name.widget.value = "other"
    panel.composing.fork.click()
    assert "is a copy of glass-bells-dance-1" in done(panel)
    assert panel.songs.value == composed.root.with_name("other")


def test_chosen_items_are_upsampled_played_and_exported(panel: Panel, composed: Song) -> None:
    panel.finishing.items.widget.value = "one"
    panel.finishing.upsample.click()
    assert "Enter all, or numbers" in words(panel.finishing.items.said)
    panel.finishing.items.widget.value = "7"
    panel.finishing.upsample.click()
    assert "has items 0 to 1, not [7]" in done(panel)
    panel.finishing.items.widget.value = "1"
    panel.finishing.upsample.click()
    assert done(panel) == "All levels are done."
    assert [s.done == s.total for s in Song.open(composed.root).status()] == [True] * 3
    panel.finishing.player.click()
    page = html.unescape(panel.finishing.shown.value)
    assert page.count("data:audio/flac;base64,") >= 3
    assert embedding.embedded_page(Song.open(composed.root)) in page
    panel.finishing.format.value = "ogg"
    panel.finishing.export.click()
    assert done(panel).endswith("item_1.ogg")
    panel.finishing.format.value, panel.finishing.loudness.value = "wav", True
    panel.finishing.export.click()
    exported = done(panel)
    assert exported.startswith("Exported: ")
    assert ("above -1 dBFS" in exported) == (quietest(composed) < -14.2)
    assert panel.finishing.stereo.disabled


def quietest(song: Song) -> float:
    """Return the loudness of the quietest exported item, in LUFS."""
    audios = [soundfile.read(path)[0] for path in (song.root / "exports").glob("item_*.wav")]
    return min(loudness(audio, song.sr) or -99.0 for audio in audios)


def test_the_player_lays_the_lyrics_along_the_song_where_that_is_not_done(panel: Panel) -> None:
    panel.form.fill({"artist": "glass bells", "lyrics": "la\nmo di", "seconds": 1.0, "items": 1})
    panel.make.click()
    assert "Openings done" in done(panel)
    song = panel.session.song
    assert song is not None
    alignment = song.root / "level_2" / "alignment.safetensors"
    assert alignment.exists()
    before = dict(read_alignments(song.state))[0]
    panel.finishing.player.click()
    assert "data:image/png" in panel.finishing.shown.value
    alignment.unlink()
    (song.root / "level_2" / "item_0.words.png").unlink()
    panel.finishing.player.click()
    assert done(panel) == "Lyrics aligned."
    after = dict(read_alignments(song.state))[0]
    assert (before.weights == after.weights).all()
    assert "item_0.words.png" in (song.root / "index.html").read_text()


def test_a_song_that_is_gone_or_damaged_is_told_in_a_sentence(panel: Panel, composed: Song) -> None:
    panel.composing.extend.click()
    assert done(panel) == "Done: listen, choose, extend or upsample."
    shutil.rmtree(composed.root / "level_2")
    (composed.root / "song.json").write_text("{")
    panel.composing.vary.click()
    assert "song.json is damaged" in done(panel)
    assert panel.session.song is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request: {artist: No}", "line 1: request: artist must be text, not false; put it into quotes."),
        ("request:\n  artist: 311", "line 2: request: artist must be text, not 311; put it into quotes."),
        ("about: 2020-02-30", "line 1: about must be text, not '2020-02-30'; put it into quotes."),
        ("request: {seconds: .nan}", "line 1: request: seconds must be a number, not nan."),
        ("options: {batch_size: yes}", "line 1: options: batch_size must be a whole number, not True."),
        ("request: {artist: a}\n\tx", "line 2: this is not YAML"),
        (None, "cannot be read (Is a directory)"),
    ],
)
def test_a_faulty_preset_is_reported_and_the_form_stays(
    panel: Panel, composed: Song, text: str | None, said: str
) -> None:
    path = composed.root.parent / "presets" / "odd.yaml"
    path.parent.mkdir()
    path.mkdir() if text is None else path.write_text(text)
    before = panel.form.values()
    panel.presets.options = [("", None), ("odd", path)]
    panel.presets.value = path
    assert said in words(panel.preset_name.said)
    assert panel.form.values() == before


def test_wrong_names_are_said_at_their_fields(panel: Panel, composed: Song) -> None:
    panel.composing.fork.click()
    assert "Enter a name for the new song" in words(panel.composing.name.said)
    panel.composing.by.widget.value = "much"
    panel.composing.extend.click()
    assert "'much' is not a number of seconds" in words(panel.composing.by.said)
    panel.composing.by.widget.value = "900"
    panel.composing.extend.click()
    assert "outside this model's range" in done(panel)
    panel.preset_name.widget.value = "my one"
    panel.save.click()
    assert "use letters, digits" in words(panel.preset_name.said)
    panel.preset_name.widget.value = "mine"
    panel.save.click()
    assert "Saved as" in words(panel.preset_name.said)
    assert "mine" in [name for name, _ in panel.presets.options]
    panel.songs.value = None
    assert panel.session.song is None
    panel.name.widget.value = "../out"
    panel.make.click()
    assert 'cannot contain "/"' in words(panel.name.said)
    panel.name.widget.value = composed.root.name
    panel.form.fill({"seed": 9})
    panel.make.click()
    assert "contains a song with seed 0, not 9" in done(panel)


def test_the_night_tells_what_became_of_each(
    panel: Panel, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = tmp_path / "songs"
    Song.create(songs / "long", model=tiny, seconds=0.6)
    Song.create(songs / "short", model=tiny, seconds=0.2)
    (songs / "broken").mkdir()
    (songs / "broken" / "song.json").write_text("{")
    night = Night(songs)
    assert "unreadable" in words(night.table)
    assert re.findall("short|long", words(night.table)) == ["short", "long"]
    night.start()
    assert "still running" not in night.session.error
    night.wait()
    assert night.session.worker.state.message.startswith("2 finished, 1 failed, in ")
    assert "short: finished" in words(night.report)
    assert "broken: failed" in words(night.report)
    assert words(night.table).count("100%") == 6
    night.start()
    night.wait()
    assert "1 failed" in night.session.worker.state.message


def test_a_panel_that_is_shown_anew_finds_the_work(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "jukebox_kit.steps.level_writer.REPORTS_PER_SECOND", 10**6
    )  # so that it is stopped before it is done
    panel.form.fill({"seconds": 6.0, "items": 1})
    panel.name.widget.value = "found"
    found: list[Panel] = []

    def look(state: Any) -> None:
        if state.progress is not None and state.busy and not found:
            found.append(Panel(tmp_path / "songs"))
            panel.session.worker.stop()

    panel.session.worker.watch(look)
    panel.make.click()
    assert "Stopped. Everything is saved" in done(panel)
    assert found[0].session.song is not None
    assert found[0].session.song.root.name == "found"
    assert found[0].status.resume.layout.display == ""
