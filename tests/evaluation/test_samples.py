# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from transformers_ov2.evaluation.samples import read_samples, score_answers


@pytest.fixture
def write(tmp_path):
    for name in ("a.mp4", "b.png"):
        (tmp_path / name).touch()

    def build(*records, name="questions.jsonl"):
        path = tmp_path / name
        lines = [json.dumps(record) for record in records]
        path.write_text("\n".join(lines) if name.endswith("jsonl") else f"[{','.join(lines)}]")
        return path

    return build


# One record in the form of each benchmark's own file, and what must be made of it.
@pytest.mark.parametrize(
    ("record", "task", "truth", "in_question"),
    [
        (
            {"id": "x", "video_path": "a.mp4", "question": "List the jumps.", "answer": "[1.5, 0.25]"},
            "jumps",
            [0.25, 1.5],
            "List the jumps.",
        ),
        (
            {"video_path": "a.mp4", "query": "a dog barks", "span": [[1, 2.5]]},
            "grounding",
            (1.0, 2.5),
            "'a dog barks'",
        ),
        (
            {"video_path": "a.mp4", "query": "a dog barks", "span": "[[1, 2]]"},
            "grounding",
            (1.0, 2.0),
            "'a dog barks'",
        ),
        (
            {"video": "a.mp4", "caption": "a door opens", "timestamp": [3, 4]},
            "grounding",
            (3.0, 4.0),
            "'a door opens'",
        ),
        (
            {
                "videoID": "a",
                "question": "What?",
                "options": ["A. red", "B. blue"],
                "answer": "B",
                "question_id": "1-1",
            },
            "choice",
            1,
            "What?\nA. red\nB. blue\n",
        ),
        (
            {"video": "a.mp4", "question": "What?", "candidates": ["red", "blue"], "answer": "blue"},
            "choice",
            1,
            "What?\nA. red\nB. blue\n",
        ),
        ({"video_path": "a.mp4", "question": "What?\n(A) red (B) blue", "answer": "B"}, "choice", 1, "(B) blue"),
        ({"image": "b.png", "question": "How many?", "answer": 3, "task": "count"}, "count", 3.0, "How many?"),
    ],
)
def test_records_of_the_benchmarks(write, record, task, truth, in_question):
    (sample,) = read_samples(write(record))
    assert (sample.task, sample.truth) == (task, truth)
    assert in_question in sample.question
    (block,) = sample.media
    assert block[block["type"]].endswith((".mp4", ".png"))
    assert sample.conversation[0]["content"][-1] == {"type": "text", "text": sample.question}


def test_json_and_parquet_hold_the_same(write, tmp_path):
    import pyarrow
    from pyarrow.parquet import write_table

    record = {"id": "x", "video_path": "a.mp4", "question": "List the jumps.", "answer": "[1.0]"}
    write_table(pyarrow.Table.from_pylist([record]), tmp_path / "questions.parquet")
    lines = read_samples(write(record))
    assert read_samples(write(record, name="questions.json")) == lines
    assert read_samples(tmp_path / "questions.parquet") == lines

    # A table gives every record the columns of all.
    mixed = [
        {"video": "a.mp4", "question": "?", "answer": "1", "task": "count"},
        {"images": ["b.png"], "question": "?", "answer": "x", "task": "choice", "options": ["x", "y"]},
    ]
    strings = pyarrow.list_(pyarrow.string())
    types = dict.fromkeys(("video", "question", "answer", "task"), pyarrow.string())
    schema = pyarrow.schema({**types, "images": strings, "options": strings})
    write_table(pyarrow.Table.from_pylist(mixed, schema), tmp_path / "mixed.parquet")
    assert read_samples(tmp_path / "mixed.parquet") == read_samples(write(*mixed))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"foo": 1}], "record 0: a record with the fields foo is of no known form"),
        ([{"video": "a.mp4", "question": "?", "answer": "x", "task": "sing"}], "'sing' is none of"),
        ([{"video": "a.mp4", "question": "?", "options": ["a", "b"], "answer": "c"}], "neither an option nor"),
        ([{"image": "b.png", "question": "?", "answer": "1", "task": "text", "id": "x"}] * 2, "occurs twice"),
        ([], "holds no record"),
        (["text"], "record 0: must be an object, got str"),
        ([{"image": "b.png", "answer": "1", "task": "text"}], "record 0: `question` is missing"),
    ],
)
def test_bad_records_are_named(write, records, message):
    with pytest.raises(ValueError, match=message):
        read_samples(write(*records))


def test_separators_inside_of_a_text_end_no_line(tmp_path):
    record = {"image": "b.png", "question": "one\u2028two\x85three", "answer": "1", "task": "text"}
    (tmp_path / "b.png").touch()
    (tmp_path / "questions.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\r\n", encoding="utf-8")
    (sample,) = read_samples(tmp_path / "questions.jsonl")
    assert sample.question == record["question"]


@pytest.mark.parametrize(("name", "where"), [("damaged.jsonl", "line 2"), ("damaged.json", "damaged.json")])
def test_damaged_files_are_named(tmp_path, name, where):
    (tmp_path / name).write_text('{"a": 1}\n{"a": ')
    with pytest.raises(ValueError, match=f"{where}: is no JSON"):
        read_samples(tmp_path / name)


def test_missing_clips_are_named(write):
    with pytest.raises(FileNotFoundError, match="missing.mp4"):
        read_samples(write({"video": "missing.mp4", "question": "?", "answer": 1, "task": "count"}))


def test_scores_by_task(write, tmp_path):
    masks = np.zeros((2, 1, 10, 20), dtype=bool)
    masks[0, 0, :5, :5] = True  # in the second frame there is no object
    np.savez(tmp_path / "masks.npz", masks=masks, seconds=[0.0, 1.0])
    clip = {"video": "a.mp4", "question": "?"}
    samples = read_samples(
        write(
            clip | {"id": "j1", "task": "jumps", "answer": [1.0]},
            clip | {"id": "j2", "task": "jumps", "answer": []},
            clip | {"id": "g1", "task": "grounding", "answer": [0, 4]},
            clip | {"id": "g2", "task": "grounding", "answer": [0, 4]},
            clip | {"id": "c1", "task": "choice", "options": ["x", "y"], "answer": "y"},
            clip | {"id": "n1", "task": "count", "answer": 2},
            clip | {"id": "n2", "task": "count", "answer": 2},
            clip | {"id": "t1", "task": "text", "answer": "A red ball."},
            clip | {"id": "k1", "task": "tracking", "answer": "masks.npz"},
        )
    )
    answers = {
        "j1": "[1.15]",  # missed at 0.1, hit at 0.2 and 0.3
        "j2": None,  # was never asked: not the same as the empty answer that would be right
        "g1": "0 - 2 seconds",
        "g2": None,
        "c1": "B",
        "n1": "2",
        "n2": "three",
        "t1": "a red  ball",
        "k1": '<tracks coords="0 1 100 100;1 1 100 100">ball</tracks>',  # the second point is a false alarm
    }
    table = score_answers(samples, answers)
    assert table["jumps"]["mAP"] == pytest.approx(100 / 3)
    assert table["jumps"]["AP@0.1"] == 0.0
    assert table["grounding"]["mIoU"] == pytest.approx(25.0)
    assert table["choice"] == {"samples": 1, "accuracy": 100.0}
    assert table["count"]["accuracy"] == 50.0
    assert table["text"]["accuracy"] == 100.0
    # 1 hit of 2 points and 1 object. DetA 1/2; the identity has 2 points, 1 of them matched: AssA 1/2.
    assert table["tracking"] == pytest.approx(
        {"samples": 1, "precision": 50.0, "recall": 100.0, "F1": 200 / 3, "HOTA@0.5": 50.0}
    )
    with pytest.raises(KeyError, match="t1"):
        score_answers(samples, {key: value for key, value in answers.items() if key != "t1"})
