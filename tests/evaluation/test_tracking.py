# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Every expected value is computed by hand, the sums in the comments."""

import numpy as np
import pytest

from transformers_ov2.evaluation.tracking import (
    boundary_accuracy,
    hota,
    j_and_f,
    match_points,
    point_scores,
    region_similarity,
)


def box(y, x, side, size=20):
    mask = np.zeros((size, size), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_every_point_has_a_mask_of_its_own():
    masks = np.stack([box(0, 0, 10), box(0, 5, 10)])  # they overlap at x 5 to 9
    assert match_points([[7, 2], [2, 2]], masks) == 2  # the first must take the second mask
    assert match_points([[2, 2], [3, 3]], masks) == 1
    assert match_points([[25, 2], [-1, 2], [2, 15]], masks) == 0
    assert match_points(np.zeros((0, 2)), masks) == 0


def test_point_scores_count_over_frames():
    points = [np.array([[1, 1]]), np.array([[1, 1], [15, 15]]), np.zeros((0, 2))]
    masks = [box(0, 0, 4)[None], box(0, 0, 4)[None], np.stack([box(0, 0, 4), np.zeros((20, 20), dtype=bool)])]
    # 2 hits of 3 points and 3 visible objects.
    assert point_scores(points, masks) == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})


def test_point_scores_of_nothing_and_of_one_side():
    empty, nothing = np.zeros((1, 20, 20), dtype=bool), np.zeros((0, 2))
    assert point_scores([nothing], [empty])["f1"] == 1.0
    assert point_scores([np.array([[1, 1]])], [empty]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    with pytest.raises(ValueError, match="as many frames"):
        point_scores([nothing, nothing], [empty])


def test_region_similarity():
    assert region_similarity(box(0, 0, 10), box(0, 5, 10)) == pytest.approx(50 / 150)
    assert region_similarity(box(0, 0, 0), box(0, 0, 0)) == 1.0


def test_boundary_accuracy():
    mask = box(50, 50, 40, size=200)  # 0.008 of the diagonal of 283 pixels is 2.3, so 3 pixels are near
    assert boundary_accuracy(mask, mask) == 1.0
    assert boundary_accuracy(box(50, 53, 40, size=200), mask) == 1.0
    assert boundary_accuracy(box(120, 120, 40, size=200), mask) == 0.0
    # 10 pixels to the right. Of the 160 pixels of its boundary (x 59 to 99, y 49 to 89) those of the two horizontal
    # edges up to x = 92 are near (2 * 34), and 3 at each end of the left edge. Recall is the same by symmetry.
    assert boundary_accuracy(box(50, 60, 40, size=200), mask) == pytest.approx((2 * 34 + 6) / 160)
    assert boundary_accuracy(np.zeros_like(mask), np.zeros_like(mask)) == 1.0
    assert boundary_accuracy(np.zeros_like(mask), mask) == 0.0


def test_j_and_f_average_over_frames():
    truth = np.stack([box(0, 0, 10)] * 2)
    scores = j_and_f(np.stack([box(0, 0, 10), box(10, 10, 10)]), truth)
    assert scores["J"] == pytest.approx(0.5)
    assert scores["J&F"] == pytest.approx((scores["J"] + scores["F"]) / 2)


def test_hota_of_an_identity_switch():
    # One object over four frames, found in all; its identity changes half-way.
    one = [np.array([[1.0]])] * 4
    assert hota(one, [[1]] * 4, [[7]] * 4) == 1.0
    # DetA 1; each match has A = 2 / (2 + 4 - 2) = 0.5.
    assert hota(one, [[1], [1], [2], [2]], [[7]] * 4) == pytest.approx(np.sqrt(0.5))


def test_hota_counts_misses_and_false_alarms():
    # Frame 1: hit. Frame 2: similarity below the threshold. DetA 1 / (2 + 2 - 1) = 1/3, AssA 1 / (2 + 2 - 1) = 1/3.
    assert hota([np.array([[1.0]]), np.array([[0.4]])], [[1], [1]], [[7], [7]]) == pytest.approx(1 / 3)
    assert hota([np.zeros((0, 1))], [[]], [[7]]) == 0.0
    assert hota([np.zeros((0, 0))], [[]], [[]]) == 1.0


def test_hota_prefers_the_identity_of_the_whole_clip():
    # Two predictions in the last frame are as near; the one that followed the object all along is its match.
    similarity = [np.array([[1.0]]), np.array([[1.0]]), np.array([[0.9], [0.9]])]
    # 3 hits of 4 predictions and 3 truths: DetA 3/4, AssA 1.
    assert hota(similarity, [[1], [1], [2, 1]], [[7], [7], [7]]) == pytest.approx(np.sqrt(3 / 4))
