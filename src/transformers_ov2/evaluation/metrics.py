# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of answers about time: JumpScore and temporal grounding."""

from collections.abc import Iterable, Sequence

import numpy as np


JUMP_TOLERANCES = (0.1, 0.2, 0.3)
IOU_THRESHOLDS = (0.3, 0.5, 0.7)


def average_precision(predicted: Sequence[float], truth: Sequence[float], tolerance: float) -> float:
    """
    Average precision of predicted times, taken in time order with equal confidence (JumpScore).

    Each prediction takes the nearest truth within `tolerance` that no earlier one took. AP = Σ precision · Δrecall
    over the predictions, without interpolation.

    Args:
        predicted (sequence of `float`): seconds, in any order.
        truth (sequence of `float`): seconds.
        tolerance (`float`): seconds, inclusive; compared in binary floating point like the benchmark's own script, for
            which 1.3 is more than 0.1 away from 1.2.

    Returns:
        `float`: from 0 to 1; 1 where truth and prediction are both empty, 0 where only one of them is.
    """
    if not len(predicted) or not len(truth):
        return float(len(predicted) == len(truth))
    free = np.array(sorted(truth), dtype=np.float64)
    hits, total = 0, 0.0
    for count, time in enumerate(sorted(predicted), start=1):
        distance = np.abs(free - time)
        nearest = int(np.argmin(distance))
        if distance[nearest] <= tolerance:
            hits += 1
            total += hits / count
            free[nearest] = np.inf
    return total / len(truth)


def jump_score(
    predicted: Sequence[float], truth: Sequence[float], tolerances: Sequence[float] = JUMP_TOLERANCES
) -> float:
    """JumpScore of one sample: [`average_precision`] averaged over the tolerances, from 0 to 1."""
    return float(np.mean([average_precision(predicted, truth, tolerance) for tolerance in tolerances]))


def temporal_iou(predicted: tuple[float, float] | None, truth: tuple[float, float]) -> float:
    """
    Intersection over union of two intervals in seconds; 0 for `None` (an answer that cannot be parsed) and for an
    interval that ends before it starts.
    """
    if predicted is None or predicted[1] < predicted[0]:
        return 0.0
    overlap = min(predicted[1], truth[1]) - max(predicted[0], truth[0])
    union = max(predicted[1], truth[1]) - min(predicted[0], truth[0])
    if union == 0:  # both are the same instant
        return 1.0
    return max(0.0, overlap) / union


def grounding_scores(
    pairs: Iterable[tuple[tuple[float, float] | None, tuple[float, float]]],
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> dict[str, float]:
    """
    Temporal grounding as TimeLens and Charades-STA report it.

    Args:
        pairs (iterable of `(predicted, truth)`): intervals in seconds, `None` for an answer that cannot be parsed.
        thresholds (sequence of `float`): of the IoU, inclusive.

    Returns:
        `dict[str, float]`: `"R1@0.3"`, … the percentage of samples that reach each threshold, and `"mIoU"` in percent.

    Raises:
        ValueError: there is no pair.
    """
    ious = np.array([temporal_iou(predicted, truth) for predicted, truth in pairs])
    if not len(ious):
        raise ValueError("There is nothing to score: no pair of intervals was given.")
    scores = {f"R1@{threshold:g}": 100 * float((ious >= threshold).mean()) for threshold in thresholds}
    return scores | {"mIoU": 100 * float(ious.mean())}
