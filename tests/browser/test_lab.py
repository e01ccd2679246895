"""The panel in JupyterLab, in a real browser, as a person would use it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from jukebox_kit.song.song import Song
from tests.browser.lab import Notebook

pytestmark = pytest.mark.browser


def test_a_song_is_composed_stopped_resumed_undone_upsampled_and_heard(
    lab: tuple[Path, str], browser: Browser, shots: Path
) -> None:
    folder, address = lab
    page = browser.new_page(viewport={"width": 1500, "height": 1400})
    book = Notebook(page, address, "compose.ipynb", shots)
    book.open()
    book.run_all()
    page.wait_for_selector(".jk-panel", timeout=120000)

    # Wrong input is said where it is, and nothing is made of it.
    book.type("artist", "glas bels")
    book.wait_for("said-artist", "Unknown to the model")
    book.type("seconds", "lots")
    book.wait_for("said-seconds", "'lots' is not a number")
    book.shot("1-wrong")
    book.click("make")
    book.wait_for("said-panel", "Fix the highlighted fields")
    page.locator("button.jk-near-artist", has_text="glass bells").click()
    book.wait_for("said-artist", "Known to all levels of the model")
    book.type("seconds", "12")
    book.type("genre", "dance")
    book.type("lyrics", "la mo di ne ☃")
    book.wait_for("said-lyrics", "alphabet: ☃")
    book.slide("temperature", "0.95")
    book.type("name", "mine")
    book.wait_for("estimate", "measured on this machine")
    book.shot("2-form")

    # A recording, made in the browser; then without it.
    page.locator(".jk-prompt button", has_text="record").click()
    recorder = page.locator("button.jk-record")
    recorder.click()
    page.wait_for_timeout(1500)
    recorder.click()
    book.wait_for("said-prompt", "recording.wav: ", 30)
    assert (folder / "songs" / "prompts" / "recording.wav").stat().st_size > 40_000
    page.locator(".jk-prompt button", has_text="none").click()

    # Openings, with progress that moves; Stop; go on where it was.
    book.click("make")
    page.wait_for_function("document.querySelector('.jk-bar-2 .progress-bar')?.offsetWidth > 20", timeout=120000)
    first = book.bar(2)
    page.wait_for_function(
        f"(b => b.offsetWidth / b.parentElement.clientWidth > {first} + 0.05)"
        "(document.querySelector('.jk-bar-2 .progress-bar'))",
        timeout=60000,
    )
    book.shot("3-sampling")
    answers = [book.answer_time(name) for name in ("a/b", "c/d", "e/f")]
    assert 0 < book.bar(2) < 1, "the answers came while it sampled"
    book.type("preset_name", "my-dance")
    book.click("save-preset")
    book.wait_for("said-preset_name", "Saved as")
    begun = time.monotonic()
    book.click("stop")
    book.wait_for("ended", "Stopped. Everything is saved", 5)
    stopped = time.monotonic() - begun
    told = f"seconds a callback took while it sampled: {', '.join(f'{s:.2f}' for s in answers)}; Stop: {stopped:.2f}\n"
    (book.shots / "answers.txt").write_text(told)
    made = Song.open(folder / "songs" / "mine").level(2).made
    assert all(0 < tokens < 1500 for tokens in made)
    assert 0 < book.bar(2) < 1
    book.click("resume")

    # The page is closed while it works, and opened again.
    page.wait_for_timeout(500)
    book.save()
    page.close()
    page = browser.new_page(viewport={"width": 1500, "height": 1400})
    book = Notebook(page, address, "compose.ipynb", shots)
    page.goto(f"{address}/lab/tree/compose.ipynb")
    page.wait_for_selector(".jk-panel", timeout=120000)
    book.wait_for("ended", "Level 2 is done")
    for item in range(3):
        assert book.duration(item) == pytest.approx(12, abs=0.02)
    book.shot("4-openings")

    # Choose item 2, go on by two seconds, undo, and once more for good.
    book.click("choose-2")
    book.wait_for("ended", "chose item 2", 30)
    book.type("extend_by", "2")
    book.click("extend")
    book.wait_for("ended", "Done: listen")
    assert book.duration(1) == pytest.approx(14, abs=0.02)
    song = Song.open(folder / "songs" / "mine")
    trunk = song.codes(2)[:, :1400]
    assert (trunk == trunk[2]).all()
    assert not (song.codes(2)[0] == song.codes(2)[1]).all()
    book.shot("5-extended")
    book.click("undo")
    book.wait_for("ended", "undo: back to version")
    assert book.duration(1) == pytest.approx(12, abs=0.02)
    book.click("redo")
    book.wait_for("ended", "redo: back to version")

    # Upsample one item and hear it.
    book.type("upsample_items", "2")
    book.click("upsample")
    book.wait_for("words", "tokens/s")
    book.click("again")  # what there is can be heard while it grows
    assert book.duration(2) == pytest.approx(14, abs=0.02)
    book.shot("6-upsampling")
    book.wait_for("ended", "All levels are done", 240)
    assert book.duration(2) == pytest.approx(14, abs=0.02)
    player = page.locator(".jk-player-2").first
    player.evaluate("audio => { audio.muted = true; return audio.play(); }")
    page.wait_for_timeout(1500)
    assert player.evaluate("audio => audio.currentTime") > 0.5
    book.click("player")
    frame = page.frame_locator(".jk-shown iframe")
    frame.locator("audio").first.wait_for(state="attached", timeout=60000)
    book.shot("7-done")

    # The notebook stays small, and the folder is what the shell sees.
    book.save()
    saved = folder / "compose.ipynb"
    assert saved.stat().st_size < 200_000
    assert "Traceback" not in saved.read_text()
    assert all("\n" * 50 not in str(cell) for cell in json.loads(saved.read_text())["cells"])
    assert [s.done == s.total for s in Song.open(song.root).status()] == [True, True, True]
    page.close()


def test_the_night_finishes_what_is_there(lab: tuple[Path, str], browser: Browser, tiny: Path, shots: Path) -> None:
    folder, address = lab
    for name, seconds in (("long", 0.6), ("short", 0.3)):
        Song.create(folder / "night" / name, model=tiny, seconds=seconds)
    (folder / "night" / "broken").mkdir()
    (folder / "night" / "broken" / "song.json").write_text("{")
    notebook = folder / "resume_overnight.ipynb"
    notebook.write_text(notebook.read_text().replace("nb.setup()", "nb.setup('night')"))
    page = browser.new_page(viewport={"width": 1500, "height": 1400})
    book = Notebook(page, address, "resume_overnight.ipynb", shots)
    book.open()
    book.run_all()
    book.wait_for("table", "unreadable: ")
    book.click("finish")
    book.wait_for("report", "short: finished in ")
    book.wait_for("words", "2 finished, 1 failed")
    book.wait_for("report", "broken: failed in ")
    book.shot("8-night")
    assert all(s.done == s.total for name in ("long", "short") for s in Song.open(folder / "night" / name).status())
    page.close()
