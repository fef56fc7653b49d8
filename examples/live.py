# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Asks a model about a video that is still coming in: a growing file, a camera, a network stream.

    python examples/live.py recording.ts --model MODEL --prompt "What is happening now?"
    python examples/live.py rtsp://camera.local/stream --option rtsp_transport=tcp --model MODEL --every 5 --window 20
    python examples/live.py /dev/video0 --model MODEL                        # a webcam (Linux)

A thread reads and tokenizes: a group of 1.5 to 6 seconds is there as soon as its last frame is. Every --every seconds
the model is asked about the groups of the last --window seconds; what it prints is

    [  12.4 s to   24.9 s, 1820 tokens, answer 0.9 s after the last frame] A ball bounces.

A growing file must be readable from front to back: MPEG-TS, Matroska, WebM, fragmented MP4 or raw H.264. It has ended
when nothing came for --timeout seconds, as has a stream over UDP. Network streams are copied packet by packet, so that
their motion vectors are kept; what a webcam gives is encoded first. Others may send to the script instead:

    python examples/live.py udp://0.0.0.0:5000 --model MODEL                      # MPEG-TS
    python examples/live.py rtmp://0.0.0.0:1935/live/key --option listen=1 --model MODEL
    python examples/live.py rtsp://0.0.0.0:8554/a --option rtsp_flags=listen --model MODEL

SRT is not in PyAV's FFmpeg.
"""

import argparse
import collections
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.error import ExitError
from transformers import AutoModelForImageTextToText, AutoProcessor

import transformers_ov2  # noqa: F401 (registers OV2 with the AutoClasses)
from transformers_ov2.codec import CodecStream, iter_live_groups
from transformers_ov2.evaluation.answers import answer


class GrowingFile(io.RawIOBase):
    """A file that somebody else still writes: at its end, `read` waits for more, up to `timeout` seconds."""

    def __init__(self, path: str, timeout: float):
        self.file, self.timeout = open(path, "rb"), timeout  # noqa: SIM115 (closed by `close`)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        until = time.monotonic() + self.timeout
        while not (chunk := self.file.read(size)) and time.monotonic() < until:
            time.sleep(0.05)
        return chunk

    def close(self) -> None:
        self.file.close()
        super().close()


def open_camera(source: str, timeout: float, options: dict[str, str]) -> BinaryIO:
    """The video of a device or URL as MPEG-TS, written into a pipe by a thread: packets as they are, or encoded."""
    device = source.startswith("/dev/")
    try:
        camera = av.open(source, format="v4l2" if device else None, timeout=timeout, options=options)
    except ExitError as error:
        raise TimeoutError(f"{source}: nothing came for {timeout:g} seconds") from error
    if not camera.streams.video:
        raise ValueError(f"{source}: no video in it")
    stream = camera.streams.video[0]
    reading, writing = os.pipe()

    def copy() -> None:
        with camera, os.fdopen(writing, "wb") as pipe, av.open(pipe, "w", format="mpegts") as out:
            try:
                (encode if device else forward)(out)
            except ExitError:
                print(f"{source}: nothing came for {timeout:g} seconds, it has ended", file=sys.stderr)
            except av.FFmpegError as error:
                print(f"{source}: it has ended ({error.strerror})", file=sys.stderr)

    def encode(out: av.container.OutputContainer) -> None:
        encoder = out.add_stream("libx264", rate=stream.average_rate or 25)
        encoder.width, encoder.height, encoder.pix_fmt = stream.width // 2 * 2, stream.height // 2 * 2, "yuv420p"
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
        # Cameras give frames when they have them, not at an even rate.
        encoder.codec_context.time_base = Fraction(1, 90_000)
        for frame in camera.decode(stream):
            out.mux(encoder.encode(frame))
        out.mux(encoder.encode())

    def forward(out: av.container.OutputContainer) -> None:
        target = out.add_stream_from_template(stream)
        started = False
        for packet in camera.demux(stream):
            # A stream is joined anywhere, and the first packets of RTSP have no times.
            started = started or (packet.is_keyframe and packet.dts is not None)
            if started and packet.dts is not None:
                packet.stream = target
                out.mux(packet)

    threading.Thread(target=copy, daemon=True).start()
    return os.fdopen(reading, "rb")


class Window:
    """The groups of the last seconds, filled by a thread."""

    def __init__(self, groups: Iterator[CodecStream], seconds: float):
        self.seconds = seconds
        self.groups: collections.deque[CodecStream] = collections.deque()
        self.arrived = 0.0
        self.count = 0
        self.error: Exception | None = None
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._fill, args=(groups,), daemon=True)
        self.thread.start()

    def _fill(self, groups: Iterator[CodecStream]) -> None:
        try:
            for group in groups:
                with self.changed:
                    self.groups.append(group)
                    while group.timestamps[-1] - self.groups[0].timestamps[-1] > self.seconds:
                        self.groups.popleft()
                    self.arrived, self.count = time.monotonic(), self.count + 1
                    self.changed.notify()
        except Exception as error:  # said by whoever waits
            self.error = error
        with self.changed:
            self.changed.notify()

    def wait(self, seen: int) -> tuple[CodecStream, float, int] | None:
        """The window once there are more than `seen` groups, when its last one arrived, and their number; None at the
        end."""
        with self.changed:
            while self.count <= seen and self.thread.is_alive() and self.error is None:
                self.changed.wait(0.2)
            if self.error is not None:
                raise self.error
            if self.count <= seen:
                return None
            return CodecStream.concatenate(list(self.groups)), self.arrived, self.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a growing file, a URL (rtsp, rtmp, http, udp), or /dev/video*")
    parser.add_argument("--model", required=True, help="repository or folder of a model")
    parser.add_argument("--prompt", default="What is happening?")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two questions, at least")
    parser.add_argument("--window", type=float, default=20.0, help="seconds of video that a question is about")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds without news after which it has ended")
    parser.add_argument(
        "--option",
        type=lambda text: text.split("=", 1),
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of FFmpeg, for a device or URL: rtsp_transport=tcp, video_size=640x480",
    )
    parser.add_argument("--max-pixels", type=int, default=150_000, help="pixels of a canvas")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    args = parser.parse_args()

    processor = AutoProcessor.from_pretrained(args.model)
    model = AutoModelForImageTextToText.from_pretrained(args.model, dtype="auto", device_map="auto")
    try:
        if Path(args.source).is_file():
            file = GrowingFile(args.source, args.timeout)
        else:
            file = open_camera(args.source, args.timeout, dict(args.option))
    except (av.FFmpegError, OSError, ValueError) as error:
        sys.exit(f"live.py: {error}")
    window = Window(iter_live_groups(file, name=args.source, max_pixels=args.max_pixels), args.window)
    seen, asked = 0, -args.every
    while (found := window.wait(seen)) is not None:
        stream, arrived, seen = found
        if (wait := asked + args.every - time.monotonic()) > 0 and window.thread.is_alive():
            time.sleep(min(wait, 0.2))
            seen -= 1  # the same window, or a newer one
            continue
        asked = time.monotonic()
        content = [{"type": "video", "video": stream}, {"type": "text", "text": args.prompt}]
        conversation = [{"role": "user", "content": content}]
        (text,) = answer(model, processor, [conversation], max_new_tokens=args.max_new_tokens)
        start, end = stream.timestamps[0], stream.timestamps[-1]
        delay = time.monotonic() - arrived
        print(
            f"[{start:6.1f} s to {end:6.1f} s, {stream.num_tokens} tokens, answer {delay:.1f} s after the last frame] "
            f"{text}",
            flush=True,
        )


if __name__ == "__main__":
    main()
