# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`examples/pretokenize_ray.py` as a user runs it: shards of one schema, and no others beside them."""

import json
import sys

import pyarrow.parquet
import pytest
from datasets import load_dataset

from transformers_ov2.training import to_sft_dataset


def plain_loop(script):
    """What Ray's workers do, one shard after the other."""

    def make_shards(shards, arguments, num_cpus):
        made = [script.make_shard(shard, **arguments) for shard in shards]
        return {name: sum(each[name] for each in made) for name in made[0]}

    return make_shards


@pytest.fixture(params=["loop", "ray"])
def pretokenize(request, monkeypatch, capsys, load_example):
    """Runs the script in this process; returns what it printed, or why it stopped."""
    script = load_example("pretokenize_ray.py")
    if request.param == "loop":
        monkeypatch.setattr(script, "make_shards", plain_loop(script))
    else:
        pytest.importorskip("ray", reason="needs ray[data]")

    def run(manifest, output, *arguments) -> str:
        command = ["pretokenize_ray.py", "--manifest", manifest, "--output", output, "--rows-per-shard", 2]
        monkeypatch.setattr(sys, "argv", [*map(str, command), "--num-cpus", "1", *map(str, arguments)])
        try:
            script.main()
        except SystemExit as stop:
            return str(stop)
        return capsys.readouterr().out

    return run


CODEC = '{"target_canvas": 4}'


def test_shards_train_and_only_the_same_settings_go_on(tmp_path, media, write_jsonl, pretokenize):
    (media / "broken.mp4").write_bytes(b"no video")
    rows = [
        # The first shard is bad as a whole, and knows nothing of the notes.
        {"video": "missing.mp4", "question": "What?", "answer": "a"},
        {"video": "unknown://broken.mp4", "question": "What?", "answer": "b"},
        {"video": "0.mp4", "question": "What?", "answer": "c", "note": "good"},
        {"video": "broken.mp4", "question": "What?", "answer": "d"},
    ]
    manifest, output = write_jsonl(media / "manifest.jsonl", rows), tmp_path / "shards"
    printed = pretokenize(manifest, output, "--codec", CODEC)
    assert "4 clips in 2 shards, 0 of them" in printed and "3 clips could not be read" in printed

    shards = sorted(output.glob("*.parquet"))
    schemas = [pyarrow.parquet.read_schema(path) for path in shards]
    assert len(schemas) == 2 and schemas[0].equals(schemas[1])
    bad = [json.loads(line) for line in (output / "bad.jsonl").read_text().splitlines()]
    assert [each["video"].rsplit("/")[-1] for each in bad] == ["missing.mp4", "broken.mp4", "broken.mp4"]
    found = load_dataset("parquet", data_files=[str(path) for path in shards], split="train", streaming=True)
    (row,) = found
    assert row["note"] == "good" and row["num_tokens"] > 0
    (sample,) = to_sft_dataset(found)
    assert sample["messages"][-1]["content"][0]["text"] == "c"

    # Stopped and started again: only what is missing is made.
    shards[1].unlink()
    before = shards[0].stat().st_mtime_ns
    assert "2 shards, 1 of them" in pretokenize(manifest, output, "--codec", CODEC)
    assert shards[1].exists() and shards[0].stat().st_mtime_ns == before

    stopped = pretokenize(manifest, output, "--codec", '{"target_canvas": 8}', "--image-format", "png")
    assert "codec target_canvas was 4 and is 8" in stopped and "image-format was 'jpg' and is 'png'" in stopped
    write_jsonl(manifest, [*rows, rows[2]])
    stopped = pretokenize(manifest, output, "--codec", CODEC)
    assert "(manifest was" in stopped and len(list(output.glob("*.parquet"))) == 2


@pytest.mark.parametrize("pretokenize", ["loop"], indirect=True)
@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"clip": "a.mp4"}], [], "no column `video`"),
        ([{"video": "a.mp4", "source": "camera"}], [], "has a column `source`"),
        ([{"video": "a.mp4", "answer": 1}, {"video": "b.mp4", "answer": "x"}], [], "values of `answer`"),
        ([{"video": "a.mp4"}], ["--codec", '{"canvases": 4}'], "canvases"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, write_jsonl, pretokenize, rows, arguments, message):
    output = tmp_path / "shards"
    assert message in pretokenize(write_jsonl(tmp_path / "manifest.jsonl", rows), output, *arguments)
    assert not output.exists()


@pytest.mark.parametrize("pretokenize", ["loop"], indirect=True)
def test_a_folder_of_others_is_left_alone(tmp_path, write_jsonl, pretokenize):
    manifest = write_jsonl(tmp_path / "manifest.jsonl", [{"video": "a.mp4"}])
    (tmp_path / "other.parquet").write_bytes(b"")
    assert "that this script did not make" in pretokenize(manifest, tmp_path)
