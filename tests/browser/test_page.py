"""The page of a song in a real browser, from file://, with the network off."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as BrowserPage

from jukebox_kit.song.audio import wav_bytes
from jukebox_kit.song.lyrics.timing import Line
from jukebox_kit.song.page.html import LevelState
from jukebox_kit.song.page.page import Page, PageItem, Sound, render
from jukebox_kit.song.pictures import heat_map_png, strip_png

pytestmark = pytest.mark.browser

SR = 16000
SECONDS = 6.0
LINES = (Line(0.0, 1.5, "la la la"), Line(1.5, 3.0, "lo lo lo"), Line(4.0, 6.0, "li li li"))
HOSTILE = "</script><img src=x onerror=\"window.ran=1\"><script>window.ran=2</script>' onclick='window.ran=3"


def tone(seconds: float, hertz: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (0.2 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SR)) / SR)).astype(np.float32)


def written(folder: Path, lengths: dict[tuple[int, int], float], **fields: Any) -> Path:
    """Write a page with sounds by (item, level) of some seconds each; returns index.html."""
    sounds: dict[int, list[Sound]] = {}
    for (item, level), seconds in sorted(lengths.items()):
        audio = tone(seconds, 220 * (1 + level) + 60 * item)
        name = f"level_{level}/item_{item}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.wav").write_bytes(wav_bytes(audio, SR))
        (folder / f"{name}.png").write_bytes(strip_png(audio, SR))
        sounds.setdefault(item, []).append(Sound(level, f"{name}.wav", f"{name}.png", seconds))
    items = tuple(PageItem(item, tuple(found), LINES) for item, found in sounds.items())
    state = tuple(LevelState(level, 1.0, "complete") for level in (2, 1, 0))
    page = Page("The Beatles", "pop", "tiny", SECONDS, items, "la la la\nlo lo lo\nli li li", state=state)
    (folder / "index.html").write_text(render(replace(page, **fields)), encoding="utf-8")
    return folder / "index.html"


WHOLE = {(item, level): SECONDS for item in (0, 1) for level in (0, 1, 2)}


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("whole") / "song", WHOLE)


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song of which level 0 is made for a second, level 1 for two, level 2 for all."""
    return written(tmp_path_factory.mktemp("growing") / "song", {(0, 0): 1.0, (0, 1): 2.0, (0, 2): SECONDS})


def voices(page: BrowserPage) -> list[dict[str, Any]]:
    """Return what sounds: file, moment, duration, and the clock's time at which that was so, in seconds."""
    found: list[dict[str, Any]] = page.evaluate(
        """() => [...document.querySelectorAll("audio")].filter((a) => !a.paused && !a.muted).map((a) => (
           {file: a.src.split("/").slice(-2).join("/"), time: a.currentTime, duration: a.duration,
            at: performance.now() / 1000}))"""
    )
    return found


def sounding(page: BrowserPage, file: str) -> dict[str, Any]:
    """Wait until a file, and it alone, sounds; returns it."""
    for _ in range(200):
        found = voices(page)
        if [voice["file"] for voice in found] == [file]:
            return found[0]
        page.wait_for_timeout(20)
    raise AssertionError(f"{file} does not sound alone, but {voices(page)}")


def to_moment(page: BrowserPage, seconds: float) -> None:
    page.locator("#seek").evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", seconds)


def test_it_plays(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    expect(browser_page.locator("#time")).to_have_text("0:00.0")
    browser_page.get_by_role("button", name="Play").click()
    first = sounding(browser_page, "level_0/item_0.wav")
    assert first["duration"] == pytest.approx(SECONDS, abs=0.01)
    browser_page.wait_for_timeout(400)
    assert 0.2 < sounding(browser_page, "level_0/item_0.wav")["time"] - first["time"] < 1.5
    expect(browser_page.locator("#duration")).to_have_text("0:06.0")
    browser_page.get_by_role("button", name="Pause").click()
    assert voices(browser_page) == []
    pictures = browser_page.evaluate("() => [...document.querySelectorAll('.lane img')].map((i) => i.naturalWidth)")
    assert pictures == [900] * 6


def test_switching_keeps_the_moment_and_goes_on_playing(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    browser_page.get_by_role("button", name="Play").click()
    sounding(browser_page, "level_0/item_0.wav")
    switches: list[tuple[Callable[[], None], str]] = [
        (lambda: browser_page.get_by_role("button", name="Level 2", exact=True).click(), "level_2/item_0.wav"),
        (lambda: browser_page.keyboard.press("1"), "level_1/item_0.wav"),
        (lambda: browser_page.keyboard.press("n"), "level_1/item_1.wav"),
        (lambda: browser_page.get_by_role("button", name="Hear level 0 of item 1").click(), "level_0/item_1.wav"),
        (lambda: browser_page.keyboard.press("p"), "level_0/item_0.wav"),
    ]
    for switch, file in switches:
        browser_page.wait_for_timeout(150)
        (before,) = voices(browser_page)
        switch()
        after = sounding(browser_page, file)
        assert after["time"] - before["time"] == pytest.approx(after["at"] - before["at"], abs=0.1), file


def test_switching_while_paused_keeps_the_moment(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    to_moment(browser_page, 2.5)
    for key in ("2", "1", "n", "0", "b", "p"):
        browser_page.keyboard.press(key)
        expect(browser_page.locator("#time")).to_have_text("0:02.5")
    assert voices(browser_page) == []
    browser_page.keyboard.press("Space")
    assert 2.5 <= sounding(browser_page, "level_0/item_0.wav")["time"] < 3.5


def test_many_quick_choices_leave_one_voice(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    browser_page.keyboard.press("Space")
    for key in "2n10pn2p1nb2":
        browser_page.keyboard.press(key)
    sounding(browser_page, "level_2/item_1.wav")
    browser_page.wait_for_timeout(300)
    sounding(browser_page, "level_2/item_1.wav")


def test_best_plays_each_moment_by_the_finest_level_there(growing: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(growing.as_uri())
    says = browser_page.locator("#says")
    for moment, level in ((0.2, 0), (1.4, 1), (3.0, 2), (0.5, 0)):
        to_moment(browser_page, moment)
        expect(says).to_have_text(f"Item 0, level {level}: the best available at this moment.")
    browser_page.keyboard.press("Space")
    sounding(browser_page, "level_0/item_0.wav")
    assert 0.9 < sounding(browser_page, "level_1/item_0.wav")["time"] < 1.5
    assert 1.9 < sounding(browser_page, "level_2/item_0.wav")["time"] < 2.5


def test_where_the_chosen_level_ends_a_better_one_goes_on_and_it_is_said(
    growing: Path, browser_page: BrowserPage
) -> None:
    browser_page.goto(growing.as_uri())
    browser_page.keyboard.press("0")
    says = browser_page.locator("#says")
    expect(says).to_have_text("Item 0, level 0.")
    to_moment(browser_page, 0.6)
    browser_page.keyboard.press("Space")
    assert 0.9 < sounding(browser_page, "level_1/item_0.wav")["time"] < 1.5
    expect(says).to_have_text("Item 0, level 1: level 0 is available up to 0:01.0 so far.")
    to_moment(browser_page, 0.2)
    sounding(browser_page, "level_0/item_0.wav")
    expect(says).to_have_text("Item 0, level 0.")


def test_it_ends_and_begins_again(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    to_moment(browser_page, 5.6)
    browser_page.keyboard.press("Space")
    expect(browser_page.get_by_role("button", name="Play")).to_be_visible()
    expect(browser_page.locator("#time")).to_have_text("0:06.0")
    browser_page.keyboard.press("Space")
    assert sounding(browser_page, "level_0/item_0.wav")["time"] < 1


def test_the_line_that_is_sung_is_marked_and_a_click_goes_there(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    current = browser_page.locator("#lines [aria-current=true]")
    for moment, line in ((0.5, "la la la"), (2.9, "lo lo lo"), (5.0, "li li li")):
        to_moment(browser_page, moment)
        expect(current).to_have_text(line)
    to_moment(browser_page, 3.5)
    expect(current).to_have_count(0)
    browser_page.get_by_role("button", name="lo lo lo").click()
    expect(browser_page.locator("#time")).to_have_text("0:01.5")
    to_moment(browser_page, 1.2)
    browser_page.keyboard.press("Space")
    sounding(browser_page, "level_0/item_0.wav")
    expect(current).to_have_text("lo lo lo")
    assert 1.4 < voices(browser_page)[0]["time"] < 2.5


def test_pictures_and_keys_seek(song: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(song.as_uri())
    strip = browser_page.locator(".strip").nth(1)
    box = strip.bounding_box()
    assert box is not None
    strip.click(position={"x": box["width"] / 2, "y": 10})
    expect(browser_page.locator("#time")).to_have_text(re.compile(r"0:02\.9|0:03\.0"))
    expect(browser_page.locator("#says")).to_have_text("Item 0, level 1.")
    cursor = browser_page.locator(".cursor").nth(1).bounding_box()
    assert cursor is not None
    assert cursor["x"] + 1 == pytest.approx(box["x"] + box["width"] / 2, abs=1.5)
    browser_page.keyboard.press("ArrowRight")
    expect(browser_page.locator("#time")).to_have_text(re.compile(r"0:04\.9|0:05\.0"))
    for _ in range(3):
        browser_page.keyboard.press("ArrowLeft")
    expect(browser_page.locator("#time")).to_have_text("0:00.0")


def test_a_moved_folder_plays(tmp_path: Path, browser_page: BrowserPage) -> None:
    before = written(tmp_path / "before", {(0, 2): SECONDS}).parent
    after = before.rename(tmp_path / "after it's moved #1 %20")
    browser_page.goto((after / "index.html").as_uri())
    browser_page.keyboard.press("Space")
    assert sounding(browser_page, "level_2/item_0.wav")["duration"] == pytest.approx(SECONDS, abs=0.01)


def test_hostile_words_run_nothing(tmp_path: Path, browser_page: BrowserPage) -> None:
    lines = (Line(0.0, SECONDS, HOSTILE),)
    sounds = (Sound(2, "level_2/item_0.wav", None, SECONDS),)
    items = (PageItem(0, sounds, lines),)
    words = {"artist": HOSTILE, "lyrics": HOSTILE, "notes": (HOSTILE,), "items": items}
    browser_page.goto(written(tmp_path, {(0, 2): SECONDS}, **words).as_uri())
    expect(browser_page.locator("h1")).to_have_text(HOSTILE)
    expect(browser_page.locator("#lines button")).to_have_text(HOSTILE)
    browser_page.locator("#lines button").click()
    assert browser_page.evaluate("window.ran") is None


def test_the_page_s_policy_lets_no_other_script_run(song: Path, browser: Browser) -> None:
    """What would hold even where some text were not escaped."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(song.as_uri())
    page.evaluate("""document.body.insertAdjacentHTML('afterbegin', '<p id="trap" onclick="window.ran=1">x</p>')""")
    page.evaluate("const s = document.createElement('script'); s.text = 'window.ran = 2'; document.body.append(s)")
    page.locator("#trap").click()
    assert page.evaluate("window.ran") is None
    context.close()


def test_a_file_that_is_gone_is_said_and_another_level_plays(tmp_path: Path, browser_page: BrowserPage) -> None:
    index = written(tmp_path, {(0, 1): SECONDS, (0, 2): SECONDS})
    (tmp_path / "level_1" / "item_0.wav").write_bytes(b"no audio")
    browser_page.goto(index.as_uri())
    browser_page.keyboard.press("Space")
    sounding(browser_page, "level_2/item_0.wav")
    expect(browser_page.locator("#says")).to_contain_text("Level 1 of item 0 cannot be played")


def test_data_uris_in_a_frame_play_as_in_the_notebook(tmp_path: Path, browser_page: BrowserPage) -> None:
    def uri(kind: str, content: bytes) -> str:
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    audio = tone(SECONDS, 300)
    picture = uri("image/png", strip_png(audio, SR))
    weights = np.eye(20, dtype=np.float32)
    heat_map = uri("image/png", heat_map_png(weights, SECONDS, ["la la la l", "lo lo lol"], "item 0"))
    sounds = tuple(Sound(level, uri("audio/wav", wav_bytes(audio, SR)), picture, SECONDS) for level in (1, 2))
    page = render(Page("a", "b", "tiny", SECONDS, (PageItem(0, sounds, LINES, heat_map),)))
    outer = tmp_path / "outer.html"
    outer.write_text(f'<meta charset="utf-8"><iframe width=1000 height=800 srcdoc="{html.escape(page)}"></iframe>')
    browser_page.goto(outer.as_uri())
    frame = browser_page.frames[1]
    frame.get_by_role("button", name="Play").click()
    frame.wait_for_function("() => [...document.querySelectorAll('audio')].some((a) => a.currentTime > 0.2)")
    frame.get_by_role("button", name="Level 2", exact=True).click()
    expect(frame.locator("#says")).to_have_text("Item 0, level 2.")
    frame.locator("summary", has_text="attended").click()
    assert frame.locator("#heat-map").evaluate("(i) => i.naturalWidth") > 500


@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_narrow_and_wide_windows(song: Path, browser_page: BrowserPage, width: int) -> None:
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.goto(song.as_uri())
    expect(browser_page.locator("#player")).to_be_visible()
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_with_nothing_to_hear_says_so(tmp_path: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(written(tmp_path, {(0, 2): 1.0}, items=(PageItem(0, ()),)).as_uri())
    expect(browser_page.locator("#silent")).to_be_visible()
    expect(browser_page.locator("#player")).to_be_hidden()
