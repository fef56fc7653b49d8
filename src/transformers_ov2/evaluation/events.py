# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic clips whose events are known, and the share of them that a selection of blocks shows.

An event is a square of another colour that appears somewhere for a few frames. A selection covers it when a block over
its centre comes from a frame in which it is visible. One kind and seed give the same file.
"""

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np


# What else happens while the events do. "blink" is a still scene with a single event.
EVENT_KINDS = ("static", "pan", "noise", "fade", "blink")
# Some of x264's assembly (its macroblock tree) gives other decisions from run to run; this leaves it out.
_REPRODUCIBLE = {"crf": "23", "x264-params": "cpu-independent=1"}


@dataclass(frozen=True)
class Event:
    """A square that is visible in frames `[start, start + duration)`.

    Attributes:
        start (`int`): first frame.
        duration (`int`): number of frames.
        x, y (`float`): centre in pixels of the clip, in the first frame.
        size (`int`): side in pixels.
        dx (`float`): horizontal speed in pixels per frame (squares stay with a panning scene).
    """

    start: int
    duration: int
    x: float
    y: float
    size: int
    dx: float = 0.0


@dataclass(frozen=True)
class EventClip:
    """A clip with its truth.

    Attributes:
        data (`bytes`): the encoded file.
        events (`list[Event]`): what happens in it.
        width, height, num_frames (`int`): its dimensions.
    """

    data: bytes
    events: list
    width: int
    height: int
    num_frames: int


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Background of several scales, float32 `[height, width, 3]` around 120."""
    image = np.full((height, width, 3), 120.0, dtype=np.float32)
    for cell, strength in ((64, 22.0), (16, 14.0), (4, 8.0), (1, 3.0)):
        coarse = rng.normal(size=(-(-height // cell) + 1, -(-width // cell) + 1, 3)).astype(np.float32)
        image += strength * np.repeat(np.repeat(coarse, cell, axis=0), cell, axis=1)[:height, :width]
    return image.clip(30, 220)


def make_event_clip(
    kind: str,
    *,
    seed: int = 0,
    width: int = 640,
    height: int = 360,
    seconds: float = 24.0,
    fps: int = 25,
    events_per_second: float = 1.0,
    size: int = 28,
    codec: str = "libx264",
    options: dict | None = None,
) -> EventClip:
    """Synthesises a clip of one of `EVENT_KINDS` and encodes it with PyAV, by default as H.264 at crf 23.

    Events last 4 to 11 frames, never two at a time. `"static"`: nothing else moves; `"pan"`: the camera moves by one
    pixel per frame; `"noise"`: Gaussian sensor noise of σ = 6; `"fade"`: the brightness swings by ±30 % over eight
    seconds; `"blink"`: still, with a single event.

    Returns:
        `EventClip`: an mp4 in memory and its truth.

    Raises:
        `ValueError`: unknown kind.
    """
    if kind not in EVENT_KINDS:
        raise ValueError(f"unknown kind of event clip {kind!r}: use one of {', '.join(EVENT_KINDS)}")
    rng = np.random.default_rng([seed, EVENT_KINDS.index(kind)])
    num_frames = round(seconds * fps)
    speed = 1 if kind == "pan" else 0
    background = _texture(rng, height, width + speed * num_frames)
    count = 1 if kind == "blink" else max(1, round(seconds * events_per_second))
    slot = num_frames / count
    events, colours = [], []
    for index in range(count):
        duration = int(rng.integers(4, 12))
        low = int(index * slot) + 1
        high = max(low + 1, int((index + 1) * slot) - duration)
        start = int(rng.integers(low, high))
        left = int(rng.integers(speed * duration + 4, width - size - 4))
        top = int(rng.integers(4, height - size - 4))
        there = background[top : top + size, left + speed * start :][:, :size].mean(axis=(0, 1))
        colour = rng.uniform(16, 235, size=3)
        while np.abs(colour - there).max() < 60:
            colour = rng.uniform(16, 235, size=3)
        colours.append(colour)
        events.append(Event(start, duration, left + size / 2, top + size / 2, size, -speed))

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.thread_count = 1  # the encoder's decisions depend on it
        stream.options = _REPRODUCIBLE if options is None else options
        for index in range(num_frames):
            picture = background[:, speed * index : speed * index + width].copy()
            for event, colour in zip(events, colours):
                if event.start <= index < event.start + event.duration:
                    left = round(event.x - size / 2 + event.dx * (index - event.start))
                    top = round(event.y - size / 2)
                    picture[top : top + size, left : left + size] = colour
            if kind == "noise":
                picture += rng.normal(scale=6.0, size=picture.shape).astype(np.float32)
            if kind == "fade":
                picture *= 1.0 + 0.3 * np.sin(2 * np.pi * index / (8 * fps))
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).round().astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return EventClip(buffer.getvalue(), events, width, height, num_frames)


def event_recall(clip: EventClip, positions: np.ndarray, grid_hw: tuple[int, int], merge: int = 2) -> float:
    """Share of a clip's events whose centre block is shown from a frame in which the event is visible.

    Args:
        clip (`EventClip`): the clip and its truth.
        positions (`np.ndarray` of shape `(num_patches, 3)`, int64): (source frame, patch row, patch column) of
            everything
            shown, in any order; −1 where padded.
        grid_hw (`tuple[int, int]`): patches per column and row of a source frame.
        merge (`int`): patches per side of a block.

    Returns:
        `float` in [0, 1].
    """
    rows, cols = grid_hw[0] // merge, grid_hw[1] // merge
    shown = np.zeros((clip.num_frames, rows, cols), dtype=bool)
    kept = positions[positions[:, 0] >= 0]
    shown[kept[:, 0], kept[:, 1] // merge, kept[:, 2] // merge] = True
    covered = 0
    for event in clip.events:
        frames = np.arange(event.start, event.start + event.duration)
        column = ((event.x + event.dx * (frames - event.start)) * cols / clip.width).astype(np.int64)
        row = int(event.y * rows / clip.height)
        covered += bool(shown[frames, row, column.clip(0, cols - 1)].any())
    return covered / len(clip.events)
