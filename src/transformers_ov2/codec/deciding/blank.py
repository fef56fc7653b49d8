# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that show nothing: near black, or the grey or green of a lost picture."""

import math
from collections.abc import Sequence

import numpy as np

from ..reading.pictures import PlanarPicture, planes_to_rgb


# About how many pixels of a frame tell that it is not one of these, and of how many frames at once.
SAMPLED_PIXELS, SAMPLED_PICTURES = 2048, 32
# Pixels of others that are looked at together.
BAND_PIXELS = 2**17

# Half of all values: 128 of 255 in full range, 130 in limited range.
LOST_GREY = 129.0

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def bad_frames(pictures: Sequence[PlanarPicture]) -> np.ndarray:
    """
    Which frames are near black or lost pictures: neither anchors nor sources of blocks.

    The thresholds are those of `cv-preinfer`: luma mean ≤ 8 with deviation ≤ 6; luma and channel deviations ≤ 4 with
    channel ranges ≤ 12; ≥ 35 % of pixels with G ≥ 180 and R, B ≤ 90, or a mean G over 120 that exceeds the others by
    more than 80 with a deviation under 50. Of solid frames, which that tool leaves out whatever their colour, only the
    middle grey that decoders fill lost pictures with is left out: a title's background or a fade is what is shown.

    Args:
        pictures (`Sequence[PlanarPicture]`): frames of one size.

    Returns:
        bool `np.ndarray` of shape `(num_pictures,)`.
    """
    bad = np.zeros(len(pictures), dtype=bool)
    step = max(1, math.isqrt(math.prod(pictures[0].size) // SAMPLED_PIXELS))
    for first in range(0, len(pictures), SAMPLED_PICTURES):
        part = pictures[first : first + SAMPLED_PICTURES]
        sample = np.stack([picture.planes[:, ::step, ::step] for picture in part]).reshape(len(part), 3, -1)
        sample = sample.astype(np.float32)
        weights, matrix, offset = (
            np.stack([getattr(picture.color, name) for picture in part]) for name in ("luma", "matrix", "offset")
        )
        # All but a few frames are ruled out: they are varied, and far from being green.
        varied = (weights[:, None] @ sample).std(axis=(1, 2)) > 12
        red, green, blue = (matrix @ sample + offset[:, :, None]).swapaxes(0, 1)
        lost = ((green > 150) & (np.maximum(red, blue) < 120)).mean(axis=1) > 0.2
        far = green.mean(axis=1) - np.maximum(red.mean(axis=1), blue.mean(axis=1)) < 60
        for at in np.flatnonzero(~(varied & far & ~lost)).tolist():
            bad[first + at] = _is_bad(part[at])
    return bad


def _is_bad(picture: PlanarPicture) -> bool:
    color = picture.color
    count, total, squares, green_pixels = 0, np.zeros(4), np.zeros(4), 0
    low, high = np.full(4, np.inf), np.full(4, -np.inf)
    rows = max(1, BAND_PIXELS // picture.size[1])
    for first in range(0, picture.size[0], rows):
        pixels = planes_to_rgb(picture.planes[:, first : first + rows], color).reshape(-1, 3).astype(np.float32)
        red, green, blue = pixels.T
        green_pixels += int(((green >= 180) & (red <= 90) & (blue <= 90)).sum())
        values = np.stack([red, green, blue, pixels @ _LUMA])
        count += len(pixels)
        total += values.sum(axis=1, dtype=np.float64)
        squares += np.square(values).sum(axis=1, dtype=np.float64)
        low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    (red, green, blue, luma), extent = mean, high - low
    if luma <= 8 and std[3] <= 6:
        return True
    if (std <= 4).all() and (extent[:3] <= 12).all() and (np.abs(mean - LOST_GREY) <= 6).all():
        return True
    if green_pixels >= 0.35 * count:
        return True
    return bool(green > 120 and green - max(red, blue) > 80 and std[1] < 50)
