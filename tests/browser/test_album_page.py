"""The page of an album in a real browser, from file://, with the network off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect

import jukebox_kit as jk
from jukebox_kit.jobs.album.page import write_album_page
from jukebox_kit.song.song import Song
from tests.browser.pages import play, shot

pytestmark = pytest.mark.browser

REQUEST: dict[str, Any] = {"lyrics": "la la", "seconds": 2, "items": 2}
SOUNDING = "() => [...document.querySelectorAll('audio')].filter((a) => !a.paused).map((a) => a.getAttribute('src'))"


@pytest.fixture(scope="module")
def album(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 200 songs: two finished ones with names of their own, 60 finished, 60 begun, the rest not."""
    folder = tmp_path_factory.mktemp("an album #1")
    first = jk.sample(Song.create(folder / "Café nö 1", model=tiny, artist="The Beatles", genre="pop", **REQUEST))
    second = jk.sample(Song.create(folder / "two", model=tiny, artist="Zac Brown Band", genre="country", **REQUEST))
    begun = jk.level_2(Song.create(folder / "begun", model=tiny, artist="The Beatles", genre="pop", **REQUEST))
    copies = [shutil.copytree(one, folder / f"song {i:03}") for i in range(60) for one in (first.root,)]
    copies += [shutil.copytree(begun.root, folder / f"half {i:03}") for i in range(60)]
    waiting = [folder / f"waiting {i:03}" for i in range(77)]
    songs = [first.root, second.root, begun.root, *copies, *waiting]
    return write_album_page(folder, "An album", "200 songs", songs, {"Ranks": "3", "Made with": "jukebox-kit"})


def test_songs_are_found_and_one_alone_is_heard(album: Path, browser_page: BrowserPage) -> None:
    browser_page.goto(album.as_uri())
    rows, shown = browser_page.locator(".song:visible"), browser_page.get_by_text("songs shown")
    expect(shown).to_have_text("200 of 200 songs shown")
    shot(browser_page, "album")

    browser_page.get_by_label("Filter").fill("cafe BEAT")
    expect(rows).to_have_count(1)
    expect(shown).to_have_text("1 of 200 songs shown")
    browser_page.get_by_label("Filter").fill("beatles")
    browser_page.get_by_role("button", name="Unfinished").focus()
    browser_page.keyboard.press("Enter")
    expect(browser_page.get_by_role("button", name="Unfinished")).to_have_attribute("aria-pressed", "true")
    expect(rows).to_have_count(61)
    browser_page.get_by_label("Filter").fill("")
    expect(rows).to_have_count(138)
    browser_page.get_by_role("button", name="Done").click()
    expect(rows).to_have_count(62)

    play(browser_page, "two, item 1, level 0")
    browser_page.wait_for_function("() => [...document.querySelectorAll('audio')].some((a) => a.currentTime > 0.1)")
    assert browser_page.evaluate(SOUNDING) == ["two/level_0/item_1.wav"]
    play(browser_page, "Café nö 1, item 0, level 0")
    browser_page.wait_for_function(f"() => ({SOUNDING})().length === 1")
    assert browser_page.evaluate(SOUNDING) == ["Caf%C3%A9%20n%C3%B6%201/level_0/item_0.wav"]
    browser_page.get_by_role("button", name="Unfinished").click()
    browser_page.wait_for_function(f"() => ({SOUNDING})().length === 0")

    browser_page.get_by_role("button", name="All").click()
    with browser_page.expect_navigation():
        browser_page.get_by_role("link", name="Café nö 1", exact=True).click()
    expect(browser_page.locator("h1")).to_have_text("The Beatles")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_windows(album: Path, browser_page: BrowserPage, width: int, scheme: Any) -> None:
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.emulate_media(color_scheme=scheme)
    browser_page.goto(album.as_uri())
    expect(browser_page.locator("#tools")).to_be_visible()
    shot(browser_page, f"album-{scheme}-{width}")
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= width
