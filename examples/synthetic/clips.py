# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to H.264 or HEVC in memory."""

import io

import av

from .scenes import HEIGHT, WIDTH, Scene


def encode_clip(scene: Scene) -> bytes:
    """The scene as an mp4 file. One scene gives one file, whatever runs beside it."""
    codec, options = scene.encoder
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=scene.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # the encoder's decisions depend on it
        for image in scene.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
