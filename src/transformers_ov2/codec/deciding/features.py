# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a frame is compared with others by, made of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..reading.decoding import DecodedFrame
from ..reading.pictures import PlanarPicture
from .pooling import halves_and_quarters, mean_colour, pool


def block_features(pictures: Sequence[PlanarPicture], blocks_hw: tuple[int, int], merge: int = 2) -> np.ndarray:
    """The state of every block that `select_state` compares: mean RGB of cells of half a patch (a patch where its side
    is odd).

    Args:
        pictures (`Sequence[PlanarPicture]`): frames at canvas size.
        blocks_hw (`tuple[int, int]`): blocks per column and row of the canvas.
        merge (`int`): patches per side of a block.

    Returns:
        `np.ndarray` of shape `(num_frames, block_rows, block_columns, feature_dim)`, float32: the colours of its
        cells, scaled so that a squared difference is the pooled block's sum of squared pixel differences.
    """
    (rows, cols), block = blocks_hw, pictures[0].size[0] // blocks_hw[0]
    side = 2 * merge if block % (2 * merge) == 0 else merge
    scale = np.float32(block / side)
    features = np.empty((len(pictures), rows, cols, side, side, 3), np.float32)
    for picture, feature in zip(pictures, features):
        cells = picture.color.to_rgb(pool(picture.planes, rows * side, cols * side))
        cells *= scale
        feature[:] = cells.reshape(3, rows, side, cols, side).transpose(1, 3, 2, 4, 0)
    return features.reshape(len(pictures), rows, cols, -1)


@dataclass(eq=False)
class FrameFeatures:
    """What a frame is compared with others by, made of one frame alone.

    Attributes:
        frame (`DecodedFrame`): the frame.
        colours (`np.ndarray` of shape `(3, rows, columns)`, float32): RGB at a quarter of the size of the canvas (a
            third, half or all of it where blocks do not divide by four), so that noise averages out.
        grey (`np.ndarray` of shape `(rows, columns)`, float32): the mean of `colours`.
        luma (`np.ndarray`, float32): luma at half the size of the canvas, or at full size where blocks have an odd
            side, for the codec's motion compensation; None once no frame to come can refer to this one.
    """

    frame: DecodedFrame
    colours: np.ndarray
    grey: np.ndarray
    luma: np.ndarray | None

    @classmethod
    def of(cls, frame: DecodedFrame, blocks_hw: tuple[int, int]) -> FrameFeatures:
        picture, color = frame.picture, frame.picture.color
        height, width = picture.size
        block = height // blocks_hw[0]
        if block % 4 == 0:
            colours, luma = np.empty((3, height // 4, width // 4), np.float32), None
            for weight, plane, colour in zip(color.luma, picture.planes, colours):
                halves, colour[:] = halves_and_quarters(plane)
                if weight:
                    part = halves * (weight / 4)
                    luma = part if luma is None else luma + part
            colours *= np.float32(1 / 16)
        else:
            step = next(step for step in (3, 2, 1) if block % step == 0)
            colours = pool(picture.planes, height // step, width // step)
            step = 2 if block % 2 == 0 else 1
            luma = pool(picture.planes, height // step, width // step)
            luma = np.tensordot(color.luma, luma, 1)
        colours = color.to_rgb(colours)
        return cls(
            frame=frame,
            colours=colours,
            grey=mean_colour(colours),
            luma=luma,
        )

    def remembered(self, reference: bool) -> FrameFeatures:
        """What later frames are compared with: without the picture and the side data of the frame, and without luma
        unless they may refer to it."""
        frame = replace(self.frame, picture=None, motion_vectors=None, quantiser_steps=None)
        return replace(self, frame=frame, luma=self.luma if reference else None)
