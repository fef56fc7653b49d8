# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Clips and rows of the training tests."""

import av
import numpy as np


def draw(seed: int, num_frames: int = 12, side: int = 56) -> np.ndarray:
    """Frames, uint8 [T, side, side, 3]: a square of one colour that moves over another."""
    rng = np.random.default_rng(seed)
    background, color = rng.integers(0, 256, (2, 3))
    frames = np.empty((num_frames, side, side, 3), dtype=np.uint8)
    frames[:] = background
    start, step = rng.integers(0, side - 20, 2), rng.integers(-3, 4, 2)
    for index, frame in enumerate(frames):
        y, x = np.clip(start + index * step, 0, side - 20)
        frame[y : y + 20, x : x + 20] = color
    return frames


def write_clip(path, frames: np.ndarray, fps: int = 4):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10", "g": "6", "x264-params": "cpu-independent=1"}  # the same file every time
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def answer_row(kind: str, name: str, answer: str, question: str = "What is this?", **options) -> dict:
    block = {"type": kind, kind: name, **options} if kind != "text" else {"type": "text", "text": name}
    return {
        "messages": [
            {"role": "user", "content": [block, {"type": "text", "text": question}]},
            {"role": "assistant", "content": answer},
        ]
    }
