# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The examples run as a user runs them: as scripts, from any folder, without a network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path


EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name, *arguments, cwd):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def token_account(output):
    total, visual, text = (
        int(re.search(rf"^ *{name} +(\d+) tokens", output, re.MULTILINE)[1]) for name in ("prompt", "visual", "text")
    )
    assert total == visual + text and visual > 0
    rows, height, width = map(int, re.search(r"= (\d+) x (\d+) x (\d+) patches", output).groups())
    assert visual == rows * height * width // 4
    return rows


def test_quickstart_answers_rightly_and_shows_why(tmp_path):
    output = run_example("quickstart.py", cwd=tmp_path)
    assert token_account(output) == 4
    answer, truth = (
        json.loads(re.search(rf"^{name} +(\[.*\])$", output, re.MULTILINE)[1]) for name in ("answer", "truth")
    )
    assert answer == truth
    # A picture of ten patches height for every time of the answer, its time above it.
    title, *lines = output.split("(blank: nothing):\n\n")[1].splitlines()
    assert [f"{seconds:.2f} s" for seconds in answer] == re.findall(r"\S+ s", title)
    assert len(lines) == 10 and all(line.count("|") == len(answer) - 1 for line in lines)
    assert len(set("".join(lines))) > 5
    assert not list(tmp_path.iterdir())


def test_quickstart_samples_frames(tmp_path):
    output = run_example("quickstart.py", "--video-backend", "frames", "--max-new-tokens", 4, cwd=tmp_path)
    assert token_account(output) == 8 and "(frames)" in output


def test_quickstart_takes_a_model_and_a_video(tmp_path):
    output = run_example(
        "quickstart.py",
        *("--model", EXAMPLES / "assets" / "ov2-micro", "--video", EXAMPLES / "assets" / "lamp.mp4"),
        *("--question", "How often does it flash?", "--max-new-tokens", 2),
        cwd=tmp_path,
    )
    assert "lamp.mp4" in output and "How often does it flash?" in output and "truth" not in output


def test_assets_are_what_the_script_makes(tmp_path):
    """Captions, configuration and tokenizer again, byte for byte; encoders differ by version, so clips by content."""
    run_example("make_assets.py", "--output", tmp_path, cwd=tmp_path)
    assets = EXAMPLES / "assets"
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {path.relative_to(assets) for path in assets.rglob("*") if path.is_file()} - {Path("README.md")}
    assert made == {path for path in shipped if path.parts[0] != "ov2-micro"}  # which train_micro.py makes
    for name in ("captions.jsonl", "questions.jsonl", "tiny-ov2/tokenizer.json", "tiny-ov2/chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (assets / name).read_bytes()
