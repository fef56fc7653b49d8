# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A decoded picture as planes: what scoring reads and canvases are cut from, made RGB only where it is shown."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np


# Kr and Kb of AVColorSpace (ITU-T H.273, table 4); libswscale reads all others as BT.601.
_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
# Pixels converted at once: intermediate results stay in the cache.
CHUNK_PIXELS = 2**15


@dataclass(frozen=True, eq=False)
class ColorSpace:
    """
    How the planes of a picture make RGB.

    Attributes:
        matrix (`np.ndarray` of shape `(3, 3)`, float32), offset (`np.ndarray` of shape `(3,)`, float32):
            RGB = matrix · planes + offset, in grey levels.
        luma (`np.ndarray` of shape `(3,)`, float32): luma = luma · planes, up to a constant.
    """

    matrix: np.ndarray
    offset: np.ndarray
    luma: np.ndarray

    def to_rgb(self, planes: np.ndarray) -> np.ndarray:
        """RGB of planes, both float32 of shape `(3, rows, columns)`, unrounded."""
        rgb = self.matrix @ planes.reshape(3, -1)
        rgb += self.offset[:, None]
        return rgb.reshape(planes.shape)

    @staticmethod
    @functools.cache
    def of_yuv(colorspace: int, full_range: bool, subsampled: bool = True) -> ColorSpace:
        """
        The colour space of YUV planes with an AVColorSpace and range, as libswscale reads them.

        Its conversion of pictures with subsampled chroma to RGB truncates every product: its frames, PyAV's, are half
        a grey level darker for each that is not whole. So are these, that a video has one brightness however it is
        read. That of 4:4:4 rounds.
        """
        red, blue = _LUMA_WEIGHTS.get(colorspace, _BT601)
        green = 1 - red - blue
        to_rgb = np.array(
            [
                [1, 0, 2 * (1 - red)],
                [1, -2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
                [1, 2 * (1 - blue), 0],
            ]
        )
        matrix = to_rgb * ([1, 1, 1] if full_range else [255 / 219, 255 / 224, 255 / 224])
        truncated = (np.array([0.5, 1.0, 0.5]) + (0 if full_range else 0.5)) * subsampled
        offset = -matrix @ [0 if full_range else 16, 128, 128] - truncated
        luma = np.array([matrix[0, 0], 0, 0])
        return ColorSpace(*(array.astype(np.float32) for array in (matrix, offset, luma)))


RGB = ColorSpace(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), np.array([0.299, 0.587, 0.114], np.float32))


@dataclass(frozen=True, eq=False)
class PlanarPicture:
    """
    A picture of full-size planes.

    Attributes:
        planes (`np.ndarray` of shape `(3, height, width)`, uint8): Y, U and V, or R, G and B.
        color (`ColorSpace`): which of them, and how they make RGB.
    """

    planes: np.ndarray
    color: ColorSpace

    @classmethod
    def from_rgb(cls, image: np.ndarray) -> PlanarPicture:
        """Of RGB pixels, uint8 `(height, width, 3)`, which are not copied."""
        return cls(image.transpose(2, 0, 1), RGB)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.planes.shape[1:]

    def to_rgb(self) -> np.ndarray:
        """RGB pixels, uint8 `(height, width, 3)`."""
        return planes_to_rgb(self.planes, self.color)


def planes_to_rgb(planes: np.ndarray, color: ColorSpace) -> np.ndarray:
    """
    RGB pixels of planes of any shape.

    Args:
        planes (`np.ndarray` of shape `(3, ...)`, uint8): the planes.
        color (`ColorSpace`): theirs.

    Returns:
        uint8 `np.ndarray` of shape `(..., 3)`.
    """
    if color is RGB:
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    flat = planes.reshape(3, -1)
    out = np.empty((flat.shape[1], 3), np.uint8)
    for start in range(0, len(out), CHUNK_PIXELS):
        # Sums of products one after the other: the same on every machine, unlike a matrix product.
        values = flat[:, start : start + CHUNK_PIXELS].astype(np.float32)
        luma = color.matrix[0, 0] * values[0]
        for channel, row in enumerate(color.matrix):
            total = luma + (color.offset[channel] + np.float32(0.5))
            for weight, plane in zip(row[1:], values[1:]):
                if weight:
                    total += weight * plane
            np.clip(total, 0, 255, out=total)
            out[start : start + CHUNK_PIXELS, channel] = total
    return out.reshape(*planes.shape[1:], 3)
