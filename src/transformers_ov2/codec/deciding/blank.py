# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that show nothing: near black, or the grey or green of a lost picture."""

import math

import numpy as np

from ..reading.pictures import PlanarPicture, planes_to_rgb


# Pixels that are looked at together.
BAND_PIXELS = 2**17

# Half of all values: 128 of 255 in full range, 130 in limited range.
LOST_GREY = 129.0

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def is_bad_frame(picture: PlanarPicture) -> bool:
    """Whether a frame is near black or a lost picture: neither an anchor nor a source of blocks.

    The thresholds are those of `cv-preinfer`: luma mean ≤ 8 with deviation ≤ 6; luma and channel deviations ≤ 4 with
    channel ranges ≤ 12; ≥ 35 % of pixels with G ≥ 180 and R, B ≤ 90, or a mean G over 120 that exceeds the others by
    more than 80 with a deviation under 50. Of solid frames, which that tool leaves out whatever their colour, only the
    middle grey that decoders fill lost pictures with is left out: a title's background or a fade is what is shown.
    """
    # All but a few frames are ruled out by some 2000 of their pixels: they are varied, and far from being green.
    step = max(1, math.isqrt(math.prod(picture.size) // 2048))
    color, sample = picture.color, picture.planes[:, ::step, ::step].reshape(3, -1).astype(np.float32)
    if (color.luma @ sample).std() > 12:
        red, green, blue = color.matrix @ sample + color.offset[:, None]
        lost = ((green > 150) & (np.maximum(red, blue) < 120)).mean() > 0.2
        if not lost and green.mean() - max(red.mean(), blue.mean()) < 60:
            return False
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
