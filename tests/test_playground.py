# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
The playground in a headless browser, used as a person uses it, with the micro model. Needs gradio and playwright, and
Chromium at /usr/bin/chromium (Debian's package); `OV2_SCREENSHOTS=folder` keeps what the page looked like.
"""

import json
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
    demo = app.build(str(EXAMPLES / "assets" / "ov2-micro"))
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, allowed_paths=[str(app.ASSETS)])
    playwright.expect.set_options(timeout=120_000)
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


def test_the_question_about_the_bundled_clip_is_answered(page):
    """With the model's own budget; frames of as many tokens, beside it, do not show the jumps."""
    row = json.loads((EXAMPLES / "assets" / "questions.jsonl").read_text().splitlines()[0])
    upload(page, EXAMPLES / "assets" / row["video"])
    stream = page.get_by_label("Stream", exact=True)
    playwright.expect(stream).to_have_value(containing("4 canvases of 1 groups, 140 visual tokens"))
    assert page.get_by_label("Question", exact=True).input_value() == row["question"]
    page.get_by_role("button", name="Ask").click()
    tokens = page.get_by_label("Tokens", exact=True).last
    playwright.expect(tokens).to_have_value(containing("as frames"))
    assert json.loads(page.get_by_label("From the codec stream").input_value()) == row["answer"]
    assert page.get_by_label("From frames, at equal tokens").input_value() not in ("", json.dumps(row["answer"]))
    codec, frames = (int(word) for word in tokens.input_value().split() if word.isdigit())
    assert 0.8 * codec < frames < 1.1 * codec
    keep(page, "answer")
    page.reload()


def test_pictures_follow_the_budget_the_selection_and_the_weights(page):
    upload(page, EXAMPLES / "assets" / "ball.mp4")
    stream = page.get_by_label("Stream", exact=True)
    playwright.expect(stream).to_have_value(containing("4 canvases of 1 groups"))
    page.wait_for_timeout(1000)
    keep(page, "energy")
    for name in ("Signals", "Rebuild", "Canvases", "Tokens", "Selection"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(500)
        keep(page, name.lower())
    picture = page.get_by_role("tabpanel").locator("img").filter(visible=True)

    def changed(before: str) -> str:
        playwright.expect(picture).not_to_have_attribute("src", before)
        return picture.get_attribute("src")

    source = picture.get_attribute("src")
    slider = page.locator("input[type=range]")
    for at, value in ((0, "8"), (3, "0")):  # canvases; the weight of the bitrate
        slider.nth(at).fill(value)
        slider.nth(at).dispatch_event("pointerup")
        source = changed(source)
    playwright.expect(stream).to_have_value(containing("8 canvases of 2 groups"))
    page.get_by_label("state", exact=True).check()
    changed(source)
    keep(page, "state")


def containing(text: str) -> re.Pattern:
    return re.compile(re.escape(text))
