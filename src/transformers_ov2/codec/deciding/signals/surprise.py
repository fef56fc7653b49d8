# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Surprise: how far a block stands out of its own frame once camera motion and brightness are compensated, both against
the frame before and against one half a second earlier. The second makes it blind to what is only uncovered again.
"""

from __future__ import annotations

import numpy as np

from ..pooling import medians


# Seconds between a frame and the earlier one that surprise compares it with.
MEMORY_SECONDS = 0.5


def standing_out(difference: np.ndarray) -> np.ndarray:
    """
    Robust deviation of every block from its frame: distance to the median over the median absolute deviation.

    Args:
        difference (`np.ndarray` of shape `(num_frames, block_rows, block_columns)`): grey levels.
    """
    centred = difference - medians(difference)[:, None, None]
    return centred / (medians(np.abs(centred)) + np.float32(0.3))[:, None, None]
