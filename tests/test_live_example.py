# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""`examples/live.py` on a file that grows while it is asked about, and on network streams, which are copied."""

import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from synth import clip_bytes, moving_frames

from transformers_ov2.codec import iter_live_groups


@pytest.fixture(scope="module")
def content() -> bytes:
    return clip_bytes(moving_frames(200, 56, 84), fmt="mpegts", options={"g": "20"})


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


# Packets of a clip to an address where somebody is about to listen. A process of its own, as cameras are.
SEND = """
import sys, time, av

path, target, form = sys.argv[1:]
options = {"rtsp_transport": "tcp"} if form == "rtsp" else {}
for _ in range(200):
    try:
        with av.open(path) as clip, av.open(target, "w", format=form, options=options) as out:
            stream = out.add_stream_from_template(clip.streams.video[0])
            for packet in clip.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("source", "target", "form", "options"),
    [
        ("tcp://127.0.0.1:{port}?listen=1", "tcp://127.0.0.1:{port}", "mpegts", []),
        (
            *("rtsp://127.0.0.1:{port}/a", "rtsp://127.0.0.1:{port}/a", "rtsp"),
            ["--option", "rtsp_flags=listen", "--option", "listen_timeout=30"],
        ),
    ],
    ids=["tcp", "rtsp"],
)
def test_network_stream(tmp_path, live, content, source, target, form, options):
    path = tmp_path / "clip.ts"
    path.write_bytes(content)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", SEND, path, target.format(port=port), form]) as sender:
        try:
            windows = live(source.format(port=port), "--every", "0", "--timeout", "30", *options)
        finally:
            sender.kill()
    # RTSP begins with the second key frame: the first packets have no times.
    assert windows[-1][1] > (6.5 if form == "rtsp" else 7.5)
