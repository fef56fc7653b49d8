# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Surprise: how far a block stands out of its own frame when nothing that was seen before explains it.

The frame before explains a block by camera motion and brightness, by standing still (where large things move, they may
pass for the camera's motion), or by the motion of whatever else moves, which is searched for nearby; the frames of
half a second explain what comes back to where it was, and the earliest of them what is only uncovered again. Pixels
may have different explanations. What is left is measured in robust deviations of the frame and, last, against what the
same place leaves unexplained in the seconds before, since where something moves all the time one more motion is no
news, and in the next frame: what merely passes goes on there, while what has come to stay is by then explained.
"""

from __future__ import annotations

import numpy as np

from ..pooling import colour_distance, pool


# The quantiles of the quietest blocks that tell what is common in a frame, and the median absolute deviation of normal
# deviates in units of the distance between these.
QUIET_BLOCKS = (0.05, 0.25)
QUIET_SPREAD = 0.7
# Blocks whose motion is searched for at once: intermediate results stay in the cache.
SEARCHED_BLOCKS = 64


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


def blocks_of(image: np.ndarray, row: np.ndarray, col: np.ndarray, block: int, margin: int = 0) -> np.ndarray:
    """
    Some blocks of an image, and what is around them.

    Args:
        image (`np.ndarray` of shape `(channels, rows, columns)`): the image; its edges are repeated.
        row, col (`np.ndarray` of shape `(num_blocks,)`, int64): block row and block column of each.
        block (`int`), margin (`int`): side of a block, and how far around it, in pixels.

    Returns:
        `np.ndarray` of shape `(channels, block + 2 * margin, block + 2 * margin, num_blocks)`.
    """
    channels, rows, cols = image.shape
    around = np.arange(-margin, block + margin)[:, None]
    y, x = block * row + around, block * col + around
    if margin:
        y, x = (np.minimum(np.maximum(at, 0), size - 1) for at, size in ((y, rows), (x, cols)))
    return image.reshape(channels, -1).take(y[:, None] * cols + x, axis=1)


def explain_by_motion(error: np.ndarray, now: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """
    What is left of the error of blocks when each may have moved from nearby in an earlier frame.

    The motion of a block is the one that leaves least when every pixel takes the better of both explanations, so that
    a block at the edge of a moving object needs only the motion of the object.

    Args:
        error (`np.ndarray` of shape `(block, block, num_blocks)`, float32): without motion, grey levels.
        now (`np.ndarray` of shape `(3, block, block, num_blocks)`, float32): their colours.
        earlier (`np.ndarray` of shape `(3, block + 2 * radius, block + 2 * radius, num_blocks)`): what an earlier
            frame predicts without motion, there and in all directions as far as they may have moved.

    Returns:
        float32 `np.ndarray` of shape `(block, block, num_blocks)`: grey levels.
    """
    block, side, count = len(error), earlier.shape[1], error.shape[2]
    if count > SEARCHED_BLOCKS:
        parts = (np.s_[..., start : start + SEARCHED_BLOCKS] for start in range(0, count, SEARCHED_BLOCKS))
        return np.concatenate([explain_by_motion(error[at], now[at], earlier[at]) for at in parts], axis=2)
    steps = side - block + 1
    earlier = np.ascontiguousarray(earlier)
    grey, bound = earlier[0] + earlier[1], error * np.float32(3)
    grey += earlier[2]
    # Every place of every block: (dy, dx, y, x, block).
    high, wide, step = grey.strides
    left = np.ndarray((steps, steps, block, block, count), np.float32, grey, strides=(high, wide, high, wide, step))
    left = left - (now[0] + now[1] + now[2])
    np.abs(left, out=left)
    np.minimum(left, bound, out=left)
    left = left.reshape(steps**2, block, block * count).sum(axis=1).reshape(steps**2, block, count).sum(axis=1)
    dy, dx = np.divmod(left.argmin(axis=0), steps)
    inside = np.arange(block)[:, None]
    at = ((dy + inside)[:, None] * side + (dx + inside)) * count + np.arange(count)
    return np.minimum(error, colour_distance(earlier.reshape(3, -1).take(at, axis=1), now))


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


def passing(deviation: np.ndarray) -> np.ndarray:
    """
    How far each place still deviates in the next frame, where whatever passes it goes on.

    Args:
        deviation (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`, float32): of the frames of a group.

    Returns:
        float32 `np.ndarray` of the same shape, not below 0; 0 for the last frame, whose next one is not known yet.
    """
    following = np.zeros_like(deviation)
    np.maximum(deviation[1:], 0, out=following[:-1])
    return following
