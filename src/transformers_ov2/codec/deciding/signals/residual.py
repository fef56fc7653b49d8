# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Residual energy: what is left of the luma of a block once motion is compensated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..pooling import block_means
from .motion import MotionFields


# One pixel in so many is looked at, in both directions.
RESIDUAL_STEP = 3


def residual_energy(
    luma: Sequence[np.ndarray],
    sources: Sequence[Sequence[np.ndarray]],
    fields: MotionFields,
    blocks_hw: tuple[int, int],
    source_hw: tuple[int, int],
) -> np.ndarray:
    """
    Mean luma residual of each block after the codec's own motion compensation, against the better of the possible
    sources.

    FFmpeg does not tell which picture a vector points to, only that it is an earlier one.

    Args:
        luma (`Sequence[np.ndarray]`, each of shape `(height, width)`, float32): of the frames.
        sources (`Sequence[Sequence[np.ndarray]]`): for each frame, luma of what it may be predicted from, likewise.
        fields (`MotionFields`): the vectors of the frames.
        blocks_hw (`tuple[int, int]`): blocks per column and row.
        source_hw (`tuple[int, int]`): height and width of the video, which vectors are given in.

    Returns:
        float32 `np.ndarray` of shape `(num_frames, block_rows, block_columns)`: grey levels.
    """
    height, width = luma[0].shape
    flow = fields.velocity * fields.past_span
    y, x = np.arange(0, height, RESIDUAL_STEP), np.arange(0, width, RESIDUAL_STEP)
    rows, cols = flow.shape[1:]
    cell_y = np.minimum(((y + 0.5) * (source_hw[0] / height / fields.cell)).astype(np.int64), rows - 1)
    cell_x = np.minimum(((x + 0.5) * (source_hw[1] / width / fields.cell)).astype(np.int64), cols - 1)
    cells = cell_y[:, None] * cols + cell_x
    # Where the pixels came from: rows and columns of `luma`, split into whole pixels and the rest.
    source_x, source_y = (
        np.take((part * np.float32(scale)).reshape(len(flow), -1), cells, axis=1)
        for part, scale in ((flow.real, width / source_hw[1]), (flow.imag, height / source_hw[0]))
    )
    source_x += x.astype(np.float32)
    source_y += y.astype(np.float32)[:, None]
    np.clip(source_x, 0, np.float32(max(width - 1.001, 0)), out=source_x)
    np.clip(source_y, 0, np.float32(max(height - 1.001, 0)), out=source_y)
    left, top = source_x.astype(np.intp), source_y.astype(np.intp)
    source_x -= left
    source_y -= top
    top *= width
    top += left
    corners = np.array([0, int(width > 1), width * int(height > 1), width * int(height > 1) + int(width > 1)])
    residual = np.empty(top.shape, np.float32)
    for now, pictures, at, fx, fy, least in zip(luma, sources, top, source_x, source_y, residual):
        at = at + corners[:, None, None]
        for number, picture in enumerate(pictures):
            upper, upper_right, error, lower_right = picture.ravel().take(at, mode="clip")
            upper_right -= upper
            upper_right *= fx
            upper += upper_right
            lower_right -= error
            lower_right *= fx
            error += lower_right
            error -= upper
            error *= fy
            error += upper
            error -= now[::RESIDUAL_STEP, ::RESIDUAL_STEP]
            np.abs(error, out=error)
            np.minimum(least if number else error, error, out=least)
    return block_means(residual, blocks_hw)
