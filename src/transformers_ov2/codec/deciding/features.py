# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a frame is compared with others by, made of it alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..reading.decoding import DecodedFrame
from ..reading.pictures import PlanarPicture
from .pooling import mean_colour, pool


def _cells_per_side(block: int, merge: int) -> int:
    """Cells along a block of `block` pixels: two per patch, or one where patches have an odd side."""
    return 2 * merge if block % (2 * merge) == 0 else merge


def pool_colours(picture: PlanarPicture, blocks_hw: tuple[int, int], merge: int = 2) -> np.ndarray:
    """Mean RGB of cells of half a patch (a patch where its side is odd).

    Args:
        picture (`PlanarPicture`): a frame at canvas size.
        blocks_hw (`tuple[int, int]`): blocks per column and row of the canvas.
        merge (`int`): patches per side of a block.

    Returns:
        `np.ndarray` of shape `(3, cell_rows, cell_columns)`, float32.
    """
    side = _cells_per_side(picture.size[0] // blocks_hw[0], merge)
    rows, cols = blocks_hw[0] * side, blocks_hw[1] * side
    return picture.color.to_rgb(pool(picture.planes, rows, cols))


def block_features(cells: np.ndarray, blocks_hw: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The state of every block that `select_state` compares.

    Args:
        cells (`np.ndarray` of shape `(num_frames, 3, cell_rows, cell_columns)`, float32): of `pool_colours`.
        blocks_hw (`tuple[int, int]`): blocks per column and row of the canvas.
        size (`tuple[int, int]`): height and width of the canvas in pixels.

    Returns:
        `np.ndarray` of shape `(num_frames, block_rows, block_columns, feature_dim)`, float32: the colours of its
        cells, scaled so that a squared difference is the pooled block's sum of squared pixel differences.
    """
    (rows, cols), side = blocks_hw, cells.shape[2] // blocks_hw[0]
    features = cells * np.float32(np.sqrt(math.prod(size) / math.prod(cells.shape[2:])))
    features = features.reshape(len(cells), 3, rows, side, cols, side).transpose(0, 2, 4, 3, 5, 1)
    return features.reshape(len(cells), rows, cols, side * side * 3)


@dataclass(eq=False)
class FrameFeatures:
    """What a frame is compared with others by. Made of one frame alone, so that decoding threads can do it.

    Attributes:
        frame (`DecodedFrame`): the frame.
        cells (`np.ndarray` of shape `(3, cell_rows, cell_columns)`, float32): `pool_colours` of it.
        colours (`np.ndarray` of shape `(3, rows, columns)`, float32): RGB at a quarter of the size of the canvas (a
            third, half or all of it where blocks do not divide by four), so that noise averages out.
        grey (`np.ndarray` of shape `(rows, columns)`, float32): the mean of `colours`.
        luma (`np.ndarray`, float32): luma at half the size of the canvas, or at full size where blocks have an odd
            side, for the codec's motion compensation.
    """

    frame: DecodedFrame
    cells: np.ndarray
    colours: np.ndarray
    grey: np.ndarray
    luma: np.ndarray

    @classmethod
    def of(cls, frame: DecodedFrame, blocks_hw: tuple[int, int], merge: int = 2) -> FrameFeatures:
        picture = frame.picture
        height, width = picture.size
        block = height // blocks_hw[0]
        step = next(step for step in (4, 3, 2, 1) if block % step == 0)
        colours = picture.color.to_rgb(pool(picture.planes, height // step, width // step))
        step = 2 if block % 2 == 0 else 1
        lumas = [
            pool(plane, height // step, width // step, scale=float(weight))
            for weight, plane in zip(picture.color.luma, picture.planes)
            if weight
        ]
        return cls(
            frame=frame,
            cells=pool_colours(picture, blocks_hw, merge),
            colours=colours,
            grey=mean_colour(colours[None])[0],
            luma=lumas[0] if len(lumas) == 1 else sum(lumas),
        )
