# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`examples/live.py` on a file that grows while it is asked about, and on a stream that is copied."""

import re
import sys
import threading
import time

import pytest
from synth import clip_bytes, moving_frames

from transformers_ov2.codec import iter_live_groups


@pytest.fixture(scope="module")
def content() -> bytes:
    return clip_bytes(moving_frames(200, 56, 84), fmt="mpegts")


@pytest.fixture
def live(monkeypatch, capsys, tiny_model, load_example):
    script = load_example("live.py")

    def run(source, *arguments, started=None) -> list[tuple[float, float]]:
        def tokenize(*args, **kwargs):
            if started is not None:
                started.set()
            return iter_live_groups(*args, **kwargs)

        monkeypatch.setattr(script, "iter_live_groups", tokenize)
        command = ["live.py", str(source), "--model", str(tiny_model), "--max-new-tokens", "2", "--window", "2"]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        script.main()
        lines = capsys.readouterr().out.splitlines()
        found = [re.match(r"\[ *([\d.]+) s to +([\d.]+) s, \d+ tokens, answer [\d.]+ s after", line) for line in lines]
        assert all(found), lines
        return [tuple(map(float, match.groups())) for match in found]

    return run


def test_growing_file(tmp_path, live, content):
    path = tmp_path / "recording.ts"
    path.write_bytes(content[: len(content) // 2])

    started = threading.Event()

    def grow():
        started.wait()
        with open(path, "ab") as file:
            for part in range(4):
                time.sleep(0.2)
                eighth = len(content) // 8
                start = len(content) // 2 + part * eighth
                file.write(content[start : start + eighth if part < 3 else None])
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    windows = live(path, "--every", "0", "--timeout", "5", started=started)
    writer.join()
    assert len(windows) >= 2
    assert windows[-1][1] > 7.5  # of 8 seconds: nothing that came later is lost
    assert windows[-1][0] > 0


def test_copied_stream(tmp_path, live, content):
    path = tmp_path / "clip.ts"
    path.write_bytes(content)
    windows = live(f"file:{path}", "--every", "0", "--timeout", "3")
    assert windows[-1][1] > 7.5
