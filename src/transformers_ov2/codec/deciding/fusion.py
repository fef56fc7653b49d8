# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Step 2, fusion: the signals of the frames of a group become one score per block.

The method's three signals are motion energy, residual energy and the bitrate prior; their weights are options of
[`CodecStreamConfig`](../config.py). Two more terms make them see small and soft events: the change of colour, and
surprise. Each counts in units that compare across the frames of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config import CodecStreamConfig


@dataclass(frozen=True)
class FusionConstants:
    """Constants of the fusion."""

    # A signal counts in multiples of its average over the group plus a floor (so that the noise of a still scene is
    # not blown up), up to this many of them.
    limit: float = 10.0
    motion_floor: float = 0.25  # pixels per frame
    residual_floor: float = 1.0  # grey levels
    bitrate_floor: float = 1.0  # bits
    change_floor: float = 1.0  # grey levels
    change_weight: float = 1.0
    # Added to the median absolute deviation of a frame: in a still scene, one grey level is no surprise.
    deviation_floor: float = 0.3  # grey levels
    # Surprise counts from so many robust deviations on, and by so much for each doubling.
    surprise_start: float = 6.0
    surprise_weight: float = 8.0
    # Blocks of a frame that may surprise: where more stand out, the picture has changed as a whole.
    surprise_blocks: int = 48
    # How far things may have moved from one frame to the next, in sides of a block.
    search_radius: float = 0.45
    # The earlier frame that tells what is only uncovered again, seconds ago.
    memory_seconds: float = 0.5
    # Time in which what is usual in a place loses half of its weight.
    habit_seconds: float = 1.0


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
            motion, memory and habit explain, on a logarithmic scale; 0 for most blocks.
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
    """
    The surprise of blocks by their robust deviations: 0 up to `surprise_start`, then `surprise_weight` a doubling.
    """
    start = np.float32(CONSTANTS.surprise_start)
    return np.float32(CONSTANTS.surprise_weight) * np.log2(np.maximum(deviation, start) / start)


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
    score = surprise.copy()
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
