# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
The playground in a headless browser, used as a person uses it. Needs gradio and playwright, and Chromium at
/usr/bin/chromium (Debian's package); `OV2_SCREENSHOTS=folder` keeps what the page looked like.
"""

import os
import re
from pathlib import Path

import pytest


gr = pytest.importorskip("gradio", reason="needs gradio")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")]

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def app(load_example):
    return load_example("playground/app.py")


@pytest.fixture(scope="module")
def page(app):
    demo = app.build(app.Model(str(EXAMPLES / "assets" / "tiny-ov2")))
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, allowed_paths=[str(app.ASSETS)])
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=options)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(url)
        yield page
        browser.close()
    demo.close()


def keep(page, name: str) -> None:
    if folder := os.environ.get("OV2_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def upload(page, path: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(str(path))


def test_a_file_that_is_no_video_gives_a_message(page, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    upload(page, broken)
    page.get_by_text("not a readable video").first.wait_for()
    keep(page, "broken")
    page.reload()


def test_upload_pictures_budget_and_question(page):
    upload(page, EXAMPLES / "assets" / "ball.mp4")
    stream = page.get_by_label("Stream", exact=True)
    playwright.expect(stream).to_have_value(containing("16 canvases"), timeout=120_000)
    page.wait_for_timeout(1000)
    keep(page, "energy")
    for name in ("Signals", "Selection", "Rebuild", "Canvases", "Tokens"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(500)
        keep(page, name.lower())
    page.get_by_label("state", exact=True).check()
    page.locator("input[type=range]").first.fill("8")
    page.locator("input[type=range]").first.dispatch_event("pointerup")
    playwright.expect(stream).to_have_value(containing("8 canvases of 2 groups"), timeout=120_000)
    page.get_by_role("button", name="Ask").click()
    tokens = page.get_by_label("Tokens", exact=True).last
    playwright.expect(tokens).to_have_value(containing("as frames"), timeout=120_000)
    codec, frames = (int(word) for word in tokens.input_value().split() if word.isdigit())
    assert 0.8 * codec < frames < 1.1 * codec
    keep(page, "answer")


def containing(text: str) -> re.Pattern:
    return re.compile(re.escape(text))
