"""The page for A/B listening in a real browser, from file://, with the network off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect

from jukebox_kit.song import compare
from tests.browser.pages import shot

pytestmark = pytest.mark.browser

RATE, SECONDS = 16000, 6

# Notes when sounds are started and when gains are to have changed, by the page's own clock for audio.
NOTED = """
window.started = []; window.ramps = []; window.contexts = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at, from) {
  window.started.push([at, from]); window.contexts.push(this.context); start.call(this, at, from);
};
const ramp = AudioParam.prototype.linearRampToValueAtTime;
AudioParam.prototype.linearRampToValueAtTime = function (value, at) {
  const now = window.contexts.at(-1).currentTime;
  window.ramps.push([value, at - now, now]); return ramp.call(this, value, at);
};
"""


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    """A page with a loud low tone and a quiet high one."""
    for name, tone, peak in (("low.wav", 0.05, 0.8), ("high.wav", 0.3, 0.2)):
        soundfile.write(tmp_path / name, peak * np.sin(np.arange(RATE * SECONDS) * tone), RATE)
    return compare([tmp_path / "low.wav", tmp_path / "high.wav"], tmp_path / "compare.html")


def opened(page: BrowserPage, file: Path) -> None:
    page.add_init_script(NOTED)
    page.goto(file.as_uri())
    expect(page.get_by_label("Play", exact=True)).to_be_enabled()


def played_until(page: BrowserPage, moment: float) -> float:
    """Wait until the page has played up to a moment; returns where it is."""
    for _ in range(400):
        now = float(page.locator("#seek").input_value())
        if now > moment:
            return now
        page.wait_for_timeout(25)
    raise AssertionError(f"the page is at {now} s and does not get to {moment} s")


def test_sounds_switch_at_once_and_at_the_same_place(browser_page: BrowserPage, page_file: Path) -> None:
    opened(browser_page, page_file)
    shot(browser_page, "compare")
    browser_page.get_by_label("Play", exact=True).click()
    before = played_until(browser_page, 0.5)
    browser_page.keyboard.press("2")
    expect(browser_page.get_by_role("button", name="B: high.wav")).to_have_attribute("aria-pressed", "true")
    played_until(browser_page, before + 0.3)
    started: list[Any] = browser_page.evaluate("window.started")
    assert len(started) == 2, "all sounds keep playing: none starts again where it could be late"
    assert started[0] == started[1], "from one moment of one clock"
    low, high = browser_page.evaluate("window.ramps.slice(-2)")
    assert max(low[1], high[1]) <= 0.05, "one gives way to the other within 50 ms"
    assert low[0] == 0
    assert high[0] == pytest.approx(1.0, abs=1e-3), "the quietest is played as it is"
    browser_page.keyboard.press("1")
    low, high = browser_page.evaluate("window.ramps.slice(-2)")
    assert (low[0], high[0]) == (pytest.approx(0.25, abs=0.06), 0), "the loud one is turned down"
    browser_page.get_by_label("Match loudness").uncheck()
    assert browser_page.evaluate("window.ramps.slice(-2)")[0][0] == 1


def test_position_and_pause(browser_page: BrowserPage, page_file: Path) -> None:
    opened(browser_page, page_file)
    browser_page.keyboard.press("ArrowRight")
    expect(browser_page.locator("#time")).to_have_text("0:02.0")
    browser_page.get_by_label("Play", exact=True).click()
    played_until(browser_page, 2.3)
    browser_page.get_by_label("Pause", exact=True).click()
    stopped = browser_page.locator("#time").inner_text()
    assert browser_page.evaluate("window.started[0][1]") == pytest.approx(2.0, abs=0.01)
    browser_page.keyboard.press("2")
    expect(browser_page.locator("#time")).to_have_text(stopped)


def test_hidden_names_are_shown_when_asked_for(browser_page: BrowserPage, page_file: Path) -> None:
    opened(browser_page, page_file)
    expect(browser_page.get_by_text("low.wav")).to_be_visible()
    browser_page.get_by_label("Hide names").check()
    expect(browser_page.get_by_text("low.wav")).to_have_count(0)
    assert "wav" not in browser_page.locator("main").inner_text()
    for _ in range(3):
        browser_page.get_by_role("button", name="I prefer this").first.click()
    expect(browser_page.get_by_role("status")).to_contain_text("Choice 3 is counted")
    shot(browser_page, "compare_blind")
    browser_page.get_by_role("button", name="Show names and choices").click()
    rows = browser_page.locator("#votes tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["low.wav", "high.wav"]
    counts = [int(row.split()[1]) for row in rows]
    assert sum(counts) == 3
    shot(browser_page, "compare_shown")


@pytest.mark.parametrize("width", [400, 800])
def test_it_fits_narrow_windows(browser_page: BrowserPage, page_file: Path, width: int) -> None:
    browser_page.set_viewport_size({"width": width, "height": 800})
    opened(browser_page, page_file)
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= width
    shot(browser_page, f"compare_{width}")
