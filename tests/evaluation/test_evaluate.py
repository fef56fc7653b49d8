# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`examples/evaluate.py` as a user runs it: to the end, stopped and started again, with a broken clip."""

import json
import sys
from pathlib import Path

import pytest


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def evaluate(monkeypatch, capsys, load_example):
    """Runs the script in this process; returns what it printed and why it stopped."""
    script = load_example("evaluate.py")

    def run(questions: Path, model: Path | str, *arguments) -> tuple[str, str]:
        command = ["evaluate.py", str(questions), "--model", str(model), "--target-canvas", "4", "--batch-size", "2"]
        monkeypatch.setattr(sys, "argv", [*command, "--max-new-tokens", "3", *map(str, arguments)])
        reason = ""
        try:
            script.main()
        except SystemExit as stop:
            reason = str(stop)
        captured = capsys.readouterr()
        return captured.out, captured.err + reason

    return run


def test_stopped_and_started_again_gives_the_same_table(tmp_path, tiny_model, evaluate):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips = [EXAMPLES / "assets" / "ball.mp4", EXAMPLES / "assets" / "cart.mp4", tmp_path / "broken.mp4"]
    records = [
        {"id": f"{clip.stem}-{task}", "video": str(clip), "question": "What?", "answer": truth, "task": task}
        for clip in clips
        for task, truth in (("jumps", [1.0]), ("text", "nothing"))
    ]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(record) + "\n" for record in records))

    whole, errors = evaluate(questions, tiny_model, "--json")
    table = json.loads(whole)
    assert table["errors"] == 2 and "broken-jumps" in errors
    assert {task: metrics["samples"] for task, metrics in table["scores"].items()} == {"jumps": 3, "text": 3}

    answers = questions.with_suffix(".answers.jsonl")
    lines = answers.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + len(records)
    # An answer with a separator that ends no line; stopped within the second batch, in the middle of a line.
    lines[2] = json.dumps({**json.loads(lines[2]), "answer": "a\u2028b"}, ensure_ascii=False) + "\n"
    answers.write_text("".join(lines[:4]) + lines[4][:7], encoding="utf-8")
    again, _ = evaluate(questions, tiny_model, "--json")
    assert again == whole
    found = [json.loads(line) for line in answers.read_text(encoding="utf-8").split("\n")[1:-1]]
    assert {record["id"] for record in found} == {record["id"] for record in records}

    _, errors = evaluate(questions, tiny_model, "--selection", "state")
    assert "other settings (codec was {'target_canvas': 4} and is" in errors


def test_answers_to_other_questions_or_about_other_clips_are_not_taken(tmp_path, tiny_model, evaluate):
    clips = [tmp_path / "a", tmp_path / "b"]
    for folder in clips:
        folder.mkdir()
        (folder / "clip.mp4").write_bytes((EXAMPLES / "assets" / "ball.mp4").read_bytes())
    questions = tmp_path / "questions.jsonl"
    record = {"video": "clip.mp4", "question": "What?", "answer": "nothing", "task": "text"}
    questions.write_text(json.dumps(record))
    assert "text" in evaluate(questions, tiny_model, "--clips", clips[0])[0]

    _, errors = evaluate(questions, tiny_model, "--clips", clips[1])
    assert f"(clips was '{clips[0]}' and is '{clips[1]}')" in errors
    questions.write_text(json.dumps({**record, "question": "Why?"}))
    _, errors = evaluate(questions, tiny_model, "--clips", clips[0])
    assert "(questions was 'questions.jsonl, sha256" in errors
    questions.with_suffix(".answers.jsonl").write_text('"something else"\n')
    _, errors = evaluate(questions, tiny_model, "--clips", clips[0])
    assert "was not made by this script" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-frames", 4], "--num-frames belongs to --backend frames"),
        (["--backend", "frames"], "--target-canvas belongs to --backend codec"),
        (["--clips", "nowhere"], "does not exist"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path, evaluate, arguments, message):
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"video": "a.mp4", "question": "?", "answer": 1, "task": "count"}))
    _, errors = evaluate(questions, "no-model", *arguments)
    assert message in errors
