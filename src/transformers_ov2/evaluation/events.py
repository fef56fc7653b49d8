# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Clips whose events are known, and the share of these events that a selection of blocks shows.

An event is something that appears somewhere for a few frames. A selection covers it when the block over its centre
comes from a frame in which it is visible.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Event:
    """Something that is visible for some frames.

    Attributes:
        frames (`tuple[int, ...]`): the frames in which its centre is visible, ascending.
        boxes (`tuple[tuple[float, float, float, float], ...]`): for each of them left, top, right and bottom in pixels
            of the clip.
    """

    frames: tuple
    boxes: tuple


@dataclass(frozen=True)
class EventClip:
    """A clip with its truth.

    Attributes:
        data (`bytes`): the encoded file.
        events (`tuple[Event, ...]`): what happens in it.
        width, height, num_frames (`int`): its dimensions.
    """

    data: bytes
    events: tuple
    width: int
    height: int
    num_frames: int


def covered_events(clip: EventClip, positions: np.ndarray, grid_hw: tuple[int, int], merge: int = 2) -> np.ndarray:
    """Which of a clip's events have their centre block shown from a frame in which the event is visible.

    Args:
        clip (`EventClip`): the clip and its truth.
        positions (`np.ndarray` of shape `(num_patches, 3)`, int64): (source frame, patch row, patch column) of
            everything shown, in any order; −1 where padded.
        grid_hw (`tuple[int, int]`): patches per column and row of a source frame.
        merge (`int`): patches per side of a block.

    Returns:
        bool `np.ndarray` of shape `(num_events,)`.
    """
    rows, cols = grid_hw[0] // merge, grid_hw[1] // merge
    shown = np.zeros((clip.num_frames, rows, cols), dtype=bool)
    kept = positions[positions[:, 0] >= 0]
    shown[kept[:, 0], kept[:, 1] // merge, kept[:, 2] // merge] = True
    covered = []
    for event in clip.events:
        left, top, right, bottom = np.array(event.boxes).T
        column = ((left + right) / 2 * cols / clip.width).astype(np.int64).clip(0, cols - 1)
        row = ((top + bottom) / 2 * rows / clip.height).astype(np.int64).clip(0, rows - 1)
        covered.append(shown[list(event.frames), row, column].any())
    return np.array(covered, dtype=bool)


def event_recall(clip: EventClip, positions: np.ndarray, grid_hw: tuple[int, int], merge: int = 2) -> float:
    """Share of a clip's events that are covered, in [0, 1]; arguments are those of [`covered_events`]."""
    return float(covered_events(clip, positions, grid_hw, merge).mean())
