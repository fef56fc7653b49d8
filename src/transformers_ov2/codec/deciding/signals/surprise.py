# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Surprise: how far a block stands out of its own frame when nothing that was seen before explains it.

The frame before explains a block by camera motion and brightness, or by the motion of whatever else moves, which is
searched for nearby; a frame half a second earlier explains what is only uncovered again. Pixels may have different
explanations. What is left is measured in robust deviations of the frame and, last, against what the same place left
unexplained in the seconds before: where something moves all the time, one more motion is no news.
"""

from __future__ import annotations

import numpy as np

from ..pooling import pool


# The quantiles of the quietest blocks that tell what is common in a frame, and the median absolute deviation of normal
# deviates in units of the distance between these.
QUIET_BLOCKS = (0.05, 0.25)
QUIET_SPREAD = 0.7


def deviations(error: np.ndarray, blocks_hw: tuple[int, int], floor: float) -> tuple[np.ndarray, ...]:
    """
    Robust deviation of every block from what is common in its frame.

    The common is told by the quietest quarter of the blocks, since large objects that move may take half of a frame:
    the distance between two of their quantiles estimates the median absolute deviation that the frame would have
    without them, and the upper one plus it the median (as it does for normal deviates).

    Args:
        error (`np.ndarray` of shape `(num_frames, rows, columns)`, float32): difference of each pixel, grey levels.
        blocks_hw (`tuple[int, int]`): blocks per column and row.
        floor (`float`): added to the median absolute deviation, grey levels.

    Returns:
        The mean difference of each block and its deviation, float32 of shape `(num_frames, block_rows,
        block_columns)`, and the frames' medians and deviations, of shape `(num_frames,)`.
    """
    means = pool(error, *blocks_hw)
    flat = means.reshape(len(means), -1)
    low, high = (int(share * flat.shape[1]) for share in QUIET_BLOCKS)
    ordered = np.partition(flat, (low, high), axis=1)
    spread = np.float32(QUIET_SPREAD) * (ordered[:, high] - ordered[:, low])
    middle = ordered[:, high] + spread
    spread += np.float32(floor)
    return means, (means - middle[:, None, None]) / spread[:, None, None], middle, spread


def blocks_of(images: np.ndarray, index: np.ndarray, row: np.ndarray, col: np.ndarray, block: int) -> np.ndarray:
    """
    Some blocks of images.

    Args:
        images (`np.ndarray` of shape `(num_images, ..., rows, columns)`): the images.
        index, row, col (`np.ndarray` of shape `(num_blocks,)`, int64): image, block row and block column of each.
        block (`int`): side of a block in pixels.

    Returns:
        `np.ndarray` of shape `(num_blocks, ..., block, block)`.
    """
    *outer, rows, cols = images.shape
    tiles = images.reshape(*outer, rows // block, block, cols // block, block)
    tiles = np.moveaxis(tiles.swapaxes(-2, -3), (-4, -3), (1, 2))  # (image, block row, block column, ..., y, x)
    return tiles[index, row, col]


def explain_by_motion(
    error: np.ndarray,
    now: np.ndarray,
    earlier: np.ndarray,
    index: np.ndarray,
    row: np.ndarray,
    col: np.ndarray,
    radius: int,
) -> np.ndarray:
    """
    What is left of the error of blocks when each may have moved by up to `radius` pixels from an earlier frame.

    The motion of a block is the one that leaves least when every pixel takes the better of both explanations, so that
    a block at the edge of a moving object needs only the motion of the object.

    Args:
        error (`np.ndarray` of shape `(num_blocks, block, block)`, float32): without motion, grey levels.
        now (`np.ndarray` of shape `(num_frames, 3, rows, columns)`, float32): colours of the frames.
        earlier (`np.ndarray` of the same shape): what an earlier frame predicts without motion.
        index, row, col (`np.ndarray` of shape `(num_blocks,)`, int64): frame, block row and block column of each.
        radius (`int`): in pixels of `now`.

    Returns:
        float32 `np.ndarray` of shape `(num_blocks, block, block)`: grey levels.
    """
    block = error.shape[-1]
    edges = ((0, 0), (radius, radius), (radius, radius))
    grey = np.pad(earlier.sum(axis=1), edges, mode="edge")
    target = blocks_of(now, index, row, col, block)
    height, width = grey.shape[1:]
    offsets = np.arange(2 * radius + 1)
    inside = (np.arange(block)[:, None] * width + np.arange(block)).ravel()
    start = (index * height + row * block) * width + col * block
    # Every place of every block: (block, dy, dx, pixel).
    at = start[:, None] + (offsets[:, None] * width + offsets).ravel()
    found = grey.ravel().take(at[:, :, None] + inside)
    found -= target.sum(axis=1).reshape(len(at), 1, -1)
    np.abs(found, out=found)
    np.minimum(found, 3 * error.reshape(len(at), 1, -1), out=found)
    best = at[np.arange(len(at)), found.sum(axis=2).argmin(axis=1)]
    colours = np.pad(earlier, ((0, 0), *edges), mode="edge").swapaxes(0, 1).reshape(3, -1)
    moved = np.abs(colours[:, best[:, None] + inside].swapaxes(0, 1).reshape(target.shape) - target).mean(axis=1)
    return np.minimum(error, moved)


class Habit:
    """
    What the blocks of the frames so far left unexplained: its decaying maximum, place by place.

    Args:
        half_life (`float`): seconds.
    """

    def __init__(self, half_life: float):
        self.rate = np.log(2) / half_life
        self.level: np.ndarray | None = None  # logarithm of the maximum, as it would be at second 0

    def exceed(self, deviation: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """
        How far the deviations of the next frames exceed what was usual in their places.

        Args:
            deviation (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`, float32): of the next frames.
            seconds (`np.ndarray` of shape `(num_frames,)`, float64): their times.
        """
        growth = (self.rate * seconds)[:, None, None]
        level = np.log(np.maximum(deviation, 1e-3)) + growth
        first = np.full_like(level[:1], -np.inf) if self.level is None else self.level[None]
        level = np.maximum.accumulate(np.concatenate([first, level]), axis=0)
        self.level = level[-1]
        return deviation - np.exp(level[:-1] - growth).astype(np.float32)
