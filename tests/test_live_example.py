# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
`examples/live.py` on a file that grows while it is asked about, on network streams, which are copied, and on what
stands in for a webcam.
"""

import re
import socket
import subprocess
import sys
import threading
import time

import av
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
        out, run.errors = capsys.readouterr()
        lines = out.splitlines()
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
import socket, sys, time, av

path, target, form = sys.argv[1:]
udp = target.startswith("udp")
if udp:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", int(target.partition("?")[0].rpartition(":")[2])))
        for _ in range(600):  # an empty packet of MPEG-TS, until somebody takes it
            try:
                probe.send(bytes([0x47, 0x1F, 0xFF, 0x10]) + bytes(184))
                time.sleep(0.1)
                probe.send(bytes([0x47, 0x1F, 0xFF, 0x10]) + bytes(184))
                break
            except ConnectionRefusedError:
                pass
options = {"rtsp_transport": "tcp"} if form == "rtsp" else {}
for _ in range(200):
    try:
        with av.open(path) as clip, av.open(target, "w", format=form, options=options) as out:
            stream = out.add_stream_from_template(clip.streams.video[0])
            for packet in clip.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
                    time.sleep(0.01 if udp else 0)  # nobody waits for who is too slow
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
"""

STREAMS = {
    "tcp": ("tcp://127.0.0.1:{port}?listen=1", "tcp://127.0.0.1:{port}", "mpegts", []),
    "udp": ("udp://127.0.0.1:{port}", "udp://127.0.0.1:{port}?pkt_size=1316", "mpegts", []),
    "rtmp": ("rtmp://127.0.0.1:{port}/live/a", "rtmp://127.0.0.1:{port}/live/a", "flv", ["listen=1"]),
    "http": ("http://127.0.0.1:{port}/a", "http://127.0.0.1:{port}/a", "mpegts", ["listen=1"]),
    "rtsp": (
        *("rtsp://127.0.0.1:{port}/a", "rtsp://127.0.0.1:{port}/a", "rtsp"),
        ["rtsp_flags=listen", "listen_timeout=30"],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_network_stream(tmp_path, live, content, name):
    source, target, form, options = STREAMS[name]
    path = tmp_path / "clip.ts"
    path.write_bytes(content)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [word for option in options for word in ("--option", option)]
    with subprocess.Popen([sys.executable, "-c", SEND, path, target.format(port=port), form]) as sender:
        try:
            timeout = "6" if name == "udp" else "30"
            windows = live(source.format(port=port), "--every", "0", "--timeout", timeout, *options)
        finally:
            sender.kill()
    if name == "udp":  # which has no other end
        assert live.errors.endswith(f"\n{source.format(port=port)}: nothing came for 6 seconds, it has ended\n")
    # RTSP begins with the second key frame: the first packets have no times.
    assert windows[-1][1] > (6.5 if form == "rtsp" else 7.5)


def test_webcam_frames_are_encoded_at_the_times_they_have(live, monkeypatch):
    """A test picture of FFmpeg in the place of the device, whose frames come at uneven times."""
    opened, real = [], av.open

    def open_device(file, *args, **kwargs):
        if not str(file).startswith("/dev/"):
            return real(file, *args, **kwargs)
        opened.append((file, kwargs["format"], kwargs["options"]))
        uneven = "testsrc=size=84x56:rate=20:duration=8,settb=1/1000000,setpts=PTS+random(0)*49000"
        return real(uneven, format="lavfi")

    monkeypatch.setattr(av, "open", open_device)
    windows = live("/dev/video0", "--every", "0", "--option", "video_size=640x480")
    assert opened == [("/dev/video0", "v4l2", {"video_size": "640x480"})]
    assert windows[-1][1] > 7.5


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("/dev/video99", "No such file or directory"),
        ("/dev/null", "Inappropriate ioctl for device"),  # what Video4Linux says of what is no camera
        ("nowhere.ts", "No such file or directory"),
        ("srt://127.0.0.1:9", "Protocol not found"),
        ("tcp://127.0.0.1:9", "Connection refused"),
        ("udp://127.0.0.1:9", "nothing came for 0.5 seconds"),
    ],
)
def test_sources_that_do_not_open_are_one_sentence(live, source, sentence):
    with pytest.raises(SystemExit, match=f"^live.py: .*{sentence}"):
        live(source, "--timeout", "0.5")
