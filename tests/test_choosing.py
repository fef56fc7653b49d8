# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts that choose the constants of the evidence and judge them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from transformers_ov2.codec.deciding.fusion import CONSTANTS


EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def script(load_example):
    return load_example("choose_constants.py")


def measure_of(rows):
    """A stand-in for `Measure`: recall of each row by a function of the constants."""

    def measure(values):
        return {row: recall(values) for row, recall in rows.items()}, 0.0

    return measure


def test_search_takes_the_better_value_and_leaves_what_brings_nothing(script):
    used = script.in_use()
    first, second = "bitrate_weight", "crowding_penalty"
    measure = measure_of(
        {
            "a": lambda values: 0.5 + 0.2 * (values[first] == 2 * used[first]),
            "b": lambda values: 0.5 + 0.004 * (values[second] == 0),
        }
    )
    assert script.search(measure, margin=0.005) == used | {first: 2 * used[first]}
    assert script.search(measure, margin=0.001) == used | {first: 2 * used[first], second: 0.0}


def test_a_row_that_is_left_out_has_no_say(script):
    used, name = script.in_use(), "bitrate_weight"
    measure = measure_of(
        {
            "a": lambda values: 0.5 + 0.2 * (values[name] > used[name]),
            "b": lambda values: 0.5 - 0.3 * (values[name] > used[name]),
        }
    )
    assert script.search(measure, margin=0.005) == used
    assert script.search(measure, margin=0.005, without="b")[name] == 2 * used[name]


def test_constants_are_others_only_for_a_while(script):
    used = script.in_use()
    assert set(script.WEIGHTS) < set(used) > set(vars(CONSTANTS))
    with script.constants(used | {"limit": 3.0, "motion_weight": 7.0}) as options:
        assert CONSTANTS.limit == 3.0
        assert options == {name: used[name] for name in script.WEIGHTS} | {"motion_weight": 7.0}
    assert script.in_use() == used


def test_benchmark_prints_recall_within_equal_tokens(tmp_path):
    arguments = ["--recall", "--set", "development", "--rows", "blink", "--canvases", "4", "--policies", "evidence"]
    line = [sys.executable, str(EXAMPLES / "benchmark_codec.py"), *arguments, "random", "--work", str(tmp_path)]
    output = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    events, evidence, chance = re.search(
        r"^\| blink \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", output, re.MULTILINE
    ).groups()
    assert int(events) == 4 and float(evidence) == 1 and float(chance) < 1
    assert len(list(tmp_path.rglob("*.mp4"))) == 4


def test_benchmark_names_a_clip_that_the_disk_lacks(load_example, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    benchmark = load_example("benchmark_codec.py")
    (tmp_path / "here.mp4").touch()
    information = tmp_path / "some_clips-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: some-clips\nVersion: 1.0\n")
    (information / "RECORD").write_text("here.mp4,,\ngone.mp4,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(benchmark, "CLIPS", {"development": {"some-clips": ("gone.mp4", "here.mp4")}})
    assert benchmark.real_clips("development", None) == [str((tmp_path / "here.mp4").resolve())]
    (line,) = capsys.readouterr().out.splitlines()
    assert "gone.mp4" in line and "some-clips" in line
