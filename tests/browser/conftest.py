"""A real browser with the network off. Run with: python -m pytest -m browser tests/browser"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.browser.lab import jupyter_lab

CHROMIUM = os.environ.get("JUKEBOX_KIT_CHROMIUM", "/usr/bin/chromium")
# A sound of its own in place of a microphone, and no question whether it may be heard.
MICROPHONE = ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")
QUIET = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync", "disable-quic")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, without a screen."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"there is no {CHROMIUM}; apt-get install chromium, or name one in JUKEBOX_KIT_CHROMIUM")
    with sync_playwright() as playwright:
        flags = [f"--{flag}" for flag in (*QUIET, *MICROPHONE, "no-sandbox", "disable-gpu")]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A page with the network off; the test fails where it asks for something there or complains of anything."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_offline(True)
    asked: list[str] = []
    said: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(("file:", "data:", "about:")), refuse)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    yield page
    context.close()
    assert asked == []
    assert said == []


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("lab")
    with jupyter_lab(folder) as address:
        yield folder, address


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """The folder for pictures: that of JUKEBOX_KIT_SHOTS, or a temporary one."""
    folder = Path(os.environ.get("JUKEBOX_KIT_SHOTS") or tmp_path / "shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
