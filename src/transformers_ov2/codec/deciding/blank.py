# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that show nothing: near black, solid, or the green of a lost picture."""

import math

import numpy as np

from ..reading.pictures import PlanarPicture


_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def is_bad_frame(picture: PlanarPicture) -> bool:
    """Whether a frame is near black, solid or the green of a lost picture: neither an anchor nor a source of blocks.

    The thresholds are those of `cv-preinfer`: luma mean ≤ 8 with deviation ≤ 6; luma and channel deviations ≤ 4 with
    channel ranges ≤ 12; ≥ 35 % of pixels with G ≥ 180 and R, B ≤ 90, or a mean G over 120 that exceeds the others by
    more than 80 with a deviation under 50.
    """
    # All but a few frames are ruled out by some 2000 of their pixels: they are varied, and far from being green.
    step = max(1, math.isqrt(math.prod(picture.size) // 2048))
    color, sample = picture.color, picture.planes[:, ::step, ::step].reshape(3, -1).astype(np.float32)
    if (color.luma @ sample).std() > 12:
        red, green, blue = color.matrix @ sample + color.offset[:, None]
        lost = ((green > 150) & (np.maximum(red, blue) < 120)).mean() > 0.2
        if not lost and green.mean() - max(red.mean(), blue.mean()) < 60:
            return False
    pixels = picture.to_rgb().reshape(-1, 3).astype(np.float32)
    luma = pixels @ _LUMA
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    if luma.mean() <= 8 and luma.std() <= 6:
        return True
    if luma.std() <= 4 and (std <= 4).all() and (np.ptp(pixels, axis=0) <= 12).all():
        return True
    red, green, blue = pixels.T
    if ((green >= 180) & (red <= 90) & (blue <= 90)).mean() >= 0.35:
        return True
    return bool(mean[1] > 120 and mean[1] - max(mean[0], mean[2]) > 80 and std[1] < 50)
