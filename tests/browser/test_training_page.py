"""The page of a fine-tuned model in a real browser, from file://, with the network off, while it grows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect

from jukebox_kit.training.curves import Measured
from jukebox_kit.training.page import RunProgress, Trained, write_curves, write_page, write_takes
from tests.browser.pages import play, shot

pytestmark = pytest.mark.browser

SR = 16000
ROWS = [Measured(0, None, 6.5, 1.25), Measured(100, 4.5, 5.0, 1.25), Measured(200, 3.0, 4.0, 1.5)]
ROWS += [Measured(300, 2.5, 4.25, 1.5)]
SOUNDING = "() => [...document.querySelectorAll('audio')].filter((a) => !a.paused).map((a) => a.getAttribute('src'))"
LENGTHS = "() => [...document.querySelectorAll('.takes audio')].slice(0, 2).map((a) => a.duration)"


def written(folder: Path, steps: int, progress: RunProgress, name: str = "my harp") -> Path:
    """Write the page as it is after a number of steps, of two songs; returns index.html."""
    rows = [row for row in ROWS if row.step <= steps]
    for row in rows:
        tones = [0.2 * np.sin(np.arange(4 * SR) * (0.1 + row.step / 3000 + song / 10)) for song in range(2)]
        write_takes(folder, "level_2", row.step, [tone.astype(np.float32) for tone in tones], SR)
    write_curves(folder, Trained("level_2"), rows)
    facts = [("base", "demo"), ("dataset", "data/a-long-name-" * 9)]
    write_page(
        folder, name, Trained("level_2"), facts, rows, ["octave organ, waltz", "octave organ, lullaby"], progress
    )
    return folder / "index.html"


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [400, 800, 1280])
def test_it_shows_state_curves_and_songs_side_by_side(
    tmp_path: Path, browser_page: BrowserPage, width: int, scheme: Any
) -> None:
    page = written(tmp_path, 300, RunProgress("stopped early", 300, 1000))
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.emulate_media(color_scheme=scheme)
    browser_page.goto(page.as_uri())
    expect(browser_page.locator("h1")).to_have_text("my harp")
    state = "stopped early after step 300 of 1000: held-out songs got no better"
    expect(browser_page.get_by_label("State")).to_have_text(re.compile(state))
    assert browser_page.get_by_label("Training steps").evaluate("bar => bar.value / bar.max") == 0.3
    curves = browser_page.get_by_alt_text("Curves of bits per token over the training steps")
    assert curves.evaluate("image => image.complete && image.naturalWidth > 300")
    assert curves.evaluate("image => image.currentSrc").endswith(f"curves_{scheme}.svg")
    song = browser_page.get_by_label("Song 1", exact=True)
    expect(song.locator("h2")).to_have_text("octave organ, waltz")
    visible = song.locator("figcaption:visible")
    expect(visible).to_have_text(["base", "my harp after 200 steps: the model"])
    boxes = [visible.nth(number).bounding_box() for number in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert (boxes[0]["y"] == boxes[1]["y"]) == (width > 560)
    for picture in song.locator("img:visible").all():
        assert picture.evaluate("image => image.naturalWidth") == 900
    browser_page.wait_for_function(f"() => ({LENGTHS})().every((seconds) => seconds === 4)")
    song.get_by_text("After other numbers of steps").click()
    expect(song.locator("figcaption:visible")).to_have_count(4)
    browser_page.get_by_text("All measurements").click()
    expect(browser_page.get_by_role("cell", name="5.0000")).to_be_visible()
    shot(browser_page, f"training-{scheme}-{width}", whole=True)
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_shows_what_is_new_but_not_while_a_song_plays(tmp_path: Path, browser_page: BrowserPage) -> None:
    page = written(tmp_path, 100, RunProgress("training", 100, 300, 200.0))
    browser_page.clock.install()
    browser_page.goto(page.as_uri())
    state, base = browser_page.get_by_label("State"), "octave organ, waltz, base"
    expect(state).to_have_text(re.compile("training step 100 of 300, about 3 min 20 s left"))
    expect(browser_page.locator("#news")).to_have_text("The page shows what is new by itself.")
    browser_page.get_by_text("All measurements").click()
    play(browser_page, base)
    browser_page.wait_for_function("() => [...document.querySelectorAll('audio')].some((a) => a.currentTime > 0.1)")
    play(browser_page, "octave organ, lullaby, base")
    browser_page.wait_for_function(f"() => ({SOUNDING})().length === 1")
    assert browser_page.evaluate(SOUNDING) == ["samples/level_2_step_000000_1.wav"]

    written(tmp_path, 200, RunProgress("training", 200, 300, 100.0))
    browser_page.clock.run_for(60_000)
    expect(browser_page.locator("#news")).to_have_text("What is new is shown once no song plays.")
    expect(state).to_have_text(re.compile("step 100 of 300"))
    assert browser_page.evaluate(SOUNDING) == ["samples/level_2_step_000000_1.wav"]

    browser_page.get_by_label("octave organ, lullaby, base").evaluate("audio => audio.pause()")
    browser_page.clock.run_for(2_000)
    expect(state).to_have_text(re.compile("step 200 of 300"))
    expect(browser_page.locator("#measured")).to_have_attribute("open", "")
    browser_page.wait_for_function("() => document.querySelector('audio').currentTime > 0.1")

    written(tmp_path, 200, RunProgress("training", 200, 300, 100.0, news=-1.0))  # which is long over
    browser_page.clock.run_for(20_000)
    expect(browser_page.locator("#news")).to_have_text(re.compile("may have been interrupted. Run the same command"))
    written(tmp_path, 300, RunProgress("finished", 300, 300))
    browser_page.clock.run_for(20_000)
    expect(state).to_have_text(re.compile("finished 300 steps"))
    expect(browser_page.locator("#news")).to_have_count(0)
