# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The released tool's sampling and grouping ("readiness"), the rule behind the published numbers.

Written from the behaviour of codec-video-prep 0.2.5 (`cv-preinfer`), with which it agrees frame for frame.
"""

from __future__ import annotations

import numpy as np

from ..config import CodecStreamConfig


# The tool's own constants.
KEYFRAME_SHIFTS = (1, -1, 2, -2, 3, -3, 4, -4)
COVERAGE_BINS = 3
LEAST_GAIN = 0.05
LEAST_GROUP_FRAMES = 4


def sample_frames(num_frames: int, count: int, is_key: np.ndarray) -> np.ndarray:
    """
    Sample a video uniformly, off its key frames: their bits say nothing about change.

    A sampled key frame moves to the nearest frame within ±4 that is none (later before earlier). Frames that were hit
    twice are replaced by unused ones that are no key frames, nearest to the sampled ones first, then nearest to the
    middle of the video, then the lowest; when those are used up, by the lowest unused frames.

    Args:
        num_frames (`int`): frames of the video.
        count (`int`): frames wanted.
        is_key (`np.ndarray` of shape `(num_frames,)`, bool): which frames are key frames.

    Returns:
        int64 `np.ndarray` of at most `count` ascending frame indices.
    """
    count = min(count, num_frames)
    sampled = np.linspace(0, num_frames - 1, count).astype(np.int64)
    for i in np.flatnonzero(is_key[sampled]):
        shifted = sampled[i] + np.array(KEYFRAME_SHIFTS)
        shifted = shifted[(shifted >= 0) & (shifted < num_frames)]
        shifted = shifted[~is_key[shifted]]
        if len(shifted):
            sampled[i] = shifted[0]
    sampled = np.unique(sampled)

    while len(sampled) < count:
        unused = np.setdiff1d(np.flatnonzero(~is_key), sampled)
        if not len(unused):
            unused = np.setdiff1d(np.arange(num_frames), sampled)[: count - len(sampled)]
            return np.union1d(sampled, unused)
        after = np.searchsorted(sampled, unused)
        distance = np.minimum(
            np.abs(unused - sampled[np.maximum(after - 1, 0)]),
            np.abs(unused - sampled[np.minimum(after, len(sampled) - 1)]),
        )
        nearest = np.lexsort((unused, np.abs(unused - (num_frames - 1) / 2), distance))[0]
        sampled = np.insert(sampled, after[nearest], unused[nearest])
    return sampled


def partition_readiness(scores: np.ndarray, config: CodecStreamConfig) -> np.ndarray:
    """
    Grow each group until its best blocks carry enough evidence, spread over its time.

    A group starts with `min_group_frames` sampled frames and grows up to `max_group_frames`. A size is ready when the
    sum of the group's `K` best block scores reaches the mean of that sum over groups of `group_size` frames, and those
    blocks come from every third of the group; `K` is the number of blocks of the P-canvases. The group ends at the
    first ready size at which the last frame added less than 5 % to the sum, else at the largest ready size, else at
    its maximum. A remainder of less than `max(4, min_group_frames)` frames belongs to no group.

    Args:
        scores (`np.ndarray` of shape `(num_sampled, block_rows, block_columns)`, float32):
            Score of every block of the sampled frames, blank frames included: they count here, as they do in the tool.
        config (`CodecStreamConfig`): its `images_per_group`, `group_size`, `min_group_frames` and `max_group_frames`.

    Returns:
        int64 `np.ndarray` of shape `(num_groups, 2)`: first sampled frame of each group and the one after its last.
    """
    num_frames = len(scores)
    budget = (config.images_per_group - 1) * scores[0].size
    starts = range(0, num_frames, config.group_size)
    threshold = np.mean([_best_blocks(scores, start, start + config.group_size, budget)[0] for start in starts])

    groups, start = [], 0
    while num_frames - start >= max(LEAST_GROUP_FRAMES, config.min_group_frames):
        largest = min(start + config.max_group_frames, num_frames)
        end, before = largest, 0.0
        for size_end in range(start + config.min_group_frames, largest + 1):
            total, thirds = _best_blocks(scores, start, size_end, budget)
            if total >= threshold and thirds == COVERAGE_BINS:
                end = size_end
                if total - before < LEAST_GAIN * before:
                    break
            before = total
        groups.append((start, end))
        start = end
    return np.array(groups, dtype=np.int64).reshape(-1, 2)


def _best_blocks(scores: np.ndarray, start: int, end: int, budget: int) -> tuple[float, int]:
    """Sum of the `budget` best scores of a group without its anchor, and how many thirds of its time they are from."""
    candidates = scores[start + 1 : end].ravel()
    best = np.arange(len(candidates))
    if budget < len(candidates):
        best = np.argpartition(candidates, -budget)[len(candidates) - budget :]
    frames = 1 + best // scores[0].size
    thirds = frames * COVERAGE_BINS // (min(end, len(scores)) - start)
    return float(candidates[best].sum(dtype=np.float64)), len(np.unique(thirds))
