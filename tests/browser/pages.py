"""What the tests of pages do as a person would."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page


def play(page: Page, label: str) -> None:
    """Play a sound as a person does with the keyboard: its player is focused and space pressed."""
    page.get_by_label(label, exact=True).focus()
    page.keyboard.press("Space")


def shot(page: Page, name: str, whole: bool = False) -> None:
    """Keep a picture of the window, or of the whole page, if JUKEBOX_KIT_SHOTS names a folder for it."""
    if folder := os.environ.get("JUKEBOX_KIT_SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=whole)
