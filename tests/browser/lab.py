"""JupyterLab as a person has it: started on a folder with a notebook, and driven in a browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, TimeoutError

from tests.conftest import TESTS

NOTEBOOKS = TESTS.parent / "notebooks"
# Openings of the demo are made in a second; a person has to be able to look on, and to press Stop in the middle.
SLOWER = """
import time
from jukebox_kit.engine.loop import TokenLoop

def advance(loop, quickly=TokenLoop.advance):
    quickly(loop)
    if len(loop.codes) > 1:  # openings side by side, not what is upsampled alone
        time.sleep(0.008)

TokenLoop.advance = advance
"""


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Start JupyterLab on a folder that holds copies of the notebooks; gives its address."""
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = folder / ".home"  # nothing of a person's own settings counts here
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS.parent),
        "OMP_NUM_THREADS": "1",
        **{f"JUPYTER_{kind}_DIR": str(own / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")},
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
    }
    settings = ["--ServerApp.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", "--allow-root"]
    quiet = own / "settings" / "@jupyterlab" / "apputils-extension"  # no questions about news
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    startup = own / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "slower.py").write_text(SLOWER)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", f"--notebook-dir={folder}"]
    log = folder / "lab.log"
    with log.open("wb") as out:
        server = subprocess.Popen([*command, *settings], env=environment, stdout=out, stderr=out, cwd=folder)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/status", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


class Notebook:
    """One notebook in a browser's page."""

    def __init__(self, page: Page, address: str, name: str, shots: Path) -> None:
        self.page, self.address, self.name, self.shots = page, address, name, shots

    def open(self) -> None:
        """Open it and wait until its kernel answers."""
        self.page.goto(f"{self.address}/lab/tree/{self.name}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60000)
        self._choose_kernel()
        self.page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60000)

    def _choose_kernel(self) -> None:
        """Take the kernel that is offered, where the browser asks."""
        self.page.wait_for_timeout(1500)
        select = self.page.locator(".jp-Dialog button", has_text="Select")
        if select.count():
            select.first.click()

    def run_all(self) -> None:
        """Run all cells by the menu."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def save(self) -> None:
        """Save by the keyboard, and wait until it is saved."""
        self.page.keyboard.press("Control+s")
        self.page.wait_for_timeout(1500)

    def type(self, name: str, text: str) -> None:
        """Type into a field of the panel, in place of what it holds."""
        field = self.page.locator(f".jk-{name} input, .jk-{name} textarea").first
        field.fill(text)
        field.press("Tab")

    def slide(self, name: str, value: str) -> None:
        """Type a slider's value in place of the one that it shows."""
        readout = self.page.locator(f".jk-{name} .widget-readout").first
        readout.fill(value)
        readout.press("Enter")

    def click(self, name: str) -> None:
        """Press a button of the panel once it can be pressed."""
        self.page.locator(f"button.jk-{name}:not([disabled])").first.click(timeout=60000)

    def said(self, name: str) -> str:
        """Return the words of a part of the panel."""
        return str(self.page.locator(f".jk-{name}").first.inner_text())

    def wait_for(self, name: str, words: str, seconds: float = 120) -> None:
        """Wait until a part of the panel says something; a picture of what there is instead is kept."""
        try:
            self.page.locator(f".jk-{name}", has_text=words).first.wait_for(timeout=seconds * 1000)
        except TimeoutError:
            self.page.screenshot(path=self.shots / "failed.png")
            raise AssertionError(f"{name} said {self.said(name)!r}, not {words!r}") from None

    def bar(self, level: int) -> float:
        """Return how far a level's bar is, from 0 to 1."""
        bar = self.page.locator(f".jk-bar-{level} .progress-bar").first
        return float(bar.evaluate("bar => bar.getBoundingClientRect().width / bar.parentElement.clientWidth"))

    def duration(self, item: int) -> float:
        """Return what an item's audio element says of its length, in seconds."""
        return float(
            self.page.locator(f"audio.jk-player-{item}, .jk-player-{item} audio").first.evaluate(
                "audio => audio.readyState ? audio.duration"
                " : new Promise(done => { audio.onloadedmetadata = () => done(audio.duration); audio.load(); })"
            )
        )

    def answer_time(self, name: str) -> float:
        """Return the seconds from pressing a button to the words of its callback, here of a wrong preset's name."""
        self.type("preset_name", name)
        begun = time.monotonic()
        self.click("save-preset")
        self.wait_for("said-preset_name", f"'{name}' cannot be")
        return time.monotonic() - begun

    def shot(self, name: str) -> None:
        """Keep a picture of the whole panel."""
        self.page.locator(".jk-panel, .jk-night").first.screenshot(path=self.shots / f"{name}.png")
