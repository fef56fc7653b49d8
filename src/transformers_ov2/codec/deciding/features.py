# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a frame is compared with others by, made of it alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..reading.decoding import DecodedFrame
from ..reading.pictures import PlanarPicture
from .pooling import pool


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
    cells = pool(picture.planes, rows, cols).reshape(3, -1)
    return (picture.color.matrix @ cells + picture.color.offset[:, None]).reshape(3, rows, cols)


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
        luma (`np.ndarray`, float32): luma at half the size of the canvas, or at full size where blocks have an odd
            side; half loses nothing that a score of whole blocks needs.
        pooled (`np.ndarray`, float32): means of two cells of luma along a block, so that noise averages out of them.
        small (`np.ndarray`, float32): luma at half its size, to find camera motion in.
        spectrum (`np.ndarray`, *optional*): its spectrum, once it was needed.
    """

    frame: DecodedFrame
    cells: np.ndarray
    luma: np.ndarray
    pooled: np.ndarray
    small: np.ndarray
    spectrum: np.ndarray | None = None

    @classmethod
    def of(cls, frame: DecodedFrame, blocks_hw: tuple[int, int], merge: int = 2) -> FrameFeatures:
        picture = frame.picture
        height, width = picture.size
        block = height // blocks_hw[0]
        step = 2 if block % 2 == 0 else 1
        factor = 2 if block // step % 2 == 0 else 1
        lumas = [
            pool(plane, height // step, width // step, scale=float(weight))
            for weight, plane in zip(picture.color.luma, picture.planes)
            if weight
        ]
        luma = lumas[0] if len(lumas) == 1 else sum(lumas)
        rows, cols = luma.shape[0] // 2, luma.shape[1] // 2
        return cls(
            frame=frame,
            cells=pool_colours(picture, blocks_hw, merge),
            luma=luma,
            pooled=pool(luma, factor * blocks_hw[0], factor * blocks_hw[1]),
            small=pool(luma[: 2 * rows, : 2 * cols], rows, cols),
        )
