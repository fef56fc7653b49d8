# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Metrics of tracking: points in masks, region similarity and boundary accuracy (DAVIS, Perazzi et al. 2016), and HOTA
(Luiten et al. 2021) at one threshold. Needs scipy (`pip install "transformers-ov2[eval]"`).
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.optimize import linear_sum_assignment


# Boundaries match within this share of the picture's diagonal.
BOUNDARY_TOLERANCE = 0.008


def match_points(points: np.ndarray, masks: np.ndarray) -> int:
    """
    Number of points that can be given a mask of their own that holds them (Hungarian matching).

    Args:
        points (`np.ndarray` of shape `(num_points, 2)`): x and y in pixels; outside the picture is in no mask.
        masks (`np.ndarray` of shape `(num_objects, height, width)`, bool): the objects of the frame.
    """
    points, masks = np.asarray(points, dtype=np.float64).reshape(-1, 2), np.asarray(masks, dtype=bool)
    if not len(points) or not len(masks):
        return 0
    x, y = np.floor(points).astype(np.int64).T
    height, width = masks.shape[1:]
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    inside = masks[:, np.where(seen, y, 0), np.where(seen, x, 0)] & seen
    rows, cols = linear_sum_assignment(-inside.astype(np.int64))
    return int(inside[rows, cols].sum())


def point_scores(points: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> dict[str, float]:
    """
    Precision, recall and F1 of the points of a clip, counted over all its frames.

    Args:
        points (sequence of `np.ndarray` of shape `(num_points, 2)`): per frame, x and y in pixels.
        masks (sequence of `np.ndarray` of shape `(num_objects, height, width)`): per frame; an object that is not
            visible has an empty mask or none.

    Returns:
        `dict[str, float]`: `"precision"`, `"recall"`, `"f1"` from 0 to 1; all 1 where there is neither a point nor an
        object.

    Raises:
        ValueError: the two do not have as many frames.
    """
    _same_length(points=points, masks=masks)
    masks = [mask[mask.any(axis=(1, 2))] if len(mask) else mask for mask in map(np.asarray, masks)]
    hits = sum(map(match_points, points, masks))
    num_points, num_objects = sum(map(len, points)), sum(map(len, masks))
    if not num_points and not num_objects:
        return {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    precision = hits / num_points if num_points else 0.0
    recall = hits / num_objects if num_objects else 0.0
    return {"precision": precision, "recall": recall, "f1": 2 * hits / (num_points + num_objects)}


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks of shape `(height, width)`; 1 where both are empty."""
    predicted, truth = np.asarray(predicted, dtype=bool), np.asarray(truth, dtype=bool)
    union = (predicted | truth).sum()
    return float((predicted & truth).sum() / union) if union else 1.0


def boundary_accuracy(predicted: np.ndarray, truth: np.ndarray, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """
    F: harmonic mean of the shares of each mask's boundary that lie near the other's.

    Args:
        predicted (`np.ndarray` of shape `(height, width)`, bool): a mask.
        truth (`np.ndarray` of the same shape, bool): the true one.
        tolerance (`float`): what is near, as a share of the diagonal; rounded up to whole pixels.

    Returns:
        `float`: from 0 to 1; 1 where neither mask has a boundary.
    """
    edges = [_boundary(np.asarray(mask, dtype=bool)) for mask in (predicted, truth)]
    counts = [int(edge.sum()) for edge in edges]
    if not all(counts):
        return float(counts[0] == counts[1])
    reach = np.ceil(tolerance * np.hypot(*edges[0].shape))
    near = [distance_transform_edt(~edge) <= reach for edge in edges]
    precision, recall = (edges[0] & near[1]).sum() / counts[0], (edges[1] & near[0]).sum() / counts[1]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def j_and_f(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """
    J, F and J&F of one object's masks over a clip, averaged over its frames.

    Args:
        predicted (`np.ndarray` of shape `(num_frames, height, width)`, bool): masks.
        truth (`np.ndarray` of the same shape, bool): the true ones.

    Returns:
        `dict[str, float]`: `"J"`, `"F"` and their mean `"J&F"`, from 0 to 1.
    """
    _same_length(predicted=predicted, truth=truth)
    region = float(np.mean(list(map(region_similarity, predicted, truth))))
    boundary = float(np.mean(list(map(boundary_accuracy, predicted, truth))))
    return {"J": region, "F": boundary, "J&F": (region + boundary) / 2}


def hota(
    similarity: Sequence[np.ndarray],
    predicted_ids: Sequence[Sequence[int]],
    true_ids: Sequence[Sequence[int]],
    threshold: float = 0.5,
) -> float:
    """
    HOTA at one similarity threshold: `sqrt(DetA · AssA)`.

    Args:
        similarity (sequence of `np.ndarray` of shape `(num_predicted, num_true)`): per frame, from 0 to 1: the IoU of
            masks, or 1 for a point inside a mask.
        predicted_ids (sequence of sequences of `int`): per frame, the identities of the rows.
        true_ids (sequence of sequences of `int`): per frame, the identities of the columns.
        threshold (`float`): least similarity of a match, inclusive.

    Returns:
        `float`: from 0 to 1; 1 where there is nothing to track and nothing was tracked.

    Raises:
        ValueError: the arguments do not have as many frames.
    """
    _same_length(similarity=similarity, predicted_ids=predicted_ids, true_ids=true_ids)
    predicted, num_predicted = _dense(predicted_ids)
    true, num_true = _dense(true_ids)
    if not sum(num_predicted) and not sum(num_true):
        return 1.0
    # Identities that would go together over the whole clip are preferred in every frame.
    together = np.zeros((len(num_predicted), len(num_true)))
    frames = [
        np.asarray(each, dtype=np.float64).reshape(len(p), len(t)) for each, p, t in zip(similarity, predicted, true)
    ]
    for each, p, t in zip(frames, predicted, true):
        union = each.sum(axis=0, keepdims=True) + each.sum(axis=1, keepdims=True) - each
        together[np.ix_(p, t)] += np.divide(each, union, out=np.zeros_like(each), where=union > 0)
    alignment = together / np.maximum(num_predicted[:, None] + num_true[None] - together, 1e-9)
    matches = np.zeros_like(together)
    for each, p, t in zip(frames, predicted, true):
        rows, cols = linear_sum_assignment(-alignment[np.ix_(p, t)] * each)
        hit = each[rows, cols] >= threshold - 1e-9
        matches[p[rows[hit]], t[cols[hit]]] += 1
    hits = matches.sum()
    if not hits:
        return 0.0
    detection = hits / (num_predicted.sum() + num_true.sum() - hits)
    association = (matches * matches / np.maximum(num_predicted[:, None] + num_true[None] - matches, 1)).sum() / hits
    return float(np.sqrt(detection * association))


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their neighbour to the right, below, or both (the contour of the DAVIS benchmark)."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, both = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ both)


def _dense(ids: Sequence[Sequence[int]]) -> tuple[list[np.ndarray], np.ndarray]:
    """Identities numbered from 0, per frame, and how often each occurs."""
    flat = np.concatenate([np.asarray(each, dtype=np.int64).reshape(-1) for each in ids])
    values, dense, counts = np.unique(flat, return_inverse=True, return_counts=True)
    return np.split(dense, np.cumsum([len(each) for each in ids])[:-1]), counts if len(values) else np.zeros(
        0, np.int64
    )


def _same_length(**sequences: Sequence) -> None:
    lengths = {name: len(sequence) for name, sequence in sequences.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"All of them must have as many frames, got {lengths}.")
