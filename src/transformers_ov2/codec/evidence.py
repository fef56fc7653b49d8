# Copyright 2026 The transformers_ov2 authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Step 2, scoring: motion, residual and bitrate prior of decoded frames, fused into one score per 2×2 block of
patches."""

from dataclasses import dataclass

import numpy as np


@dataclass
class BlockScores:
    """Evidence of the frames of one group.

    Attributes:
        scores (`np.ndarray` of shape `(num_frames, block_rows, block_cols)`, float32): evidence per block, comparable
            across the frames of the group.
        signal_source (`str`): `"motion+residual"`, or `"residual"` where the decoder gave no vectors, or `"pixels"`
            for decoded frames, which have no packets either.
    """

    scores: np.ndarray
    signal_source: str


def is_bad_frame(image: np.ndarray) -> bool:
    """Whether a frame is near black, solid or the green of a lost picture: neither an anchor nor a source of blocks.

    The thresholds are those of `cv-preinfer`: luma mean ≤ 8 with deviation ≤ 6; luma and channel deviations ≤ 4 with
    channel ranges ≤ 12; ≥ 35 % of pixels with G ≥ 180 and R, B ≤ 90, or a mean G over 120 that exceeds the others by
    more than 80 with a deviation under 50.

    Args:
        image (`np.ndarray` of shape `(height, width, 3)`, uint8): RGB.
    """
    red, green, blue = channels = np.ascontiguousarray(image.reshape(-1, 3).T)
    count = len(green)
    mean = channels.sum(axis=1, dtype=np.int64) / count
    # What all but a few frames fail without their pixels being looked at one by one comes first.
    if mean[1] > 120 and mean[1] - max(mean[0], mean[2]) > 80 and green.std() < 50:
        return True
    vivid = green >= 180
    if np.count_nonzero(vivid) >= 0.35 * count and (vivid & (red <= 90) & (blue <= 90)).mean() >= 0.35:
        return True
    weights = np.array([0.299, 0.587, 0.114])
    dark = mean @ weights <= 8
    solid = (np.ptp(channels, axis=1) <= 12).all()
    if not (dark or solid):
        return False
    deviation = (weights @ channels).std()
    return bool((dark and deviation <= 6) or (solid and deviation <= 4 and (channels.std(axis=1) <= 4).all()))


def block_features(images: np.ndarray, grid_hw: tuple[int, int], cells: int = 4) -> np.ndarray:
    """Pooled colours of every block: the state that `select_state` compares.

    Args:
        images (`np.ndarray` of shape `(num_frames, height, width, 3)`, uint8): RGB at canvas size.
        grid_hw (`tuple[int, int]`): patches per column and row of the canvas; a block is 2×2 of them.
        cells (`int`): cells per side of a block.

    Returns:
        `np.ndarray` of shape `(num_frames, block_rows, block_cols, cells · cells · 3)`, float32, scaled so that a
        squared difference is the sum of squared pixel differences of the pooled block.
    """
    n, height, width, _ = images.shape
    rows, cols = grid_hw[0] // 2, grid_hw[1] // 2
    side_y, side_x = height // (rows * cells), width // (cols * cells)
    pooled = images.reshape(n, rows * cells, side_y, cols * cells, side_x, 3).mean(axis=(2, 4), dtype=np.float32)
    pooled *= np.sqrt(side_y * side_x)
    pooled = pooled.reshape(n, rows, cells, cols, cells, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(pooled.reshape(n, rows, cols, cells * cells * 3))


def _luma(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def score_blocks(frames: list, table, grid_hw: tuple[int, int], config) -> BlockScores:
    """One score per 2×2 block of every frame of a group.

    Args:
        frames (`list[DecodedFrame]`): frames of one group, ascending, `image` at canvas size.
        table (`PacketTable`): the packet table they come from.
        grid_hw (`tuple[int, int]`): patches per column and row of the canvas.
        config (`CodecStreamConfig`): unused by the stock signals.

    Returns:
        `BlockScores`.
    """
    rows, cols = grid_hw[0] // 2, grid_hw[1] // 2
    scores = np.zeros((len(frames), rows, cols), dtype=np.float32)
    lumas = [_luma(frame.image) for frame in frames]
    height, width = lumas[0].shape
    for index in range(1, len(frames)):
        difference = np.abs(lumas[index] - lumas[index - 1])
        scores[index] = difference.reshape(rows, height // rows, cols, width // cols).mean(axis=(1, 3))
    has_vectors = any(frame.motion_vectors is not None and len(frame.motion_vectors) for frame in frames)
    source = "motion+residual" if has_vectors else "residual" if table.size.any() else "pixels"
    return BlockScores(scores, source)
