"""The panel for your own model in JupyterLab, in a real browser: from an upload to a model that can be sampled from."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from jukebox_kit.training.runs import read_run
from tests.browser.lab import Notebook, jupyter_lab
from tests.own_music import ORGAN, write_clips

pytestmark = pytest.mark.browser
SHOTS = Path(os.environ.get("JUKEBOX_KIT_SHOTS", ""))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("lab")
    with jupyter_lab(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of seven recordings for the demo, one of which is too short."""
    folder = write_clips(tmp_path_factory.mktemp("music") / "My band", [ORGAN], 6, 5, (9.0, 12.0))
    (folder / "metadata.csv").unlink()
    write_clips(folder / "sketches", [ORGAN], 1, 6, (1.0, 1.1))
    (folder / "sketches" / "metadata.csv").unlink()
    return folder


def opened(browser: Browser, address: str, shots: Path) -> Notebook:
    page = browser.new_page(viewport={"width": 1280, "height": 1200})
    return Notebook(page, address, "finetune.ipynb", shots)


def in_dark(page: Page, dark: bool) -> None:
    """Choose JupyterLab's theme by its menu."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
    wanted = f"JupyterLab {'Dark' if dark else 'Light'}"
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{wanted}$")).click()
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{'false' if dark else 'true'}'")
    page.wait_for_timeout(1000)


def in_both_themes(book: Notebook, name: str) -> None:
    book.shot(f"{name}-light")
    in_dark(book.page, True)
    book.shot(f"{name}-dark")
    in_dark(book.page, False)


def test_an_uploaded_folder_is_trained_on_stopped_resumed_and_heard(
    lab: tuple[Path, str], browser: Browser, band: Path
) -> None:
    folder, address = lab
    shots = SHOTS if str(SHOTS) != "." else folder / "shots"
    shots.mkdir(parents=True, exist_ok=True)
    book = opened(browser, address, shots)
    page = book.page
    book.open()
    book.run_all()
    page.wait_for_selector(".jk-panel .jk-runs", timeout=120000)

    # Nothing is chosen; then a folder is uploaded, and arrives whole.
    book.click("prepare")
    book.wait_for("said-folder", "Choose the folder with your recordings")
    page.locator("input.jk-upload-folder").set_input_files(band)
    book.wait_for("said-folder", "Directly in it: 12 files, 1 folder.")
    sent = sorted(path.relative_to(band) for path in band.rglob("*.*"))
    arrived = folder / "music" / "My band"
    assert sorted(path.relative_to(arrived) for path in arrived.rglob("*.*")) == sent
    assert all((arrived / path).read_bytes() == (band / path).read_bytes() for path in sent)
    in_both_themes(book, "finetune-1-music")

    # What was found, and the plan.
    book.click("prepare")
    book.wait_for("ended", "The recordings are encoded")
    book.wait_for("found", "1 recording refused")
    book.wait_for("found", "My band (6)")
    book.type("steps", "none")
    book.click("plan")
    book.wait_for("said-steps", "'none' is not a whole number")
    book.type("steps", "40")
    book.click("plan")
    book.wait_for("plan-facts", "my band")
    in_both_themes(book, "finetune-2-plan")

    # Training: callbacks answer while it runs; Stop saves.
    book.click("start")
    book.wait_for("words", "step ", 300)
    book.wait_for("bits", "After 0 steps", 300)
    page.wait_for_function("document.querySelector('.jk-bar .progress-bar')?.offsetWidth > 20", timeout=300000)
    in_both_themes(book, "finetune-3-training")
    begun = time.monotonic()
    book.click("stop")
    book.wait_for("ended", "Stopped. Everything is saved", 60)
    stopped = time.monotonic() - begun
    saved = read_run(folder / "models" / "mine", 2)
    assert saved is not None
    assert 0 < saved.progress.step < 40

    # The page is closed, and the kernel, too; opened again, the run is listed and resumed.
    book.save()
    page.close()
    book = opened(browser, address, shots)
    page = book.page
    book.open()
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("Restart Kernel and Run All")).click()
    page.locator(".jp-Dialog button", has_text="Restart").click()
    runs = page.locator(".jk-runs select").last
    runs.wait_for(timeout=120000)
    page.wait_for_timeout(3000)
    page.locator(".jk-runs select").first.select_option(index=1)
    book.wait_for("bits", "steps")
    page.wait_for_timeout(2000)
    in_both_themes(book, "finetune-4-again")
    book.click("resume")
    book.wait_for("ended", "models/mine is trained", 600)
    book.wait_for("outcome", 'model="mine"')
    audio = page.locator("audio.jk-play-tuned, .jk-play-tuned audio").first
    audio.evaluate("audio => { audio.muted = true; return audio.play(); }")
    page.wait_for_timeout(1000)
    assert audio.evaluate("audio => audio.currentTime") > 0.3
    in_both_themes(book, "finetune-5-done")
    (shots / "tuning-answers.txt").write_text(f"seconds until Stop had saved: {stopped:.2f}\n")
    assert "Traceback" not in (folder / "finetune.ipynb").read_text()
    page.close()
