# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Residual energy: what is left of the luma of a block once motion is compensated."""

from __future__ import annotations

import numpy as np

from ..pooling import block_means
from .motion import MotionFields


# One pixel in so many is looked at, in both directions.
RESIDUAL_STEP = 3


def residual_energy(
    luma: np.ndarray,
    references: np.ndarray,
    sources: np.ndarray,
    fields: MotionFields,
    blocks_hw: tuple[int, int],
    source_hw: tuple[int, int],
) -> np.ndarray:
    """
    Mean luma residual of each block after the codec's own motion compensation, against the better of the possible
    sources.

    FFmpeg does not tell which picture a vector points to, only that it is an earlier one.

    Args:
        luma (`np.ndarray` of shape `(num_frames, height, width)`, float32): of the frames.
        references (`np.ndarray` of shape `(num_references, height, width)`, float32): of what they are predicted from.
        sources (`np.ndarray` of shape `(num_sources, num_frames)`, int64): for each frame, its possible sources, as
            indices into `references`.
        fields (`MotionFields`): the vectors of the frames.
        blocks_hw (`tuple[int, int]`): blocks per column and row.
        source_hw (`tuple[int, int]`): height and width of the video, which vectors are given in.

    Returns:
        float32 `np.ndarray` of shape `(num_frames, block_rows, block_columns)`: grey levels.
    """
    height, width = luma.shape[1:]
    flow = fields.velocity * fields.past_span
    y, x = np.arange(0, height, RESIDUAL_STEP), np.arange(0, width, RESIDUAL_STEP)
    rows, cols = flow.shape[1:]
    cell_y = np.minimum(((y + 0.5) * (source_hw[0] / height / fields.cell)).astype(np.int64), rows - 1)
    cell_x = np.minimum(((x + 0.5) * (source_hw[1] / width / fields.cell)).astype(np.int64), cols - 1)
    cells = (cell_y[:, None] * cols + cell_x).ravel()
    # Where the pixels came from: rows and columns of `luma`, split into whole pixels and the rest.
    source_x, source_y = (
        np.take((part * np.float32(scale)).reshape(len(flow), -1), cells, axis=1).reshape(len(flow), len(y), len(x))
        for part, scale in ((flow.real, width / source_hw[1]), (flow.imag, height / source_hw[0]))
    )
    source_x += x.astype(np.float32)
    source_y += y.astype(np.float32)[:, None]
    np.clip(source_x, 0, np.float32(max(width - 1.001, 0)), out=source_x)
    np.clip(source_y, 0, np.float32(max(height - 1.001, 0)), out=source_y)
    left, top = source_x.astype(np.intp), source_y.astype(np.intp)
    source_x -= left
    source_y -= top
    at = top * width + left
    right, below = int(width > 1), width * int(height > 1)
    now, pixels = luma[:, ::RESIDUAL_STEP, ::RESIDUAL_STEP], references.ravel()
    residual = None
    for source in sources:
        here = at + (source * (height * width))[:, None, None]
        corners = (pixels.take(here + step, mode="clip") for step in (0, right, below, below + right))
        upper, upper_right, lower, lower_right = corners
        upper += source_x * (upper_right - upper)
        lower += source_x * (lower_right - lower)
        upper += source_y * (lower - upper)
        error = np.abs(now - upper)
        residual = error if residual is None else np.minimum(residual, error)
    return block_means(residual, blocks_hw)
